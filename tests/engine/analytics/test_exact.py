"""Random scenes and walks on a coarse grid, where coincidences are the rule, beside a slow reference in fractions.

Lines end at the frame's edge and have corners; walks stop on lines, touch them, go along them, flicker, leave the
frame and come back after holes. Pieces of any size and several tracks at once must not matter.
"""

import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from engine.analytics import Recording, Scene, analyse
from engine.analytics.crossings import Crossings
from engine.analytics.geometry import Polygon, PolyLine
from engine.analytics.samples import Samples
from engine.analytics.stays import Stays
from tests.reference import counting

SIZE = (80, 60)
MARGIN = 0.05  # three pixels
ANCHORS = ["bottom", "centre", "top", "top-left", "top-right", "bottom-left", "bottom-right"]


def point(at):
    """A point of a scene, on a grid that has the frame's edges on it."""
    return at.randint(0, 8) / 8, at.randint(0, 20) / 20


def pixels(points):
    """As the decimals that were written."""
    return [(Fraction(repr(x)) * SIZE[0], Fraction(repr(y)) * SIZE[1]) for x, y in points]


def line(at):
    while True:
        points = [point(at) for _ in range(at.choice([2, 2, 3, 4]))]
        if all(first != second for first, second in pairwise(points)):
            return tuple(points)


def walk(at, targets):
    """(frame, x, y): steps of half pixels, stops, holes, and now and then to a point of a line, or back over it."""
    frame, x, y = at.randint(0, 5), at.randint(-6, 86) * 1.0, at.randint(-6, 66) * 1.0
    toward = at.uniform(-3, 3), at.uniform(-3, 3)
    places = []
    for _ in range(at.randint(1, 60)):
        places.append((frame, x, y))
        frame += at.choice([1, 1, 1, 1, 2, 25])
        kind = at.random()
        if kind < 0.1:
            continue  # it stands
        if kind < 0.2:
            a, b = at.sample(targets, 2)
            x, y = (round(2 * float(value)) / 2 for value in at.choice([a, b, ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)]))
        elif kind < 0.5 and len(places) > 1:
            x, y = places[-2][1:]  # it flickers
        else:
            toward = at.choice([toward, toward, (at.uniform(-6, 6), at.uniform(-6, 6))])
            x, y = round(2 * (x + toward[0])) / 2, round(2 * (y + toward[1])) / 2
    return places


def samples_of(tracks, anchor):
    """Boxes whose anchors are the places, of all tracks, by frame."""
    rows = sorted((frame, track, x, y) for track, places in tracks.items() for frame, x, y in places)
    table = np.array(rows, float)
    wide, high = 4.0, 7.0
    left = {"left": 0.0, "right": 1.0}.get(anchor.rpartition("-")[2], 0.5)
    top = {"top": 0.0, "bottom": 1.0}.get(anchor.partition("-")[0], 0.5)
    x1, y1 = table[:, 2] - left * wide, table[:, 3] - top * high
    boxes = np.column_stack((x1, y1, x1 + wide, y1 + high))
    frames, ids = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    return Samples(frames, frames, frames / 10, ids, ids * 0, ids * 0 + 0.5, boxes, {0: "car"})


def pieces(at, samples):
    start = 0
    while start < len(samples):
        stop = start + at.choice([1, 2, 7, 40, 1000])
        yield samples.take(slice(start, stop)).by_track()
        start = stop


def exact(places):
    return [(frame, (Fraction(x), Fraction(y))) for frame, x, y in places]


def case(seed):
    at = random.Random(seed)
    targets = [point(at) for _ in range(4)]
    shape = line(at)
    targets = pixels([*targets, *shape])
    tracks = {number: walk(at, targets) for number in range(1, at.randint(2, 7))}
    return at, shape, tracks, at.choice(ANCHORS)


@pytest.mark.parametrize("seed", range(150))
def test_crossings(seed):
    at, shape, tracks, anchor = case(seed)
    finder, found = Crossings(PolyLine(shape, SIZE, anchor, MARGIN)), []
    for piece in pieces(at, samples_of(tracks, anchor)):
        found += finder.feed(piece)
    for track_id, places in tracks.items():
        found += finder.end(track_id)
        expected = counting.crossings(pixels(shape), exact(places), Fraction(repr(MARGIN)) * SIZE[1])
        if expected is None:  # the line does not divide the frame there
            continue
        got = [(each.at.frame, each.positive) for each in found if each.track_id == track_id]
        assert [way for _, way in got] == [way for _, way in expected], (shape, places)
        assert [frame for frame, _ in got] == pytest.approx([float(frame) for frame, _ in expected], abs=1e-6)


