"""Rows: what is refused, ratios by round, and back from a file."""

import json

import pytest
from pydantic import ValidationError

from benchmarks.record import Row, WrongAnswer, checked, read_rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer": None}, "answer"),
        ({"answer": {"right": False}}, "right"),
        ({"answer": {"accuracy": {}}}, "accuracy"),
        ({"answer": {"outcome": ""}}, "outcome"),
        ({"figures": {"ours": [1.0] * 4, "peer": [1.0] * 4}}, "at least 5 rounds are needed. Got 4"),
        ({"figures": {"ours": [1.0] * 5, "peer": [1.0] * 6}}, "as many rounds as the others"),
        ({"figures": {"ours": [1.0, 1.0, 1.0, 1.0, 0.0]}}, "greater than 0"),
        ({"figures": {"ours": [float("nan")] * 5}}, "figures"),
        ({"ours": "mine"}, "ours must be one of the figures (ours, peer). Got 'mine'"),
        ({"input": ""}, "input"),
        ({"machine": {"cores": 0}}, "cores"),
        ({"profile": "short"}, "profile"),
        ({"speed": 1}, "speed"),
    ],
)
def test_refused(row, change, words):
    values = row().model_dump(exclude={"spreads", "times_better"})
    for key, value in change.items():
        nested = isinstance(value, dict) and key in ("answer", "machine")
        values[key] = values[key] | value if nested else value
    with pytest.raises(ValidationError) as caught:
        Row.model_validate(values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("better", "low", "median", "high"),
    [("lower", 2.0, 4.0, 5.0), ("higher", 0.2, 0.25, 0.5)],
)
def test_ratios_are_taken_round_by_round(row, better, low, median, high):
    """A busy moment that makes both ten times slower, in the same round, changes no ratio."""
    figures = {"ours": [1.0, 10.0, 1.0, 1.0, 2.0], "peer": [4.0, 40.0, 5.0, 4.0, 4.0]}
    times = row(figures=figures, better=better).times_better["peer"]
    assert (times.low, times.median, times.high) == (low, median, high)


def test_a_wrong_answer_is_told():
    with pytest.raises(WrongAnswer, match=r"compared with NumPy: other boxes \(max_error 3\)"):
        checked(False, "NumPy", "other boxes", max_error=3.0)


def test_there_and_back(row, tmp_path):
    rows = [row(), row("100 objects", curve="objects", x=100)]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(each.model_dump_json() + "\n" for each in rows))
    assert read_rows(path) == rows
    assert json.loads(path.read_text().splitlines()[0])["times_better"]["peer"]["median"] == 4.0


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"format": 2}'])
def test_no_row(row, tmp_path, line):
    path = tmp_path / "run.jsonl"
    path.write_text(f"{row().model_dump_json()}\n{line}\n")
    with pytest.raises(ValueError, match=r"run\.jsonl, line 2, is not a row"):
        read_rows(path)
