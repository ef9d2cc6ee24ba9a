"""The short form of `make fuzz`, and that it finds what it is made to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fuzz import harness
from tests.fuzz.harness import TARGETS, fuzz

pytestmark = pytest.mark.timeout(120)

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_falls(target: str, tmp_path: Path) -> None:
    found = fuzz(target, seed=7, rounds=30, keep=tmp_path)
    assert found.tried == 30
    assert found.failures == []


def _cases_of(text: str) -> Any:
    return SimpleNamespace(
        prepare=lambda folder: None, case=lambda chance, folder: (text.encode(), ".txt"), LONGEST_S=3.0, MOST_BYTES=3e8
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise", "ZeroDivisionError: "),
        ("hang", "hung for 3 s"),
        ("crash", "ended the process (-6)"),
        ("memory", "took "),
        ("exit", "SystemExit: 3"),
    ],
)
def test_what_is_found(text: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A target that does what its case says."""
    monkeypatch.setattr(harness, "load", lambda target: _cases_of(text))
    found = fuzz("deeds", seed=1, rounds=2 if text == "crash" else 1, keep=tmp_path)
    assert found.tried == (2 if text == "crash" else 1)
    assert all(failure.startswith(said) for failure in found.failures)
    assert [path.read_text() for path in tmp_path.iterdir()] == [text] * len(found.failures)
    assert len(found.failures) == found.tried
    if text == "memory":
        assert found.peak_bytes > 3e8


def test_the_same_seed_makes_the_same_cases(tmp_path: Path) -> None:
    target = harness.load("records")
    target.prepare(tmp_path)
    chances = (Random("1 x"), Random("1 x"), Random("2 x"))
    made = [[target.case(chance, tmp_path) for _ in range(50)] for chance in chances]
    assert made[0] == made[1] != made[2]


def test_the_command_prints_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--rounds", "3", "--only", "records", "--keep", str(tmp_path)]
    made = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "worst memory" in made.stdout
    assert "records" in made.stdout
