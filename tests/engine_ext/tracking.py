"""Scenes and rows for the tests of the trackers."""

import numpy as np
import pytest

BOX = [10.0, 20.0, 50.0, 100.0, 0.9]
FAR = [500.0, 20.0, 550.0, 100.0, 0.9]


def rows(*boxes):
    return np.array(boxes, np.float64).reshape(-1, 5)


def scene(n, frames, *, seed=0, crowding=1.0, classes=1, scored=False):
    """Detections and classes of n objects that move, are missed and are joined by false ones, in random order.

    All scores are 1, or, where `scored`, of all sizes, and lower for an object that is hard to see for a while.
    """
    rng = np.random.default_rng(seed)
    side = 100 * np.sqrt(n / crowding)
    centre, speed = rng.uniform(0, side, (n, 2)), rng.normal(0, 3, (n, 2))
    size, kind = rng.uniform(30, 80, (n, 2)), rng.integers(0, classes, n)
    for frame in range(frames):
        centre += speed
        seen = rng.random(n) < 0.9
        false = rng.poisson(0.1 * n)
        where = np.concatenate([centre[seen], rng.uniform(0, side, (false, 2))])
        half = np.concatenate([size[seen], rng.uniform(30, 80, (false, 2))]) / 2
        boxes = np.concatenate([where - half, where + half], axis=1) + rng.normal(0, 1, (len(where), 4))
        ids = np.concatenate([kind[seen], rng.integers(0, classes, false)])
        order = rng.permutation(len(boxes))
        scores = np.ones(len(boxes))
        if scored:
            hard = (np.arange(n) + frame // 3) % 4 == 0
            scores = np.r_[np.where(hard, 0.35, 0.85)[seen], rng.uniform(0, 1, false)] + rng.uniform(
                -0.3, 0.15, len(boxes)
            )
        yield np.column_stack([boxes, scores])[order], ids[order]


NO_BOXES = [
    pytest.param([np.nan, 0, 1, 1, 1], id="nan"),
    pytest.param([0, 0, np.inf, 1, 1], id="infinite"),
    pytest.param([5, 5, 5, 9, 1], id="no width"),
    pytest.param([5, 5, 9, 5, 1], id="no height"),
    pytest.param([9, 9, 5, 5, 1], id="inverted"),
    pytest.param([0, 0, 1e200, 1e200, 1], id="area beyond the doubles"),
    pytest.param([0, 0, 1e-200, 1e-200, 1], id="area below the doubles"),
    pytest.param([0, 0, 1e300, 1e-300, 1], id="aspect beyond the doubles"),
]
