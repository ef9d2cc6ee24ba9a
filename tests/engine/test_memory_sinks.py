"""The running totals of a stream: each track once, and a memory that does not grow."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from engine.sinks.memory import CallbackSink, Counters, CountersState
from tests.engine.conftest import make_detections, make_end, make_frame, make_tracks

BOX = (0, 0, 10, 10)


def tracks(index, ids, found=2, class_id=0):
    detections = make_detections(*[BOX] * found) if found is not None else None
    return make_tracks(make_frame(index), [(i, class_id, 0.9, BOX) for i in ids], detections)


def test_counts():
    tally = Counters()
    tally.write(tracks(0, [1, 2]))
    tally.write(tracks(1, [1, 2], found=None))  # predicted
    tally.write(tracks(2, [2, 3], found=3))
    tally.write(make_tracks(make_frame(3), [(4, 7, 0.9, BOX)], make_detections()))
    assert (tally.frames, tally.inferred, tally.detections) == (4, 3, 5)
    assert tally.tracks_by_class == {0: 3, 7: 1}
    assert tally.last_pts_s == 0.12


def test_a_track_that_changes_its_class_counts_once():
    tally = Counters()
    tally.write(tracks(0, [1]))
    tally.write(tracks(1, [1], class_id=5))
    assert tally.tracks_by_class == {0: 1}


def test_a_track_counts_for_the_class_with_most_of_its_scores():
    tally = Counters()
    for index, (class_id, score) in enumerate([(5, 0.3), (0, 0.4), (5, 0.3), (0, 0.1)]):
        tally.write(make_tracks(make_frame(index), [(1, class_id, score, BOX)], make_detections(BOX)))
    assert tally.tracks_by_class == {5: 1}
    copy = Counters()
    kept = json.dumps(tally.state().to_json())
    copy.restore(TypeAdapter(CountersState).validate_json(kept, strict=True))
    copy.write(make_tracks(make_frame(4), [(1, 0, 0.5, BOX)], make_detections(BOX)))
    assert copy.tracks_by_class == {0: 1}


def test_detections_below_conf_do_not_count():
    tally = Counters(conf=0.25)
    found = make_detections(BOX, BOX, BOX)
    found.scores[:] = [0.9, 0.25, 0.1]
    tally.write(make_tracks(make_frame(0), [], found))
    assert tally.detections == 2


def test_memory_does_not_grow_with_the_video():
    tally = Counters()
    for index in range(3000):
        seen = tracks(index, [index + 1])
        seen.alive = np.array([index + 1]) if index % 64 == 63 else None
        tally.write(seen)
        if index % 64 == 63:
            assert [track_id for track_id, *_ in tally.state().votes] == [index + 1]
    assert tally.tracks_by_class == {0: 3000}


def test_a_track_that_the_tracker_holds_is_not_counted_again():
    """However long it was not reported: SORT follows one that is found again and again, but never often enough in a
    row."""
    tally = Counters()
    for index in range(2000):
        seen = tracks(index, [1] if index in (0, 1999) else [])
        seen.alive = np.array([1]) if index % 64 == 63 else None
        tally.write(seen)
    assert tally.tracks_by_class == {0: 1}


def test_a_track_of_a_gap_is_kept_though_it_was_not_alive_then():
    """Its boxes in the gap were made behind it."""
    tally = Counters(objects=True)
    for index in range(3):
        seen = tracks(index, [5], found=None if index == 1 else 1)
        seen.alive = np.array([], np.int64) if index == 1 else None
        tally.write(seen)
    assert tally.tracks_by_class == {0: 1}
    assert tally.objects == (1, 1)


def test_callback():
    got = []
    sink = CallbackSink(got.append)
    first, second = tracks(0, [1]), tracks(1, [])
    sink.open(None)
    sink.write(first)
    sink.write(second)
    sink.commit(make_end(2), Path())
    sink.abort()
    assert got == [first, second]
    with pytest.raises(ZeroDivisionError):
        CallbackSink(lambda tracks: 1 / 0).write(first)
