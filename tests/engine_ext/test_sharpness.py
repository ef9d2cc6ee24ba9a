"""Sharpness: the kernel is its twin exactly, and a blurred image has less of it."""

import numpy as np
import pytest

from engine_ext.sharpness import better, sharpness
from tests.reference import sharpness as reference

WIDTH, HEIGHT = 97, 61


def plane(seed, components=1, *, padding=7):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT + 3, WIDTH * components + padding), np.uint8)


def boxes(seed, count=200):
    rng = np.random.default_rng(seed)
    start = rng.uniform(-30, 110, (count, 2))
    return np.hstack((start, start + rng.uniform(-5, 90, (count, 2))))


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_is_its_twin(seed, components):
    given = plane(seed, components), boxes(seed), (WIDTH, HEIGHT)
    found = sharpness(*given, components=components)
    assert found.tolist() == reference.sharpness(*given, components=components).tolist()
    assert found.max() > 0 == found.min()


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, WIDTH, HEIGHT),
        (-1e9, -1e9, 1e9, 1e9),
        (-5, -5, -1, -1),
        (WIDTH, 0, WIDTH + 9, 9),
        (5, 5, 5, 5),
        (9, 9, 5, 5),
    ],
    ids=str,
)
def test_bounds(box):
    given = plane(1), np.array([box], np.float64), (WIDTH, HEIGHT)
    assert sharpness(*given).tolist() == reference.sharpness(*given).tolist()


def test_not_a_number_and_tiny_frames():
    assert sharpness(plane(1), np.full((1, 4), np.nan), (WIDTH, HEIGHT)).tolist() == [0.0]
    assert sharpness(plane(1), np.empty((0, 4)), (WIDTH, HEIGHT)).tolist() == []
    assert sharpness(plane(1), np.array([[0.0, 0, 2, 2]]), (2, 2)).tolist() == [0.0]


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("least", [0.0, 100.0, 1000.0])
def test_better_rows_are_those_of_the_twin(least, components):
    at = np.random.default_rng(5)
    scores, rows = at.uniform(0, 1, 200).astype(np.float32), at.permutation(200)[:150].tolist()
    bounds = (at.uniform(0, 2, 150) * least).tolist()
    given = plane(7, components), boxes(7), scores, rows, bounds, (WIDTH, HEIGHT)
    found = better(*given, components=components)
    assert found == reference.better(*given, components=components)
    assert 0 < len(found) < len(rows)


def test_a_box_in_a_tiny_frame():
    """No pixel has four neighbours there, and a box shows something all the same."""
    box, score = np.array([[0.0, 0, 2, 2]]), np.ones(1, np.float32)
    assert better(plane(1), box, score, [0], [0.0], (2, 2)) == [(0, 1 / 17)]


def test_blur_takes_it_away():
    sharp = np.kron(np.random.default_rng(3).integers(0, 2, (10, 10)) * 200, np.ones((6, 6))).astype(np.uint8)
    blurred = sum(np.roll(np.roll(sharp.astype(int), x, 1), y, 0) for x in (-1, 0, 1) for y in (-1, 0, 1)) // 9
    box = np.array([[0.0, 0, 60, 60]])
    assert sharpness(blurred.astype(np.uint8), box, (60, 60))[0] < sharpness(sharp, box, (60, 60))[0] / 2


def test_refusals():
    with pytest.raises(ValueError, match="61 rows of 97 bytes"):
        sharpness(plane(1)[:50], boxes(1), (WIDTH, HEIGHT))
    with pytest.raises(ValueError, match=r"\(M, 4\)"):
        sharpness(plane(1), boxes(1)[:, :3], (WIDTH, HEIGHT))
    with pytest.raises(ValueError, match="components"):
        sharpness(plane(1), boxes(1), (WIDTH, HEIGHT), components=2)
    for scores, rows, why in (
        (199, [0], r"scores must be \(200,\)"),
        (200, [0, 1], "as many rows"),
        (200, [200], "below 200"),
        (200, [-1], "below 200"),
    ):
        with pytest.raises(ValueError, match=why):
            better(plane(1), boxes(1), np.ones(scores, np.float32), rows, [0.0], (WIDTH, HEIGHT))
