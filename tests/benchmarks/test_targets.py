"""The table of targets: what is met, what is not, what wasn't measured."""

import pytest

from benchmarks import targets
from benchmarks.record import Spread
from benchmarks.suite import STAGES
from benchmarks.targets import HEADINGS, TARGETS, Target, judged, shown


@pytest.mark.parametrize(
    ("against", "bound", "value", "met"),
    [
        ("peer", "at least", 4.0, "yes"),
        ("peer", "at least", 4.1, "no"),
        (None, "at most", 2.0, "yes"),
        (None, "at most", 1.9, "no"),
        ("nobody", "at least", 1.0, "-"),
    ],
)
def test_one_target(row, against, bound, value, met):
    target = Target("speed", "sort", ("10 objects",), against, bound, value)
    figures = {"ours": [2.0] * 5, "peer": [8.0] * 5}
    ((*_, found, _),) = judged([row(figures=figures)], [target])
    assert found == met


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [
        ("at least", 3.0, "yes"),
        ("at least", 4.0, "yes, lowest below"),
        ("at least", 4.1, "no"),
        ("at most", 4.5, "yes"),
        ("at most", 4.0, "yes, highest above"),
        ("at most", 3.9, "no"),
    ],
)
def test_a_round_that_misses_what_the_median_meets(bound, value, met):
    target = Target("speed", "sort", ("10 objects",), "peer", bound, value)
    assert target.verdict(Spread(median=4.0, low=3.0, high=4.5)) == met


def test_each_case_is_judged_alone(row):
    target = Target("speed", "sort", ("10 objects", "100 objects"), "peer", "at least", 3)
    slow = {"ours": [2.0] * 5, "peer": [4.0] * 5}
    assert [line[5] for line in judged([row(), row("100 objects", figures=slow)], [target])] == ["yes", "no"]


def test_the_table_of_a_run(row):
    text = shown([row(figures={"SortTracker": [2.0] * 5, "pyxtrackers": [8.0] * 5}, ours="SortTracker")])
    assert "pyxtrackers  at least 2  4 [4 .. 4]" in text
    assert f"{len(judged([])) - 1} not measured." in text
    assert shown([]) == "No target was measured."


def test_the_table_is_whole():
    assert {target.stage for target in TARGETS} <= set(STAGES)
    assert all(len(line) == len(HEADINGS) for line in judged([]))
    assert len(TARGETS) == len({(t.what, t.against) for t in targets.TARGETS})
