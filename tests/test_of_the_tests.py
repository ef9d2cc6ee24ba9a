"""What tests had better not do, counted: sleep where there is a condition to wait for, and reach for private names."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.assets import ROOT

FILES = sorted(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))

# Where time itself is what a test needs. Anything else waits for its condition: `tests.waiting.until`.
SLEEPS = {
    "tests/waiting.py": (1, "from one look at a condition to the next"),
    "tests/chaos/real.py": (1, "strikes at a random moment"),
    "tests/chaos/scenarios.py": (17, "strikes at a random moment, or sees that nothing follows"),
    "tests/benchmarks/test_limit.py": (1, "a model that is slow"),
    "tests/e2e/test_interrupted.py": (1, "a signal is another one than the last after a second"),
    "tests/e2e/test_live.py": (2, "a slow camera, a slow consumer"),
    "tests/e2e/test_verdict.py": (1, "a stage that is slow"),
    "tests/engine/test_metrics.py": (8, "seconds are what it measures"),
    "tests/engine/after/receivers.py": (1, "a receiver that is slow"),
    "tests/orchestrator/faults/sitecustomize.py": (1, "a model that is held until a file is gone"),
    "tests/orchestrator/slow_proxy.py": (1, "a network that is far"),
    "tests/orchestrator/test_leases.py": (1, "the pace at which an owner renews its lease"),
}

# What has no public way and deserves none.
PRIVATE = {
    "tests/chaos/hooks/sitecustomize.py": (1, "Kombu's: a worker that hears nothing"),
    "tests/e2e/test_opened_once.py": (2, "the moment between the look at a file and its use"),
    "tests/engine/gpu/test_on_card.py": (2, "the context in which to fill the card's memory"),
    "tests/engine/native/test_backend.py": (3, "memory that is shared and does not grow"),
    "tests/engine/test_metrics.py": (2, "memory that does not grow"),
    "tests/engine/test_row_sinks.py": (1, "memory that does not grow"),
    "tests/engine/test_total.py": (1, "when a run began"),
    "tests/engine/test_track.py": (1, "memory that does not grow"),
    "tests/test_error_mapping.py": (1, "PyAV's container, to fail as a real one seldom does"),
}
DOCUMENTED = ("_exit", "_asdict", "_fields", "_replace")
PATCHES = ("setattr", "delattr", "getattr", "patch", "object")


def is_private(name: object) -> bool:
    """Of a name, or a dotted path to one. `os._exit` is documented, and so are the methods of named tuples."""
    last = name.rpartition(".")[2] if isinstance(name, str) else ""
    return last.startswith("_") and not last.startswith("__") and last not in DOCUMENTED


def private_names(path: Path) -> list[str]:
    """Each use of a private attribute of something else than `self`, patch of one by its name, and import of one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                found.append(f"{node.lineno}: .{node.attr}")
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [each.value for each in node.args if isinstance(each, ast.Constant)] if called in PATCHES else []
            found += [f"{node.lineno}: {name}" for name in names if is_private(name)]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.lineno}: import {name.name}" for name in node.names if is_private(name.name)]
    return found


def sleeps(path: Path) -> list[str]:
    """Also in the text of a program that a test starts."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [f"{number}: {line.strip()}" for number, line in enumerate(lines, 1) for _ in re.findall(r"\bsleep\(", line)]


@pytest.mark.parametrize(
    ("found_in", "allowed", "instead"),
    [
        (sleeps, SLEEPS, "wait for a condition with tests.waiting.until"),
        (private_names, PRIVATE, "test what is public, or make public what a test needs"),
    ],
    ids=["sleeps", "private names"],
)
def test_no_more_than_is_listed(found_in, allowed, instead):
    found = {str(path.relative_to(ROOT)): uses for path in FILES if (uses := found_in(path))}
    counts = Counter({file: len(uses) for file, uses in found.items()})
    told = {
        file: found.get(file) for file in counts.keys() | allowed.keys() if counts[file] != allowed.get(file, (0,))[0]
    }
    assert not told, f"{told}: {instead}, or change the table in {Path(__file__).name} and say why"


def test_the_tables_stay_short():
    assert sum(count for count, _ in PRIVATE.values()) < 20
    assert sum(count for count, _ in SLEEPS.values()) < 40
