"""Fragments of one object are joined again, and the number of objects is a range."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from engine.analytics.samples import Samples
from engine.analytics.stitching import (
    ObjectCounter,
    ObjectCounterState,
    Objects,
    StitchRules,
    count_objects,
    fragments_of,
    stitch,
)
from tests.assets import require_asset


def track(track_id, start_s, start_x, *, speed=50.0, seconds=2.0, height=80.0, class_id=0, y=200.0):
    times = np.arange(start_s, start_s + seconds, 0.1)
    x = start_x + speed * (times - start_s)
    boxes = np.column_stack((x - 20, np.full_like(x, y - height), x + 20, np.full_like(x, y)))
    frames = np.round(times * 10).astype(np.int64)
    ones = np.ones(len(times), dtype=np.int64)
    return Samples(frames, frames, times, ones * track_id, ones * class_id, ones * 0.9, boxes)


def roots(*tracks, **rules):
    return stitch(fragments_of(tracks), StitchRules(**rules) if rules else None)


FIRST = track(1, 0, 100)  # ends at 1.9 s near x = 195


@pytest.mark.parametrize(
    ("why", "second", "joined"),
    [
        ("it goes on where the first would be", track(2, 3, 250), True),
        ("too late", track(2, 5, 350), False),
        ("elsewhere", track(2, 3, 450), False),
        ("another class", track(2, 3, 250, class_id=2), False),
        ("twice as large", track(2, 3, 250, height=160), False),
        ("at the same time", track(2, 1.5, 175), False),
        ("it comes back the other way", track(2, 3, 250, speed=-400), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_two_tracks(why, second, joined):
    assert roots(FIRST, second) == {1: 1, 2: 1 if joined else 2}


def test_chains_have_one_root_and_each_track_one_successor():
    assert roots(FIRST, track(2, 3, 250), track(3, 6, 400)) == {1: 1, 2: 1, 3: 1}
    near, far = track(2, 3, 252), track(3, 3, 270)
    assert roots(FIRST, far, near) == {1: 1, 2: 1, 3: 3}


def test_pieces_change_nothing():
    rows = [FIRST, track(2, 3, 250)]
    pieces = [part.take(slice(i, i + 3)) for part in rows for i in range(0, len(part), 3)]
    assert stitch(fragments_of(pieces)) == stitch(fragments_of(rows))


def test_words():
    assert str(Objects(171, 148, 156)) == "171 ids, 148 to 156 objects"
    assert str(Objects(3, 3, 3)) == "3 objects"
    assert str(Objects(4, 3, 3)) == "4 ids, 3 objects"
    assert str(count_objects([])) == "0 objects"


def test_the_range_holds_the_people_of_a_street():
    """MOT17-09: 26 people. The tracker gives 50 ids."""
    path = require_asset("trackers/tracks/mot17-09/bytetrack_t0.5_m0.8_b30.csv")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("frame")]
    rows = np.array([[float(value) for value in line.split(",")] for line in lines])
    frames, ids = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    samples = Samples(frames, frames, frames / 30, ids, np.zeros_like(ids), rows[:, 6], rows[:, 2:6])
    objects = count_objects(fragments_of([samples]))
    assert objects.ids == 50
    assert objects.low - 26 < 10
    assert len(set(stitch(fragments_of([samples])).values())) < objects.ids - 5


def frames_of(samples):
    """What a run gives an ObjectCounter, frame by frame."""
    for frame in range(int(samples.frames.max()) + 1):
        rows = samples.take(np.flatnonzero(samples.frames == frame))
        columns = rows.track_ids, rows.class_ids.astype(np.int32), rows.scores.astype(np.float32), rows.boxes_xyxy
        yield round(frame / 10, 6), float(frame), *columns


def crowd(seed, tracks=60):
    """Tracks that come, break and go on, near each other, of two classes, with holes."""
    random = np.random.default_rng(seed)
    parts = []
    for track_id in range(1, tracks + 1):
        start_s, seconds = round(random.uniform(0, 20), 1), random.uniform(0.3, 4)
        one = track(
            track_id,
            start_s,
            random.uniform(0, 400),
            speed=random.uniform(-80, 80),
            seconds=seconds,
            height=random.uniform(60, 110),
            class_id=int(random.integers(2)),
            y=random.uniform(200, 320),
        )
        kept = np.flatnonzero(random.random(len(one)) > 0.1)
        parts.append(one.take(kept if len(kept) else [0]))
    columns = ("frames", "pts", "times_s", "track_ids", "class_ids", "scores", "boxes_xyxy")
    whole = Samples(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))
    return whole.take(np.lexsort((whole.track_ids, whole.frames)))


def counted(samples, killed=()):
    counter = ObjectCounter()
    last = {int(track_id): int(frame) for track_id, frame in zip(samples.track_ids, samples.frames, strict=True)}
    for number, frame in enumerate(frames_of(samples)):
        counter.follow(*frame)
        if number % 16 == 15:
            counter.settle({track_id for track_id, until in last.items() if until + 3 >= number})
        if number in killed:
            state = json.dumps(counter.state().to_json())
            counter = ObjectCounter()
            counter.restore(TypeAdapter(ObjectCounterState).validate_json(state, strict=True))
    return counter


@pytest.mark.parametrize("seed", range(12))
def test_a_run_counts_what_its_rows_give(seed):
    rows = crowd(seed)
    rounded = replace(rows, times_s=rows.frames / 10, boxes_xyxy=np.round(rows.boxes_xyxy, 2))
    whole = count_objects(fragments_of([rounded]))
    assert counted(rows).objects() == whole
    assert whole.low < whole.ids
    assert counted(rows, killed=(1, 50, 64, 100, 101, 170)).objects() == whole


def test_a_run_does_not_keep_tracks_that_can_not_be_joined_any_more():
    counter = counted(crowd(5, tracks=200))
    _, _, track_ids, *columns = next(frames_of(FIRST))
    for frame in range(300, 500):
        counter.follow(frame / 10, float(frame), track_ids + 1000, *columns)
    counter.settle({1001})
    state = counter.state()
    assert len(state.alive) == 1
    assert state.ended == ([], [])
