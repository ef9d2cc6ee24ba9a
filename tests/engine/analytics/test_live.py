"""Counts as frames come: at each frame those of `analyse` over the rows up to there."""

import json
from collections import Counter

import numpy as np
import pytest

from engine.analytics import EventKind, Recording, Scene, analyse
from engine.analytics.live import LiveCounts
from engine.analytics.samples import FrameTracks

SIZE = (1000, 500)
NAMES = {0: "person", 1: "car"}
SCENE = Scene.model_validate(
    {
        "line": [
            {"name": "west", "points": [[0.3, 0.1], [0.3, 0.9]], "in": "left", "out": "right"},
            {"name": "bent", "points": [[0.5, 0.2], [0.6, 0.5], [0.5, 0.8]], "classes": ["car"]},
        ],
        "zone": [
            {"name": "middle", "polygon": [[0.4, 0.2], [0.6, 0.2], [0.6, 0.8], [0.4, 0.8]]},
            {"name": "people", "polygon": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]], "classes": ["person"]},
        ],
    }
)
GONE, FORGOTTEN = 4.0, 12.0


def tracks_of(frame, rows):
    """Rows are (track, x, y, class)."""
    boxes = [[x - 10, y - 30, x + 10, y] for _, x, y, _ in rows]
    return FrameTracks(
        frame,
        frame * 512,
        frame / 10,
        NAMES,
        np.array([track for track, *_ in rows], np.int64),
        np.array([kind for *_, kind in rows], np.int32),
        np.full(len(rows), 0.75, np.float32),
        np.array(boxes, np.float64).reshape(-1, 4),
    )


def wanderers(seed, frames=40, count=25):
    """Who turn back, stand on lines, are lost for a while, change their class, and end anywhere."""
    rng = np.random.default_rng(seed)
    by_frame = [[] for _ in range(frames)]
    for track in range(1, count + 1):
        x, y = rng.uniform([100, 50], [900, 450])
        aim = rng.normal(0, 25, 2)
        first, last = sorted(rng.integers(0, frames, 2))
        lost = rng.integers(first, last + 1)
        kind = int(rng.integers(0, 2))
        for frame in range(first, last + 1):
            aim = aim if rng.random() > 0.15 else -aim
            x, y = np.clip(aim + rng.normal([x, y], 4), 0, [999, 499])
            if rng.random() < 0.1:
                x = 300.0  # exactly on a line
            shown = kind if rng.random() < 0.7 else 1 - kind
            if not lost <= frame < lost + 6:
                by_frame[frame].append((track, float(x), float(y), shown))
    return [tracks_of(frame, rows) for frame, rows in enumerate(by_frame)]


def told(frames):
    """What `analyse` says of these frames: crossings by line and direction, stays by zone."""
    rows = [tracks.samples for tracks in frames if len(tracks.track_ids)]
    answers = analyse([Recording("a.mp4", SIZE, rows, (0.0, 100.0))], SCENE)
    return Counter(
        (event.place, event.direction) for event in answers.events if event.kind in (EventKind.CROSSING, EventKind.STAY)
    )


def shown(counts):
    found = {(each.line.name, word): number for each in counts.lines() for word, number in
             ((each.line.into, each.into), (each.line.out, each.out))}  # fmt: skip
    found |= {(each.zone.name, ""): each.stays for each in counts.zones()}
    return +Counter(found)


def again(counts):
    """The same counts, as a checkpoint keeps them."""
    other = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    other.restore(json.loads(json.dumps(counts.state())))
    return other


@pytest.mark.parametrize("seed", range(4))
def test_they_are_those_of_the_rows_up_to_each_frame(seed):
    frames = wanderers(seed)
    counts = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    for number, tracks in enumerate(frames):
        counts.see(tracks, number)
        if number % 5 and number < len(frames) - 1:
            continue
        ended = again(counts)
        ended.see(tracks_of(number + 1, []), number + (GONE if seed % 2 else FORGOTTEN) + 1)
        assert shown(ended) == told(frames[: number + 1]), number
    assert len(told(frames)) >= 5


@pytest.mark.parametrize("seed", range(3))
def test_a_checkpoint_changes_nothing(seed):
    frames = wanderers(seed)
    whole, resumed = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN), LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    for number, tracks in enumerate(frames):
        whole.see(tracks, number)
        resumed = again(resumed)
        resumed.see(tracks, number)
        assert (resumed.lines(), resumed.zones()) == (whole.lines(), whole.zones())
        assert resumed.state() == whole.state()


