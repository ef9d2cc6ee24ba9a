"""RESULTS.md and its plots: from the rows alone, the same bytes each time."""

import re
import xml.etree.ElementTree as ET

import pytest

from benchmarks.plots import draw
from benchmarks.report import last_run, merged, write


@pytest.fixture
def rows(row):
    ours = {10: 2.0, 100: 25.0, 1000: 250.0}
    made = [
        row(
            f"{x} objects",
            figures={"SortTracker": [us, us * 1.1, us, us, us], "pyxtrackers": [us * x] * 5},
            ours="SortTracker",
            curve="objects per frame",
            x=x,
        )
        for x, us in ours.items()
    ]
    fps = {"engine": [100.0] * 5, "limit": [110.0] * 5}
    return [*made, row("a|b.mp4", stage="pipeline", figures=fps, ours="engine", better="higher", verdict="infer binds")]


def test_the_same_rows_give_the_same_bytes(rows, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(rows, tmp_path / folder / "RESULTS.md", tmp_path / folder / "results")
    one, two = (sorted(path for path in (tmp_path / each).rglob("*") if path.is_file()) for each in ("one", "two"))
    assert [path.name for path in one] == ["RESULTS.md", "sort-objects-per-frame-us-a-frame.svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_what_it_says(rows, tmp_path):
    text = write(rows[::-1], tmp_path / "RESULTS.md", tmp_path / "results").read_text()
    assert "* Run 20260101T000000Z-abc1234, profile quick: Xeon, 2 cores, load 0.1 before; commit abc1234" in text
    assert "| SORT, 1000 objects | 1000 objects | pyxtrackers | at least 10 | 1000 [909 .. 1000] | yes |" in text
    assert text.index("## sort") < text.index("## pipeline")  # in the stages' order
    assert "![sort-objects-per-frame-us-a-frame](results/sort-objects-per-frame-us-a-frame.svg)" in text
    assert "the same, beside NumPy: max_error 0" in text
    assert "Verdict, a|b.mp4: infer binds" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {8}  # a bar in a name is escaped


def test_a_plot(rows, tmp_path):
    (path,) = draw(rows, tmp_path)["sort"]
    root = ET.fromstring(path.read_text())
    texts = {"".join(each.itertext()).strip() for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"objects per frame", "us a frame", "SortTracker", "pyxtrackers", "10", "100", "1000"} <= texts
    assert path.stat().st_size < 50_000


def test_plots_of_an_earlier_report_go(rows, tmp_path):
    (tmp_path / "results").mkdir()
    for name in ("old.svg", "run.jsonl"):
        (tmp_path / "results" / name).touch()
    write(rows[:1], tmp_path / "RESULTS.md", tmp_path / "results")
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["run.jsonl"]


def test_one_point_is_no_curve(rows, tmp_path):
    assert draw(rows[:1] + rows[3:], tmp_path) == {}


def test_later_rows_win(row):
    old, new, other = row(input="old"), row(input="new"), row("100 objects")
    assert merged([[old, other], [new]]) == [new, other]


def test_the_last_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing was measured yet"):
        last_run(tmp_path)
    for name in ("20260102T000000Z-b", "20260101T000000Z-c"):
        (tmp_path / f"{name}.jsonl").touch()
    (tmp_path / "reference.jsonl").touch()  # is kept, and no run of this machine
    assert last_run(tmp_path).stem == "20260102T000000Z-b"
