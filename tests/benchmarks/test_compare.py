"""Two runs: what counts as worse, and what doesn't."""

import numpy as np
import pytest

from benchmarks.compare import compared
from benchmarks.record import Machine
from tests.benchmarks.conftest import MACHINE

OTHER = Machine(**(MACHINE.model_dump() | {"cpu": "EPYC"}))
ROUNDS = np.array([1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.03])


def figures(peer=4.0, ours=1.0, noise=ROUNDS):
    """As many times better as `peer` is larger than `ours`, with the same noise in both and a little in the ratio."""
    return {"ours": (ours * noise).tolist(), "peer": (peer * noise[::-1]).tolist()}


def alone(value, noise=ROUNDS):
    return {"ours": (value * noise).tolist()}


@pytest.mark.parametrize(
    ("old", "new", "regressions", "words"),
    [
        (figures(4), figures(3), 1, "sort 10 objects  times peer  4  "),
        (figures(4), figures(5), 0, "Better:"),
        (figures(4), figures(3.8), 0, "No regression"),  # within the least share
        (figures(4), figures(8, 2), 0, "No regression"),  # the machine is half as fast
        (figures(4), figures(3, noise=ROUNDS**20), 0, "No regression"),  # within what its own rounds differ by
        (alone(100), {"ours": [150, 149, 151, 150, 80, 70, 151]}, 0, "No regression"),  # two rounds say otherwise
        (alone(100), {"ours": [150, 149, 151, 150, 149, 150, 151]}, 1, "-33%"),
        (alone(100), alone(130), 1, "us a frame"),
        (alone(100), alone(105), 0, "No regression"),
        (alone(100), alone(70), 0, "Better:"),
    ],
)
def test_one_row(row, old, new, regressions, words):
    text, found = compared([row(figures=old)], [row(figures=new)])
    assert found == regressions, text
    assert words in text


def test_higher_is_better(row):
    rows = [row(figures=alone(fps), better="higher", unit="fps") for fps in (100, 70)]
    assert compared(rows[:1], rows[1:])[1] == 1
    assert compared(rows[1:], rows[:1])[1] == 0


def on(machine, row):
    return row.model_copy(update={"machine": machine})


def test_on_another_machine_only_ratios_are_compared(row):
    slow = [on(OTHER, row(figures=figures(40, 10))), on(OTHER, row("alone", figures=alone(10)))]
    text, regressions = compared([row(figures=figures()), row("alone", figures=alone(1))], slow)
    assert regressions == 0
    assert "Not compared:\n  sort alone: no peer in both, and another machine" in text
    assert compared([row(figures=figures())], [on(OTHER, row(figures=figures(3)))])[1] == 1


def test_the_limit_is_no_peer(row):
    """If the limit falls with ours, the share stays: the own figure tells."""
    old, new = ({"ours": (fps * ROUNDS).tolist(), "limit": (fps * ROUNDS).tolist()} for fps in (100, 70))
    rows = [row(figures=each, better="higher", unit="fps") for each in (old, new)]
    assert compared(rows[:1], rows[1:])[1] == 1


def test_another_input_is_not_compared(row):
    text, regressions = compared([row()], [row(input="a longer scene", figures=figures(1))])
    assert regressions == 0
    assert "Not compared:\n  sort 10 objects: a scene | a longer scene" in text


def test_rows_of_one_run_only_are_told(row):
    text, regressions = compared([row("a"), row("b")], [row("b"), row("c")])
    assert regressions == 0
    assert "Only in OLD:\n  sort a" in text
    assert "Only in NEW:\n  sort c" in text


def test_the_worst_comes_first(row):
    old = [row(name, figures=figures(4)) for name in "abc"]
    new = [row(name, figures=figures(times)) for name, times in zip("abc", (3, 1, 2), strict=True)]
    text, regressions = compared(old, new)
    assert regressions == 3
    assert [line.split()[1] for line in text.splitlines() if line.startswith("sort")] == ["b", "c", "a"]
