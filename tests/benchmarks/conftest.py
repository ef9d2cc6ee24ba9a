"""Rows as a stage makes them, and a context with minimal work. No test here judges a time."""

import pytest

from benchmarks import rounds
from benchmarks.context import PROFILES, Context
from benchmarks.record import Answer, Machine

MACHINE = Machine(cpu="Xeon", cores=2, load_before=0.1, commit="abc1234", versions={"python": "3.11.7"})
ANSWER = Answer(compared_with="NumPy", outcome="the same", accuracy={"max_error": 0.0}, right=True)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    """Shorten rounds to a millisecond, without garbage collection in between: times don't matter here."""
    monkeypatch.setattr(rounds, "MIN_S", 0.001)
    monkeypatch.setattr(rounds.gc, "collect", lambda: 0)


@pytest.fixture
def context():
    return Context(PROFILES["quick"], "20260101T000000Z-abc1234", MACHINE)


@pytest.fixture
def row(context):
    """Return a row, by default of the stage `sort`: ours compared with a peer, in microseconds."""

    def make(case="10 objects", **changes):
        values = {
            "figures": {"ours": [2.0, 2.1, 2.0, 1.9, 2.0], "peer": [8.0, 8.1, 8.2, 7.9, 8.0]},
            "unit": "us a frame",
            "better": "lower",
            "ours": "ours",
            "input": "a scene",
            "answer": ANSWER,
        }
        return context.row(changes.pop("stage", "sort"), case, **(values | changes))

    return make
