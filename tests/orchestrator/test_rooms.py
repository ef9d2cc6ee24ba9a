"""The rooms of the job system: which may import which. There is no circle, so each can be read knowing those below it.

`client` stands above `worker` because a client may do a worker's steps where no worker is: it ends what it cancels.
"""

import ast
from graphlib import TopologicalSorter

import pytest

from tests.assets import ROOT
from tests.test_import_direction import imported

MAY_IMPORT = {
    "errors": set(),
    "settings": {"errors"},
    "stop_signals": set(),
    "job": {"errors", "settings"},
    "broker": {"errors", "settings", "job"},
    "engine_process": {"errors", "job"},
    "application": {"settings", "broker"},
    "worker": {"errors", "settings", "job", "broker", "engine_process", "application", "stop_signals"},
    "client": {"errors", "settings", "job", "broker", "application", "worker", "stop_signals"},
    "__init__": {"application"},
}
PACKAGE = ROOT / "orchestrator"


def room_of(path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_is_in_the_table():
    assert {room_of(path) for path in PACKAGE.rglob("*.py")} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows(room):
    """Late imports count as well: they hide a circle, and end none."""
    wrong = []
    for path in (path for path in PACKAGE.rglob("*.py") if room_of(path) == room):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [name.split(".") for name in imported(tree)]
        # `from orchestrator import app` names the application.
        rooms = {parts[1] if len(parts) > 1 else "__init__" for parts in names if parts[0] == "orchestrator"}
        wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in rooms - {room, *MAY_IMPORT[room]}]
    assert wrong == []


def test_no_circle():
    assert len(list(TopologicalSorter(MAY_IMPORT).static_order())) == len(MAY_IMPORT)