def test_a_crossing_counts_once_it_is_decided():
    """The margin is 5 pixels: 301 and 304 are not there yet, and a track that ends there has crossed all the same."""
    counts, seen = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN), []
    for number, x in enumerate([290.0, 301.0, 304.0, 305.0]):
        counts.see(tracks_of(number, [(1, x, 250.0, 0)]), number)
        seen.append(counts.lines()[0].out)
    assert seen == [0, 0, 0, 1]
    counts, seen = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN), []
    for number in range(16):
        counts.see(tracks_of(number, [(1, (290.0, 301.0)[number], 250.0, 0)] if number < 2 else []), number)
        seen.append(counts.lines()[0].out)
    assert seen == [0] * 6 + [1] * 10
    counts, seen = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN), []
    for number in range(10):
        x = {0: 290.0, 1: 301.0, 8: 303.0, 9: 299.0}.get(number)
        counts.see(tracks_of(number, [(1, x, 250.0, 0)] if x else []), number)
        seen.append(counts.lines()[0].out)
    assert seen == [0] * 6 + [1, 1, 0, 0], "it was seen again, and turned back"


def test_who_is_inside():
    counts, seen = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN), []
    for number, xs in enumerate([(450.0,), (455.0, 500.0), (390.0, 505.0), (500.0,)]):
        counts.see(tracks_of(number, [(track, x, 250.0, 0) for track, x in enumerate(xs)]), number)
        zone = counts.zones()[0]
        seen.append((zone.inside, zone.stays))
    assert seen == [(1, 1), (2, 2), (1, 2), (1, 3)]


def test_the_class_is_the_present_one():
    """Of a line that counts cars: a track that crosses as a car counts no more once it is a person."""
    counts, seen = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN), []
    for number, (x, kind) in enumerate([(540.0, 1), (700.0, 1), (705.0, 0), (710.0, 0), (715.0, 0), (720.0, 0)]):
        counts.see(tracks_of(number, [(7, x, 250.0, kind)]), number)
        seen.append(counts.lines()[1].into + counts.lines()[1].out)
    assert seen == [0, 1, 1, 1, 0, 0]


def test_what_has_ended_is_forgotten():
    counts = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    for number in range(2000):
        counts.see(tracks_of(number, [(number, 200.0 + number % 400, 250.0, 0)]), number)
    state = counts.state()
    assert max(len(state["tracks"]), *map(len, state["lines"]), *map(len, state["zones"])) <= FORGOTTEN + 2


@pytest.mark.parametrize("alive", [None, np.array([1])])
def test_a_track_that_may_be_seen_again_is_not_forgotten(alive):
    """It ended 4 pixels behind the line, or so it seemed, and is seen again on the other side."""
    counts = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    late = int(3 * FORGOTTEN)
    for number in range(late):
        x = {0: 290.0, 1: 304.0}.get(number)
        counts.see(tracks_of(number, [(1, x, 250.0, 0)] if x else []), number, alive)
    assert counts.lines()[0].out == 1
    counts.see(tracks_of(late, [(1, 290.0, 250.0, 0)]), late, alive)
    assert counts.lines()[0].out == 0
    for number in range(late + 1, 2 * late + 3):
        counts.see(tracks_of(number, []), number)
    assert counts.state()["tracks"] == []


@pytest.mark.parametrize("change", [{"lines": []}, {"tracks": [[1]]}, {"totals": None}])
def test_what_is_no_state(change):
    counts = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    with pytest.raises((ValueError, TypeError)):
        counts.restore({**counts.state(), **change})


@pytest.mark.parametrize("joined", [True, False])
def test_the_next_file_of_a_camera(joined):
    """Its steps are counted anew; joined to the one before, all goes on, else that one's tracks have ended."""
    frames = wanderers(1)
    first = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    for number, tracks in enumerate(frames[:20]):
        first.see(tracks, 1000.0 + number)
    second, alone = LiveCounts(SCENE, SIZE, GONE, FORGOTTEN), LiveCounts(SCENE, SIZE, GONE, FORGOTTEN)
    second.go_on(json.loads(json.dumps(first.left())), 5.0, joined=joined)
    for number, tracks in enumerate(frames[20:]):
        second.see(tracks, 5.0 + number)
        alone.see(tracks, 5.0 + number)
    for counts in (second, alone):
        counts.see(tracks_of(99, []), 1e6)
    expected = told(frames) if joined else told(frames[:20]) + told(frames[20:])
    assert shown(second) == expected
    assert shown(alone) == told(frames[20:])
