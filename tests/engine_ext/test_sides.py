"""Sides: the kernel is its twin exactly. tests/engine/analytics/test_exact.py holds that they are the true ones."""

import numpy as np
import pytest

from engine_ext.sides import Watch, beside_line, inside_polygon
from tests.reference import sides as reference

MIDDLE = ((1, 1), (1, 1))
FOOT = ((1, 1), (0, 2))
CORNER = ((0, 2), (2, 0))


def boxes(seed, count=300):
    rng = np.random.default_rng(seed)
    start = rng.uniform(-20, 120, (count, 2))
    found = np.hstack((start, start + rng.uniform(0, 30, (count, 2))))
    return found if seed % 2 else found.round()  # many lie on what has whole numbers


def points(seed, count):
    found = np.random.default_rng(seed + 100).uniform(0, 100, (count, 2))
    return found if seed % 2 else found.round()


@pytest.mark.parametrize("halves", [MIDDLE, FOOT, CORNER])
@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_the_kernel_is_its_twin(seed, count, halves):
    for kernel, twin, more in (
        (beside_line, reference.beside_line, 0),
        (inside_polygon, reference.inside_polygon, 1),
    ):
        given = boxes(seed), points(seed, count + more), halves, 3.0
        (side, far, unsure), (twin_side, twin_far, twin_unsure) = kernel(*given), twin(*given)
        assert unsure == twin_unsure
        sure = np.setdiff1d(np.arange(len(side)), unsure)
        assert side[sure].tolist() == twin_side[sure].tolist()
        assert far[sure].tolist() == twin_far[sure].tolist()
        assert side.dtype == twin_side.dtype
        assert len(set(side[sure].tolist())) == len(set(far[sure].tolist())) == 2


def test_what_rounding_could_decide_is_named():
    """On the line, a margin away, beside both, and far out, where floats are further apart."""
    line, square = np.array([[0.0, 0], [0, 10]]), np.array([[0.0, 0], [0, 10], [10, 10], [10, 0]])
    at = np.array([[x, 5.0, x, 5.0] for x in (0.0, 3.0, -3.0, 1e-9, 2.0, 4.0)] + [[1e-3, 2.0**31, 1e-3, 2.0**31]])
    assert beside_line(at, line, MIDDLE, 3.0)[2] == [0, 1, 2, 3, 6]
    assert inside_polygon(at, square, MIDDLE, 3.0)[2] == [0, 1, 2, 3]


def test_no_rows_and_a_point_twice():
    side, far, unsure = beside_line(np.empty((0, 4)), points(1, 2), FOOT, 1.0)
    assert (side.shape, far.shape, unsure) == ((0,), (0,), [])
    given = boxes(1), np.vstack((points(1, 4), points(1, 4)[-1:])), FOOT, 1.0
    assert inside_polygon(*given)[0].tolist() == reference.inside_polygon(*given)[0].tolist()


def test_refusals():
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        beside_line(boxes(1)[:, :3], points(1, 2), FOOT, 1.0)
    with pytest.raises(ValueError, match="2 or more points"):
        beside_line(boxes(1), points(1, 1), FOOT, 1.0)
    with pytest.raises(ValueError, match="3 or more points"):
        inside_polygon(boxes(1), points(1, 2), FOOT, 1.0)
    with pytest.raises(ValueError, match="3 or more points"):
        Watch([(points(1, 2), FOOT, 1.0, True)])
    with pytest.raises(ValueError, match="as many as ids"):
        Watch([]).follow(np.arange(3), boxes(1, 2), 0.0, 0.0)
    with pytest.raises(KeyError):
        Watch([]).settle(0, 1, None)


@pytest.mark.parametrize("seed", range(4))
def test_a_watch_is_its_twin(seed):
    """Tracks come, stay away for a while or for good, and move about; where rounding could decide, no side is told."""
    rng = np.random.default_rng(seed)
    places = [(points(seed, 3), FOOT, 3.0, False), (points(seed + 2, 5), MIDDLE, 3.0, True)]
    watch, twin = Watch(places), reference.Watch(places)
    at, told = boxes(seed, 60), [0, 0, 0]
    for step in range(80):
        if step % 7 != 6:  # else the same tracks again
            here = np.flatnonzero(rng.random(60) < (0.0 if step % 11 == 10 else 0.4)) + step // 8
        at += rng.integers(-3, 4, at.shape)
        given = here, at[here % 60], float(step), step - 6.0
        new, moved, gone, same = watch.follow(*given)
        expected = twin.follow(*given)
        sure = [(*each[:3], each[2] is not None and each[3]) for each in moved]
        assert (new, sure, gone, same) == (
            expected[0], [(*each[:3], each[2] is not None and each[3]) for each in expected[1]], *expected[2:]
        )  # fmt: skip
        for place, row, side, _ in moved:
            settled = side if rng.random() < 0.8 else None
            for each in (watch, twin):
                each.settle(place, int(here[row]), settled)
        told = [told[0] + len(moved), told[1] + len(gone), told[2] + same]
    assert sorted(watch.last_seen()) == sorted((seen, track_id) for track_id, seen in twin.seen.items())
    assert min(told) > 5


def test_a_watch_goes_on():
    watch = Watch([(points(1, 2), FOOT, 1.0, False)])
    for track_id in range(40):
        watch.add(track_id, track_id)
    watch.add(7, 70.0)
    watch.forget(3)
    watch.forget(99)
    assert sorted(watch.last_seen())[-2:] == [(39.0, 39), (70.0, 7)]
    new, moved, gone, same = watch.follow(np.array([5, 3]), boxes(1, 2), 80.0, 38.5)
    assert (new, [each[:2] for each in moved], same) == ([3], [(0, 0), (0, 1)], False)
    assert gone == [(float(each), each) for each in range(39) if each not in (3, 5, 7)]
    assert sorted(watch.last_seen()) == [(39.0, 39), (70.0, 7), (80.0, 3), (80.0, 5)]
