"""Where signs stand: apart, in the frame, and by their own lines and zones, whatever lies beside them."""

import itertools

import numpy as np
import pytest

from engine.sinks.sign_places import Outline, place_signs

FRAME = (1920, 1080)
EDGE, GAP, HEIGHT = 12, 6, 26


def zone(left, top, width, height):
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height), (left, top)]
    return Outline(np.array(corners, np.float64), closed=True)


def line(*points):
    return Outline(np.array(points, np.float64), closed=False)


def placed(outlines, width=200, frame_wh=FRAME, **options):
    options = {"edge": EDGE, "gap": GAP, **options}
    drawn = [outline.points for outline in outlines]
    return place_signs(outlines, [(width, HEIGHT)] * len(outlines), drawn, frame_wh, **options)


def way(room, outline):
    """How many pixels lie between a sign and the rectangle about its outline; 0 where they meet."""
    (left, top), (right, bottom) = outline.points.min(axis=0), outline.points.max(axis=0)
    return max(left - room[2], room[0] - right, top - room[3], room[1] - bottom, 0)


def within(room, outline):
    (left, top), (right, bottom) = outline.points.min(axis=0), outline.points.max(axis=0)
    return left <= room[0] and top <= room[1] and room[2] <= right and room[3] <= bottom


def meet(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


BAYS = [zone(40 + 230 * number, 600, 230, 270) for number in range(8)]
LINES = [line((100, 540), (860, 540)), line((1050, 540), (1820, 540))]
GRID = [zone(480 * column, 270 * row, 480, 270) for column in range(4) for row in range(4)]
NESTED = [zone(190, 110, 1540, 860), zone(580, 320, 770, 430), zone(700, 420, 400, 200)]
STRIPS = [zone(0, 40 * number, 1920, 40) for number in range(27)]


@pytest.mark.parametrize("outlines", [BAYS + LINES, GRID, NESTED, STRIPS], ids=["bays", "grid", "nested", "strips"])
@pytest.mark.parametrize("width", [60, 200, 320])
def test_apart_in_the_frame_and_at_their_own(outlines, width):
    rooms = placed(outlines, width)
    assert all(left >= EDGE and top >= EDGE and right <= 1908 and bottom <= 1068 for left, top, right, bottom in rooms)
    assert all(left % 2 == top % 2 == 0 for left, top, _, _ in rooms)
    assert not any(meet(one, other) for one, other in itertools.combinations(rooms, 2))
    assert max(way(room, outline) for room, outline in zip(rooms, outlines, strict=True)) <= 2 * HEIGHT


@pytest.mark.parametrize("width", [60, 200, 320])
def test_in_a_grid_each_is_within_its_own_zone(width):
    assert all(within(room, outline) for room, outline in zip(placed(GRID, width), GRID, strict=True))


def test_what_lies_in_another_zone_is_known_by_its_sign():
    outer, middle, inner = placed(NESTED)
    assert not any(within(outer, outline) for outline in NESTED[1:])
    assert not within(middle, NESTED[2])
    assert way(inner, NESTED[2]) <= HEIGHT


@pytest.mark.parametrize(
    "outline",
    [zone(0, 0, 90, 60), zone(1880, 1040, 40, 40), zone(-300, 500, 200, 200), zone(2000, 2000, 10, 10)],
    ids=["corner", "small", "outside", "far outside"],
)
def test_one_at_the_edge_is_whole(outline):
    ((left, top, right, bottom),) = placed([outline])
    assert (right - left, bottom - top) == (200, HEIGHT)
    assert left >= EDGE
    assert top >= EDGE
    assert right <= 1920 - EDGE
    assert bottom <= 1080 - EDGE


def test_a_sign_beside_a_line_leaves_the_line_in_sight():
    for points in (((200, 500), (900, 500)), ((900, 100), (900, 900)), ((300, 300), (800, 700), (1200, 300))):
        (room,) = placed([line(*points)])
        steps = np.concatenate([np.linspace(*pair, 400) for pair in itertools.pairwise(np.array(points, float))])
        assert not ((steps > room[:2]) & (steps < room[2:])).all(axis=1).any(), points


def test_what_is_taken_stays_free():
    taken = (0, 60, 1920, 98)
    (room,) = placed([zone(100, 100, 400, 300)], taken=[taken])
    assert not meet(room, taken)


def test_two_of_one_place():
    one, other = placed([zone(100, 100, 400, 300)] * 2)
    assert not meet(one, other)
    assert way(other, zone(100, 100, 400, 300)) == 0


@pytest.mark.parametrize("frame_wh", [(2, 2), (64, 48), (320, 20)])
def test_signs_larger_than_the_frame(frame_wh):
    for left, top, _, _ in placed([zone(0, 0, 10, 10), line((0, 0), (0, 0))], frame_wh=frame_wh):
        assert left >= 0
        assert top >= 0


def test_none():
    assert placed([]) == []
