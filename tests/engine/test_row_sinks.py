"""The lines of the row files, character by character, and where they stand until they are complete."""

import json
import os
from fractions import Fraction

import pytest

from engine.errors import SinkError
from engine.records import Frame
from engine.sinks.jsonl import DetectionsJsonl, TracksJsonl
from engine.sinks.mot import MotText
from engine.sinks.rows import RowFile
from tests.engine.conftest import make_detections, make_end, make_frame, make_tracks

NAMES = ("person", 'a "quoted" bär')
FRAME = Frame(0, 9, 3003, 1001, Fraction(1, 30_000), None)
TWO = make_tracks(
    FRAME,
    [
        (12, 1, 0.87654, (10.0, 20.004, 30.126, 40.5)),
        (3, 0, 1.0, (-1.5, 0, 1e4, 0.001)),
    ],
    make_detections((1, 2, 3.125, 4), (5, 6, 7, 8), class_id=1, score=0.5),
)


def written(sink_type, tmp_path, *records, limit=100, intermediate=True, **options):
    path = tmp_path / "a.txt"
    sink = sink_type(RowFile(path, limit=limit, intermediate=intermediate), **options)
    sink.open(None)
    for record in records:
        sink.write(record)
    assert not path.exists()  # appears only when complete
    sink.commit(make_end(1), path)
    assert os.listdir(tmp_path) == ["a.txt"]
    return path.read_text(encoding="utf-8")


def test_tracks_jsonl(tmp_path):
    text = written(TracksJsonl, tmp_path, TWO, class_names=NAMES)
    head = '{"frame": 9, "pts": 3003, "time_s": 0.1001, "track_id": '
    assert text == (
        head + '3, "class_id": 0, "class": "person", "score": 1.0000, "box_xyxy": [-1.50, 0.00, 10000.00, 0.00]}\n'
        + head + '12, "class_id": 1, "class": "a \\"quoted\\" b\\u00e4r", "score": 0.8765, '
        '"box_xyxy": [10.00, 20.00, 30.13, 40.50]}\n'
    )  # fmt: skip
    lines = [json.loads(line) for line in text.splitlines()]
    assert [list(line) for line in lines] == [
        ["frame", "pts", "time_s", "track_id", "class_id", "class", "score", "box_xyxy"]
    ] * 2
    assert lines[1]["class"] == NAMES[1]


def test_detections_jsonl(tmp_path):
    text = written(DetectionsJsonl, tmp_path, TWO, class_names=NAMES)
    head = '{"frame": 9, "pts": 3003, "class_id": 1, "class": "a \\"quoted\\" b\\u00e4r", "score": 0.5000, "box_xyxy": '
    assert text == head + "[1.00, 2.00, 3.12, 4.00]}\n" + head + "[5.00, 6.00, 7.00, 8.00]}\n"


def test_mot(tmp_path):
    assert written(MotText, tmp_path, TWO) == (
        "10,3,-1.50,0.00,10001.50,0.00,1.0000,-1,-1,-1\n10,12,10.00,20.00,20.13,20.50,0.8765,-1,-1,-1\n"
    )


@pytest.mark.parametrize("sink", [TracksJsonl, DetectionsJsonl, MotText])
@pytest.mark.parametrize("records", [[], [make_tracks(make_frame(0), [])]])
def test_nothing_gives_an_empty_file(tmp_path, sink, records):
    options = {} if sink is MotText else {"class_names": NAMES}
    assert written(sink, tmp_path, *records, **options) == ""


def test_a_frame_that_was_not_inferred_has_no_detections(tmp_path):
    predicted = make_tracks(FRAME, [(1, 0, 0.5, (0, 0, 1, 1))])
    assert written(DetectionsJsonl, tmp_path, predicted, class_names=NAMES) == ""


@pytest.mark.parametrize("intermediate", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_the_limit_never_changes_the_file(tmp_path, limit, intermediate):
    frames = [make_tracks(make_frame(i), [(1, 0, 0.5, (i, 0, 9, 9)), (2, 0, 0.5, (i, 1, 9, 9))]) for i in range(10)]
    lines = written(MotText, tmp_path, *frames, limit=limit, intermediate=intermediate).splitlines()
    assert [line.split(",")[:3] for line in lines] == [
        [str(i + 1), str(k), f"{i}.00"] for i in range(10) for k in (1, 2)
    ]


@pytest.mark.parametrize(("intermediate", "seen"), [(True, ["a.txt.part"]), (False, [])])
def test_what_is_beyond_the_limit_is_on_disk(tmp_path, intermediate, seen):
    rows = RowFile(tmp_path / "a.txt", limit=3, intermediate=intermediate)
    rows.add(b"1\n2\n3\n", 3)
    assert os.listdir(tmp_path) == []
    rows.add(b"4\n", 1)
    assert os.listdir(tmp_path) == seen
    assert rows._rows == []
    if intermediate:
        assert (tmp_path / "a.txt.part").read_text() == "1\n2\n3\n4\n"  # survives a kill
    rows.abort()
    rows.abort()
    assert os.listdir(tmp_path) == []


def test_abort_before_anything(tmp_path):
    RowFile(tmp_path / "a.txt", limit=1, intermediate=True).abort()


def test_a_folder_that_is_gone_is_a_sink_error(tmp_path):
    rows = RowFile(tmp_path / "gone" / "a.txt", limit=1, intermediate=True)
    with pytest.raises(SinkError, match=r"a\.txt\.part can't be written: no such file or directory"):
        rows.add(b"1\n2\n", 2)
    rows.abort()
