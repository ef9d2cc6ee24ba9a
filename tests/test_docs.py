"""docs/ against the program: files that are shipped must be what their readers take them for."""

import configparser
import re
import tomllib

import pytest

from orchestrator.broker.heartbeats import EXPIRES_S
from orchestrator.broker.keys import HEARTBEATS
from orchestrator.settings import GPU_QUEUE, LOG_QUEUE, QUEUE, Settings, Watch
from tests.assets import ROOT

OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
UNITS = sorted((ROOT / "docs/systemd").glob("*.service"))
EVERYTHING = [*ROOT.glob("*.md"), *(path for path in (ROOT / "docs").rglob("*") if path.is_file())]

# Messages that the troubleshooting tables quote, cut where a name or a number stands in them -> where they are made.
MESSAGES = {
    "refused: nothing listens there": "broker/preflight.py",
    "authentication required: the URL holds no password": "broker/preflight.py",
    "wrong user or password": "broker/preflight.py",
    "No worker is alive for queue": "client/monitor.py",
    "does not exist. ": "client/submission.py",
    "none of them a video": "client/submission.py",
    "can't be read: permission denied": "client/submission.py",
    "is not set, and the broker is reached over the network": "job/paths.py",
    "is not below": "job/paths.py",
    "The outputs need about": "job/resources.py",
    "as well and has not ended: this one waits for it": "client/commands_submit.py",
    "gave up after": "job/claims.py",
    "is known on this machine": "job/registry.py",
}


def unit(path):
    read = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    read.optionxform = str
    read.read(path, encoding="utf-8")
    return read


@pytest.mark.parametrize("readme", ["README.md", "README.es.md"])
@pytest.mark.parametrize("message", MESSAGES)
def test_quoted_messages_are_the_programs(readme, message):
    assert message in (ROOT / readme).read_text(encoding="utf-8")
    source = (ROOT / "orchestrator" / MESSAGES[message]).read_text(encoding="utf-8")
    said = re.sub(r'"\s*\n?\s*f?"', "", source)  # strings that go on in the next line
    assert message in said


def test_there_are_three_units():
    assert [path.name for path in UNITS] == ["yolo-beat.service", "yolo-flower.service", "yolo-worker.service"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_run_our_commands_as_a_user_of_their_own(path):
    service = unit(path)["Service"]
    what = path.stem.removeprefix("yolo-")
    assert service["ExecStart"].startswith(f"/opt/yolo-engine/bin/yolo-server --{what}")
    assert service["User"] == "yolo"
    assert service["Restart"] == "always"
    assert service["NoNewPrivileges"] == "yes"


def test_a_worker_has_time_for_its_checkpoint():
    service = unit(ROOT / "docs/systemd/yolo-worker.service")["Service"]
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > Settings().grace_s + 30


def test_compose_gives_a_worker_the_same_time():
    text = (ROOT / "docs/compose.yaml").read_text(encoding="utf-8")
    (period,) = re.findall(r"stop_grace_period: (\d+)s", text)
    assert float(period) > Settings().grace_s + 30


def test_settings_in_the_compose_file_are_settings():
    text = (ROOT / "docs/compose.yaml").read_text(encoding="utf-8")
    block = re.search(r"content: \|\n((?: {6}.*\n|\n)+)", text)
    assert block is not None
    given = tomllib.loads(re.sub(r"^ {6}", "", block[1], flags=re.M))
    assert Settings(**given).watch == tuple(Watch(**watch) for watch in given["watch"])


@pytest.mark.parametrize("readme", ["README.md", "README.es.md"])
def test_watch_example_is_valid(readme):
    (example,) = [
        block
        for block in re.findall(r"```toml\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.S)
        if "[[watch]]" in block
    ]
    assert len(Settings(**tomllib.loads(example)).watch) == 1


def test_numbers_in_the_operations_manual_are_the_programs():
    given = Settings()
    assert f"`lease_s` is {given.lease_s:.0f} s" in OPERATIONS
    assert f"`visibility_timeout_s` {given.visibility_timeout_s:.0f} s" in OPERATIONS
    assert f"runs out after {EXPIRES_S:.0f} s" in " ".join(OPERATIONS.split())
    assert f"`{HEARTBEATS}<node>:<pid>`" in OPERATIONS
    for queue in (QUEUE, GPU_QUEUE, LOG_QUEUE):
        assert queue in OPERATIONS


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_path_of_anybodys_machine(path):
    """Examples lie below /srv, /opt, /etc, /var; nothing of who wrote them."""
    assert not re.search(r"/(?:work|home|root|Users)/(?!yolo\b)", path.read_text(encoding="utf-8"))
