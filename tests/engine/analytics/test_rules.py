"""The rules of crossings and stays, by hand: a line at x = 50 in a frame of 100 x 100, margin 1 pixel."""

import numpy as np
import pytest

from engine.analytics.crossings import Crossings
from engine.analytics.geometry import Polygon, PolyLine
from engine.analytics.samples import Samples
from engine.analytics.stays import Stays

UPRIGHT = ((0.5, 0.0), (0.5, 1.0))
SIZE = (100, 100)


def samples(places, frames=None):
    """One sample a place, whose anchor at the lower centre is there; half a second apart."""
    points = np.array(places, dtype=np.float64)
    frames = np.array(frames if frames is not None else range(len(points)), dtype=np.int64)
    boxes = np.column_stack((points[:, 0] - 2, points[:, 1] - 4, points[:, 0] + 2, points[:, 1]))
    ones = np.ones(len(points), dtype=np.int64)
    return Samples(frames, frames * 10, frames / 2, ones, 0 * ones, 0.5 * ones, boxes, {0: "car"})


def crossings(places, line=UPRIGHT, margin=0.01, frames=None):
    finder = Crossings(PolyLine(line, SIZE, "bottom", margin))
    found = finder.feed(samples(places, frames).by_track()) + finder.end(1)
    return [("+" if crossing.positive else "-", round(crossing.at.frame, 3)) for crossing in found]


def at(*xs):
    return [(x, 50) for x in xs]


@pytest.mark.parametrize(
    ("why", "places", "expected"),
    [
        ("straight over it", at(40, 60), [("-", 0.5)]),
        ("and back", at(40, 60, 40), [("-", 0.5), ("+", 1.5)]),
        ("never there", at(40, 45, 49), []),
        ("one sample", at(40), []),
        ("flicker within the margin", at(49.5, 50.5, 49.5, 50.5, 49.5), []),
        ("flicker, then over: the last change counts", at(40, 50.5, 49.5, 50.5, 60), [("-", 2.5)]),
        ("it ends on the other side, within the margin", at(40, 50.4), [("-", 0.962)]),
        ("exactly at the margin is beyond it", at(40, 51), [("-", 0.909)]),
        ("a sample on the line has the side before it", at(40, 50, 60), [("-", 1.0)]),
        ("on the line and back", at(40, 50, 40), []),
        ("begins on the line", at(50, 50, 60), []),
        ("stands on the line, then goes on", at(40, 50, 50, 50, 60), [("-", 3.0)]),
        ("beyond the line's end", [(40, -5), (60, -5)], []),
        ("through its end point", [(40, 0), (60, 0)], [("-", 0.5)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_crossing(why, places, expected):
    assert crossings(places) == expected


def test_a_hole_is_interpolated_in_time():
    assert crossings(at(40, 60), frames=[10, 30]) == [("-", 20.0)]


def test_decimals_that_floats_do_not_have():
    """0.55 x 1080 is 594 and not 594.0000000000001: a box that stands there stands on the line."""
    line = PolyLine(((0.1, 0.55), (0.9, 0.55)), (1920, 1080), "bottom", 0.01)
    boxes = np.array([[900, 500, 950, 594.0], [900, 500, 950, 604.8], [900, 500, 950, 604.79]])
    sides, far = line.sides(boxes)
    assert sides.tolist() == [0, 1, 1]
    assert far.tolist() == [False, True, False]


BENT = ((0.2, 0.5), (0.5, 0.5), (0.5, 0.8))


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([(30, 40), (30, 60)], [("+", 0.5)]),  # over the first part
        ([(60, 70), (40, 70)], [("+", 0.5)]),  # over the second
        ([(60, 40), (40, 60)], [("+", 0.5)]),  # over the corner
        ([(60, 40), (80, 70)], []),  # round the outside of the corner
        ([(10, 40), (10, 60)], []),  # beyond the first end
        ([(60, 90), (40, 90)], []),  # beyond the last
        ([(45, 40), (60, 55)], []),  # past the corner's outside, both parts near
    ],
)
def test_a_line_with_a_corner(places, expected):
    assert crossings(places, BENT) == expected


def test_pieces_change_nothing():
    rng = np.random.default_rng(3)
    places = np.column_stack((50 + np.cumsum(rng.normal(0, 1.2, 400)), np.full(400, 50.0))).round(1)
    whole = samples(places)
    for shape, finder in ((PolyLine(UPRIGHT, SIZE, "bottom", 0.01), Crossings), (square(), Stays)):
        expected = finder(shape)
        found = expected.feed(whole.by_track()) + expected.end(1)
        assert len(found) > 4
        for size in (1, 2, 13):
            parts = finder(shape)
            pieces = [whole.take(slice(start, start + size)).by_track() for start in range(0, 400, size)]
            got = [each for piece in pieces for each in parts.feed(piece)]
            assert got + parts.end(1) == found


def square():
    return Polygon(((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)), SIZE, "bottom", 0.01)


@pytest.mark.parametrize(
    ("why", "xs", "expected"),
    [
        ("through it", (30, 50, 55, 70), [(1, 2, False, False)]),
        ("born inside, stays", (50, 50), [(0, 1, True, True)]),
        ("on the edge is inside", (30, 40, 30), [(1, 1, False, False)]),
        ("outside within the margin is no leave", (50, 60.5, 59, 70), [(0, 2, True, False)]),
        ("exactly the margin is a leave", (50, 61, 50), [(0, 0, True, False), (2, 2, False, True)]),
        ("it ends just outside", (50, 60.5), [(0, 0, True, True)]),
        ("twice", (30, 50, 70, 50, 30), [(1, 1, False, False), (3, 3, False, False)]),
        ("never", (10, 20), []),
        ("leaves before it enters", (70, 30, 50), [(2, 2, False, True)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_stay(why, xs, expected):
    finder = Stays(square())
    found = finder.feed(samples(at(*xs)).by_track()) + finder.end(1)
    got = [(int(s.first.frame), int(s.last.frame), s.born_inside, s.ended_inside) for s in found]
    assert got == expected


def test_dwell_is_in_seconds_of_the_container():
    finder = Stays(square())
    finder.feed(samples(at(50, 50, 50), frames=[0, 4, 20]).by_track())
    assert finder.end(1)[0].dwell_s == 10.0
