"""Frames between two inferred ones: boxes from both sides, and a stream that goes on behind any inferred frame."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from engine.records import Frame, Reported, TrackerState, Tracks
from engine.stages.gaps import Gaps
from tests.engine.conftest import make_detections

STEP = Fraction(1, 25)


def tracks(index, rows, inferred=True, pts=None, state=None):
    """Tracks of a frame; a row is (id, left, class, score) of a box of 10 x 20 at the top."""
    frame = Frame(0, index, index if pts is None else pts, 1, STEP, None, inferred)
    boxes = np.array([(left, 0, left + 10, 20) for _, left, _, _ in rows], np.float64).reshape(-1, 4)
    columns = zip(*((row[0], row[2], row[3]) for row in rows), strict=True) if rows else ((), (), ())
    ids, classes, scores = (np.array(column) for column in columns)
    found = make_detections() if inferred else None
    return Tracks(frame, boxes, ids.astype(np.int64), classes.astype(np.int32), scores.astype(np.float32), found, state)


def listed(given):
    columns = (given.track_ids, given.boxes_xyxy[:, 0], given.class_ids, given.scores)
    return [(int(i), round(float(x), 3), int(c), round(float(s), 3)) for i, x, c, s in zip(*columns, strict=True)]


def filled(*items):
    gaps = Gaps()
    out = [each for item in items for each in gaps.take(item)]
    return {each.frame.index: listed(each) for each in (*out, *gaps.rest())}


@pytest.mark.parametrize(
    ("what", "before", "predicted", "now", "expected"),
    [
        ("on its way", [(1, 0, 0, 0.5)], [(1, 9, 0, 0.5)], [(1, 8, 1, 0.9)],
         [[(1, 2, 0, 0.5)], [(1, 4, 0, 0.5)], [(1, 6, 1, 0.9)]]),
        ("ends", [(1, 0, 0, 0.5)], [(1, 9, 0, 0.5)], [], [[(1, 9, 0, 0.5)], [(1, 9, 0, 0.5)], []]),
        ("begins", [], [], [(2, 8, 0, 0.9)], [[], [(2, 8, 0, 0.9)], [(2, 8, 0, 0.9)]]),
        ("several, by their ids", [(1, 0, 0, 0.5), (3, 50, 0, 0.7)], [(1, 1, 0, 0.5), (3, 51, 0, 0.7)],
         [(4, 90, 0, 0.8), (3, 54, 0, 0.7)],
         [[(1, 1, 0, 0.5), (3, 51, 0, 0.7)], [(1, 1, 0, 0.5), (3, 52, 0, 0.7), (4, 90, 0, 0.8)],
          [(3, 53, 0, 0.7), (4, 90, 0, 0.8)]]),
        ("nothing", [], [], [], [[], [], []]),
    ],
)  # fmt: skip
def test_three_frames_between_two(what, before, predicted, now, expected):
    found = filled(tracks(0, before), *(tracks(number, predicted, False) for number in (1, 2, 3)), tracks(4, now))
    assert [found[number] for number in (1, 2, 3)] == expected
    assert (found[0], found[4]) == (listed(tracks(0, before)), listed(tracks(4, now)))
    assert list(found) == [0, 1, 2, 3, 4]


def test_the_way_is_by_time_not_by_number():
    found = filled(
        tracks(0, [(1, 0, 0, 0.5)], pts=0),
        tracks(1, [(1, 5, 0, 0.5)], False, pts=90),
        tracks(2, [(1, 10, 0, 0.5)], pts=100),
    )
    assert found[1] == [(1, 9, 0, 0.5)]


def test_behind_the_last_inference_the_tracker_predicts():
    found = filled(tracks(0, [(1, 0, 0, 0.5)]), tracks(1, [(1, 3, 0, 0.5)], False), tracks(2, [(1, 6, 0, 0.5)], False))
    assert found == {0: [(1, 0, 0, 0.5)], 1: [(1, 3, 0, 0.5)], 2: [(1, 6, 0, 0.5)]}


def test_a_stream_goes_on_behind_an_inferred_frame():
    empty = TrackerState("sort", b"", np.zeros(0, np.int32), np.zeros(0, np.float32), 4)
    gaps = Gaps()
    for item in (tracks(0, []), tracks(2, [(1, 0.1, 0, 0.3), (7, 40, 1, 0.4)], state=empty)):
        (marked,) = gaps.take(item)
    state = TrackerState.from_json(marked.state.to_json())
    rest = [tracks(3, [(1, 1, 0, 0.3)], False), tracks(4, [(1, 2, 0, 0.5), (7, 44, 1, 0.4)])]
    other = Gaps(state.reported)
    one, two = ([each for item in rest for each in which.take(replace(item))] for which in (gaps, other))
    for mine, its in zip(one, two, strict=True):
        assert mine.boxes_xyxy.tobytes() == its.boxes_xyxy.tobytes()
        assert listed(mine) == listed(its)
    assert listed(one[0])[1] == (7, 42, 1, 0.4)


@pytest.mark.parametrize(
    "change",
    [{"track_ids": [1]}, {"boxes": "00"}, {"boxes": 1}, {"scores": "zz"}, {"pts": 0.5}, {"class_ids": [1 << 80, 2]}],
)
def test_a_damaged_state_is_refused(change):
    reported = Reported.of(tracks(0, [(1, 0, 0, 0.5), (2, 9, 0, 0.5)])).to_json()
    assert listed(tracks(0, [])) == []
    Reported.from_json(reported)
    with pytest.raises((ValueError, TypeError, OverflowError)):
        Reported.from_json({**reported, **change})
