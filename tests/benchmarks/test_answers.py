"""The checks behind the rows: a wrong answer has to be found."""

import json

import av
import numpy as np
import pytest

from benchmarks.answers import f1, found_in, luma_psnr_db, rows_of, tracks_hold
from benchmarks.clips import copy_first, copy_packets, described, encode_resized
from benchmarks.reference_sort import ReferenceSort
from benchmarks.soak import make_clip

ONE, OTHER = [10.0, 10.0, 30.0, 50.0], [100.0, 10.0, 130.0, 50.0]


def found(*boxes, classes=None):
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return array, np.ones(len(array)), np.array(classes or [0] * len(array), np.int64)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected", "why"),
    [
        ([found()], [found()], 1.0, "nothing there, nothing found"),
        ([found(ONE, OTHER)], [found(OTHER, ONE)], 1.0, "order is free"),
        ([found(ONE)], [found(ONE, OTHER)], 2 / 3, "one of two is missing"),
        ([found(ONE)], [found()], 0.0, "found where there is nothing"),
        ([found(ONE)], [found(ONE, classes=[1])], 0.0, "another class is another object"),
        ([found(ONE, ONE)], [found(ONE)], 2 / 3, "a box pairs once"),
        ([found(ONE)], [found([10, 10, 30, 29])], 0.0, "overlaps by less than half"),
        ([found(ONE), found(OTHER)], [found(OTHER), found(ONE)], 0.0, "the right boxes in the wrong frames"),
    ],
)
def test_f1_of_matched_boxes(ours, theirs, expected, why):
    assert f1(ours, theirs) == pytest.approx(expected), why


def test_f1_needs_as_many_frames_on_both_sides():
    with pytest.raises(ValueError, match="argument"):
        f1([found(ONE)], [])


def test_detections_are_read_frame_by_frame(tmp_path):
    path = write(tmp_path / "a.detections.jsonl", [{"frame": 1, "class_id": 2, "score": 0.5, "box_xyxy": ONE}])
    frames = found_in(path, 3)
    assert [len(boxes) for boxes, _, _ in frames] == [0, 1, 0]
    assert frames[1][0].tolist() == [ONE]
    assert frames[1][2].tolist() == [2]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    """Two objects for four frames, and the tracks that the plain tracker makes of them under other ids."""
    boxes = [[[x + 2 * frame for x in ONE], OTHER] for frame in range(4)]
    sort, tracks = ReferenceSort(), []
    for frame, pair in enumerate(boxes):
        for number, box in sort.update(np.array(pair), np.zeros(2, np.int64)):
            tracks.append({"frame": frame, "track_id": 10 - number, "box_xyxy": box.round(2).tolist()})
    detections = [{"frame": frame, "class_id": 0, "box_xyxy": box} for frame, pair in enumerate(boxes) for box in pair]
    return write(tmp_path / "d.jsonl", detections), tmp_path / "t.jsonl", tracks


def test_the_same_tracks_under_other_ids_hold(files):
    detections, path, tracks = files
    assert tracks_hold(detections, write(path, tracks), ReferenceSort())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda tracks: tracks[:-1], "a track is missing"),
        (lambda tracks: [*tracks[:-1], tracks[-1] | {"box_xyxy": [0, 0, 9, 9]}], "another box"),
        (lambda tracks: [*tracks[:-2], tracks[-2] | {"track_id": 77}, tracks[-1]], "an id changes on the way"),
    ],
)
def test_other_tracks_do_not_hold(files, change, why):
    detections, path, tracks = files
    assert not tracks_hold(detections, write(path, change(tracks)), ReferenceSort()), why


def test_rows_by_frame(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"frame": 0, "n": 1}, {"frame": 2, "n": 2}, {"frame": 2, "n": 3}])
    assert {frame: [row["n"] for row in rows] for frame, rows in rows_of(path).items()} == {0: [1], 2: [2, 3]}


def test_a_copy_is_the_same_picture_and_a_poorer_one_is_not(tmp_path):
    source, copy, poor = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4"))
    make_clip(source, frames=6)
    copy_packets(source, copy)
    encode_resized(source, poor, (64, 48), frames=6)
    assert luma_psnr_db(copy, source) == (6, 99.0)
    frames, psnr = luma_psnr_db(poor, source)
    assert frames == 6
    assert 20 < psnr < 99


def test_clips_are_cut_and_strung_together_by_packets(tmp_path):
    source, short, long = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4"))
    make_clip(source, frames=8)
    copy_first(source, short, 5)
    copy_packets(short, long, times=3)
    assert [described(path)["frames"] for path in (source, short, long)] == [8, 5, 15]
    with av.open(str(long)) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    assert times == sorted(set(times))
