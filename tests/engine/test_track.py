"""Order behind parallel workers, and one tracker a stream."""

import itertools
import random

import numpy as np
import pytest

from engine.pipeline.pipeline import probe_of
from engine.records import EndOfStream, Look, Plan
from engine.stages.track import Track, TrackerSettings
from tests.engine.conftest import make_detections, make_end, make_frame

SETTINGS = TrackerSettings(parameters={"max_age": 3, "min_hits": 0})


def box(index, left=10.0):
    return (left + 2 * index, 20, left + 2 * index + 30, 60)


def feed(track, records):
    """What comes out for records (frame, detections) and ends, in the order given."""
    out = []
    for record in records:
        out += track.end(record) if isinstance(record, EndOfStream) else track.process(*record)
    return out


def summary(item):
    if isinstance(item, EndOfStream):
        return "end", item.stream
    return item.frame.index, item.track_ids.tolist(), item.boxes_xyxy.round(6).tolist()


def stream_of(count, stream=0, left=10.0):
    return [(make_frame(i, stream), make_detections(box(i, left))) for i in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_any_order_gives_the_same(seed):
    records = [*stream_of(12), make_end(12)]
    records[5] = (make_frame(5, infer=False), None)
    expected = [summary(item) for item in feed(Track(SETTINGS), records)]
    shuffled = records[:]
    random.Random(seed).shuffle(shuffled)
    assert [summary(item) for item in feed(Track(SETTINGS), shuffled)] == expected
    assert [row[0] for row in expected] == [*range(12), "end"]


def test_every_order_of_three_frames_and_their_end():
    records = [*stream_of(3), make_end(3)]
    for order in itertools.permutations(records):
        assert [summary(item)[0] for item in feed(Track(SETTINGS), order)] == [0, 1, 2, "end"]


def test_the_end_waits_for_the_last_frame():
    track = Track(SETTINGS)
    first, second = stream_of(2)
    assert len(feed(track, [first])) == 1
    assert feed(track, [make_end(2)]) == []
    assert [summary(item)[0] for item in feed(track, [second])] == [1, "end"]


def test_a_stream_without_frames_ends_at_once():
    assert feed(Track(SETTINGS), [make_end(0)]) == [make_end(0)]


def test_streams_share_no_ids_and_no_state():
    alone = [summary(item) for item in feed(Track(SETTINGS), stream_of(6))]
    mixed = [item for pair in zip(stream_of(6, 0), stream_of(6, 7, left=11.0), strict=True) for item in pair]
    items = feed(Track(SETTINGS), mixed)
    assert [summary(item) for item in items if item.frame.stream == 0] == alone
    # The other stream has ids of its own, from 1 on, although its boxes lie on those of the first.
    assert {i for item in items if item.frame.stream == 7 for i in item.track_ids.tolist()} == {1}


def test_an_ended_stream_is_forgotten():
    track = Track(SETTINGS)
    first = [summary(item) for item in feed(track, [*stream_of(4), make_end(4)])]
    assert [summary(item) for item in feed(track, [*stream_of(4), make_end(4)])] == first
    assert track._streams == {}


def test_a_dropped_frame_keeps_its_place_and_gives_nothing():
    records = [*stream_of(4), make_end(4)]
    records[1] = (make_frame(1, image=None), None)
    for order in ([0, 2, 3, 4, 1], [0, 1, 2, 3, 4]):
        assert [summary(item)[0] for item in feed(Track(SETTINGS), [records[i] for i in order])] == [0, 2, 3, "end"]


def test_a_frame_that_is_not_inferred_is_predicted():
    track = Track(SETTINGS)
    *_, last = feed(track, stream_of(8))
    predicted = feed(track, [(make_frame(8, infer=False), None)])[0]
    assert predicted.detections is None
    assert predicted.track_ids.tolist() == [1]
    assert predicted.boxes_xyxy[0, 0] > last.boxes_xyxy[0, 0] + 1  # goes on at some 2 pixels a frame
    assert predicted.scores.tolist() == last.scores.tolist()
    assert predicted.class_ids.tolist() == last.class_ids.tolist()
    inferred = feed(track, [(make_frame(9), make_detections(box(9)))])[0]
    assert inferred.track_ids.tolist() == [1]


def test_an_inferred_frame_without_detections_is_not_a_skipped_one():
    track = Track(SETTINGS)
    feed(track, stream_of(5))
    empty = feed(track, [(make_frame(5), make_detections())])[0]
    assert len(empty) == 0
    assert len(empty.detections) == 0


def test_each_row_has_the_class_and_score_of_its_detection():
    track = Track(SETTINGS)
    found = make_detections((0, 0, 20, 20), (100, 0, 130, 30), (200, 0, 240, 40))
    found.class_ids[:] = [5, 6, 7]
    found.scores[:] = [0.9, 0.8, 0.7]
    for index in range(3):
        order = [(0, 1, 2), (2, 0, 1), (1, 2, 0)][index]
        found_now = make_detections(*found.boxes_xyxy[list(order)])
        found_now.class_ids, found_now.scores = found.class_ids[list(order)], found.scores[list(order)]
        tracks = feed(track, [(make_frame(index), found_now)])[0]
        for row in range(3):
            which = int(np.argmin(abs(found.boxes_xyxy[:, 0] - tracks.boxes_xyxy[row, 0])))
            assert tracks.class_ids[row] == found.class_ids[which]
            assert tracks.scores[row] == found.scores[which]
        assert (tracks.track_ids.dtype, tracks.class_ids.dtype, tracks.scores.dtype) == (np.int64, np.int32, np.float32)


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        (TrackerSettings(parameters={"max_age": 1, "min_hits": 0}), [1, 2]),  # away for two frames: a new track
        (TrackerSettings(parameters={"max_age": 2, "min_hits": 0}), [1, 1]),
    ],
)
def test_max_age_reaches_the_tracker(settings, ids):
    records = stream_of(1) + [(make_frame(i), make_detections()) for i in (1, 2)]
    records.append((make_frame(3), make_detections(box(0))))
    out = feed(Track(settings), records)
    assert [out[0].track_ids.tolist(), out[3].track_ids.tolist()] == [[i] for i in ids]


