import json

import pytest

from benchmarks.gate import CLIPS, Clip, Row, Timed, events, f1
from engine.config import EngineConfig


def timed(folder, name, boxes, crossings=0):
    """A run whose boxes stand in a file, one a frame."""
    out = folder / name
    out.mkdir()
    rows = [
        {"frame": number, "class_id": 0, "score": 0.5, "box_xyxy": [left, 0, left + 10, 10]}
        for number, left in enumerate(boxes)
        if left is not None
    ]
    (out / "detections.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = ["kind,time_s", *["crossing,1"] * crossings, "stay,2"]
    (out / "events.csv").write_text("\n".join(lines) + "\n")
    return Timed({"outputs": {"detections": str(out / "detections.jsonl")}}, out, 1.0, 1.0)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 5], [0, 5], 1.0),
        ([0, 5], [1, 30], 0.5),
        ([0, None], [0, 5], 2 / 3),
        ([None], [None], 1.0),
    ],
)
def test_boxes_that_agree(tmp_path, one, other, expected):
    assert f1(timed(tmp_path, "a", one), timed(tmp_path, "b", other), "detections") == pytest.approx(expected)


def test_those_that_are_sure(tmp_path):
    one, other = timed(tmp_path, "a", [0, 5]), timed(tmp_path, "b", [1, 30])
    assert f1(one, other, "detections", 0.6) == 1.0  # there is none
    path = tmp_path / "a" / "detections.jsonl"
    path.write_text(path.read_text().replace('"score": 0.5', '"score": 0.9', 1))
    assert f1(one, other, "detections", 0.6) == 1.0  # its partner need not be
    path.write_text(path.read_text().replace('"score": 0.5', '"score": 0.9'))
    assert f1(one, other, "detections", 0.6) == 0.5


def test_events_are_crossings(tmp_path):
    assert events(timed(tmp_path, "a", [], crossings=3)) == 3


def test_a_row_says_what_was_missed():
    audit = {"boxes": {"value": 0.97, "low": 0.9, "high": 0.99}, "level": 2}
    row = Row(Clip("videos/a.mp4", "busy", 2.5), 1000, [2.0, 3.0], [2.0], 0.3, 0.95, 0.97, 0.99, (5, 6), (3, 3), audit)
    cells = row.cells()
    assert cells[0] == "a.mp4"
    assert "2.5 [2.0 .. 3.0]" in cells
    assert "0.950 (missed)" in cells
    assert cells[-1] == "0.970 [0.90 .. 0.99] yes, level 2"
    assert Row(row.clip, cpu=[1.0], wall=[1.0]).cells()[4].endswith("(missed)")
    row.boxes_f1 = 0.5
    assert row.cells()[-1].endswith(" NO, level 2")


def test_a_row_names_the_classes_that_were_detected():
    assert Row(Clip("videos/a.mp4", "busy", 2.5, ("person", "car")), cpu=[1.0], wall=[1.0]).cells()[0] == (
        "a.mp4, person, car"
    )


def test_its_clips_differ_and_its_settings_are_some():
    assert len({clip.path for clip in CLIPS}) == len(CLIPS)
    assert EngineConfig(gate="motion", visualize=False).gate == "motion"