def test_what_is_almost_on_a_line_with_corners_is_not_on_it():
    """A sixth was written with sixteen digits: it lies beside a sample by less than floats tell."""
    shape = ((0.875, 0.16666666666666666), (0.25, 1.0), (1.0, 0.75))
    sides, far = PolyLine(shape, SIZE, "bottom", MARGIN).sides(np.array([[43.0, 28.0, 47.0, 35.0]]))
    assert counting.side_of(pixels(shape), (45, 35))[0] == sides[0] == -1
    assert not far[0]


@pytest.mark.parametrize("seed", range(150))
def test_stays(seed):
    at, _, tracks, anchor = case(seed)
    corners = [point(at) for _ in range(at.choice([3, 4, 5]))]
    while len(set(corners)) < len(corners):
        corners = [point(at) for _ in corners]
    finder, found = Stays(Polygon(tuple(corners), SIZE, anchor, MARGIN)), []
    for piece in pieces(at, samples_of(tracks, anchor)):
        found += finder.feed(piece)
    for track_id, places in tracks.items():
        found += finder.end(track_id)
        got = [
            (each.first.frame, each.last.frame, each.born_inside, each.ended_inside)
            for each in found
            if each.track_id == track_id
        ]
        margin = Fraction(repr(MARGIN)) * SIZE[1]
        assert got == counting.stays(pixels(corners), exact(places), margin), (corners, places)


def test_the_cases_are_many_and_the_hard_ones_are_among_them():
    """That the reference is asked something: crossings, those that pass beyond the ends, samples on the line."""
    crossed = beyond = on_line = cornered = 0
    for seed in range(150):
        _, shape, tracks, _ = case(seed)
        ends = pixels(shape)
        for places in tracks.values():
            told = [counting.side_of(ends, place) for _, place in exact(places)]
            on_line += any(side == 0 for side, _ in told)
            found = counting.crossings(ends, exact(places), 3)
            crossed += len(found or ())
            cornered += len(found or ()) if len(shape) > 2 else 0
            changes = sum(a[0] != b[0] for a, b in pairwise(told))
            beyond += bool(changes) and not found
    assert crossed > 150
    assert cornered > 50
    assert beyond > 50
    assert on_line > 50


@pytest.mark.parametrize("seed", range(20))
def test_a_sequence_has_no_seam(seed):
    """Rows of one video, and the same as files of one camera, each with its own clock: the same events at the same
    times, whatever is cut where."""
    at, shape, tracks, anchor = case(1000 + seed)
    corners = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]
    scene = Scene.model_validate(
        {
            "margin": MARGIN,
            "line": [{"name": "l", "points": [list(p) for p in shape], "anchor": anchor}],
            "zone": [{"name": "z", "polygon": corners, "anchor": anchor}],
        }
    )
    rows = samples_of(tracks, anchor)
    last_s = float(rows.times_s[-1])
    whole = analyse([Recording("a", SIZE, [rows], (0.0, last_s))], scene)
    cuts = sorted({0, len(rows), *(at.randint(0, len(rows)) for _ in range(4))})
    files = []
    for number, (start, stop) in enumerate(pairwise(cuts)):
        part = rows.take(slice(start, stop))
        begins_s = float(part.times_s[0])
        own = Samples(
            part.frames - part.frames[0],
            part.pts - part.pts[0],
            part.times_s - begins_s,
            part.track_ids,
            part.class_ids,
            part.scores,
            part.boxes_xyxy,
            part.class_names,
        )
        files.append(Recording(f"{number}", SIZE, [own], (begins_s, last_s), begins_s))
    cut = analyse(files, scene)

    def told(answers):
        return [
            (round(e.at.time_s, 6), e.track_id, e.kind, e.place, e.direction, round(e.dwell_s or 0.0, 6), e.born_inside)
            for e in answers.events
        ]

    assert told(cut) == told(whole)
    assert [(t.track_id, t.rows, round(t.path_px, 6), t.votes) for t in cut.tracks] == [
        (t.track_id, t.rows, round(t.path_px, 6), t.votes) for t in whole.tracks
    ]
