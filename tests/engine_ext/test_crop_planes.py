"""Parts of frames: the kernel is its twin."""

import numpy as np
import pytest

from engine_ext.crop_planes import around, cut_out, put_looked_up
from tests.reference import crop_planes as reference

WIDTH, HEIGHT = 97, 61


def planes(seed=0, width=WIDTH, height=HEIGHT, padding=7):
    at = np.random.default_rng(seed)
    half = -(-height // 2), -(-width // 2) + padding
    return [at.integers(0, 256, shape, np.uint8) for shape in ((height, width + padding), half, half)]


def boxes(seed, count=300):
    at = np.random.default_rng(seed)
    start = at.uniform((-20, -20), (WIDTH - 0.1, HEIGHT - 0.1), (count, 2))
    return np.hstack((start, np.maximum(start, 0) + at.uniform(0.01, 120, (count, 2)))).tolist()


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (7, 5), (96, 64)], ids=str)
def test_what_is_shown_is_what_the_twin_shows(size):
    inside = [box for box in boxes(1) if box[0] < size[0] and box[1] < size[1]]
    assert inside
    for box in inside:
        found = around(*box, *size)
        assert found == reference.around(*box, *size), box
        assert all(0 <= low < high <= side for low, high, side in zip(found[:2], found[2:], size, strict=True))


@pytest.mark.parametrize("box", [(5.0, 5, 5, 9), (-9.0, 0, -1, 9), (99.0, 0, 120, 9)], ids=str)
def test_a_box_outside_is_refused(box):
    with pytest.raises(ValueError, match="must lie within 97 x 61"):
        around(*box, WIDTH, HEIGHT)


def test_a_part_is_the_one_that_the_twin_cuts():
    given = planes()
    for box in boxes(2):
        part = reference.around(*box, WIDTH, HEIGHT)
        assert cut_out(*given, part) == reference.cut_out(*given, part)
    assert cut_out(*given, (3, 5, 4, 8)) == reference.cut_out(*given, (3, 5, 4, 8))


@pytest.mark.parametrize("size", [(1, 1), (16, 32), (17, 9)], ids=str)
def test_levels_are_looked_up_as_the_twin_does(size):
    greys, colours = (np.random.default_rng(seed).integers(0, 256, 256, np.uint8).tobytes() for seed in (3, 4))
    part = cut_out(*planes(5), (2, 4, 2 + size[0], 4 + size[1]))
    found, expected = (planes(6, *size) for _ in range(2))
    put_looked_up(part, *found, *size, greys, colours)
    reference.put_looked_up(part, *expected, *size, greys, colours)
    assert [plane.tolist() for plane in found] == [plane.tolist() for plane in expected]


def test_refusals():
    luma, blue, red = planes()
    tables = bytes(256), bytes(256)
    for box in ((-1, 0, 9, 9), (0, 0, WIDTH + 9, 9), (0, 0, 9, HEIGHT + 1), (9, 0, 9, 9)):
        with pytest.raises(ValueError, match="the box must lie within"):
            cut_out(luma, blue, red, box)
    with pytest.raises(ValueError, match="chroma must reach 4 x 31"):
        cut_out(luma, blue, red[:30], (0, 0, 8, HEIGHT))
    part = cut_out(luma, blue, red, (0, 0, 8, 8))
    with pytest.raises(ValueError, match="has another size than 96 bytes"):
        put_looked_up(part, luma, blue, red, 8, 9, *tables)
    with pytest.raises(ValueError, match="planes must hold 4 x 4"):
        put_looked_up(part, luma, blue, red[:3], 8, 8, *tables)
    with pytest.raises(ValueError, match="256 levels"):
        put_looked_up(part, luma, blue, red, 8, 8, tables[0], b"")