@pytest.mark.parametrize(("class_aware", "ids"), [(True, [2]), (False, [1])])
def test_class_aware_reaches_the_tracker(class_aware, ids):
    track = Track(TrackerSettings(parameters={"max_age": 3, "min_hits": 0}, class_aware=class_aware))
    records = [(make_frame(i), make_detections(box(0), class_id=i)) for i in range(2)]
    assert feed(track, records)[1].track_ids.tolist() == ids


def test_now_and_then_a_frame_tells_who_is_alive():
    """By its own number: behind a kill the same ones do."""
    records = [(make_frame(i), make_detections(box(i)) if i < 126 else make_detections()) for i in range(192)]
    told = {item.frame.index: item.alive for item in feed(Track(SETTINGS), records) if item.alive is not None}
    assert {index: ids.tolist() for index, ids in told.items()} == {63: [1], 127: [1], 191: []}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("audited", [(), (19,), (5, 6, 18)])
def test_frames_that_are_inferred_after_all_come_in_any_order(seed, audited):
    """A thing comes in frame 5 and goes in frame 17; frames 0 and 12 were inferred, and the stream ends with frame 19.
    What an audit has inferred is not inferred again."""
    asked, waiting = [], []

    def found(index):
        return make_detections(*([box(index)] if 5 <= index < 17 else []))

    for index in range(20):
        look = Look.BETWEEN if index % 12 else Look.WHOLE
        frame = make_frame(index)
        frame.plan, frame.infer = Plan(look, audited=index in audited), look is Look.WHOLE
        waiting.append((frame, found(index) if frame.infer else None))
        if index in audited:
            waiting.append((probe_of(frame), found(index)))
    waiting.append(make_end(20))
    chance = random.Random(seed)
    settings = TrackerSettings(parameters={"max_age": 3, "min_hits": 0}, reported=0.25)
    track = Track(settings, again=lambda frame: asked.append(frame.index) or waiting.append((frame, None)))
    out = []
    while waiting:
        record = waiting.pop(chance.randrange(len(waiting)))
        if isinstance(record, tuple) and record[0].index in asked and not record[0].probe:
            record = probe_of(record[0]), found(record[0].index)
        out += feed(track, [record])
    assert [summary(item)[0] for item in out] == [*range(20), "end"]
    assert [item.frame.index for item in out[:-1] if len(item.detections)] == list(range(5, 17))
    assert len(asked) == len(set(asked)) < 10
    assert not set(asked) & set(audited)
    whole = [item.frame.index for item in out[:-1] if item.frame.plan.look is Look.WHOLE]
    assert set(asked) | {0, 12, 19} <= set(whole)
