import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from engine_ext.assignment import testing_associate as associate
from engine_ext.assignment import testing_linear_assignment as solve_dense
from engine_ext.assignment import testing_overlaps as overlaps
from engine_ext.assignment import testing_rectangle_assignment as solve_rectangle
from engine_ext.assignment import testing_sparse_assignment as solve_sparse
from engine_ext.geometry import iou_matrix
from tests.reference import sort as reference
from tests.reference.assignment import linear_assignment
from tests.reference.bytetrack import iou_of_pixels


def random_boxes(rng, n, side, low=20.0, high=80.0):
    corner = rng.uniform(0, side, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(low, high, (n, 2))], axis=1)


def gain(rng, n, m, density, levels):
    values = rng.random((n, m)) * (rng.random((n, m)) < density)
    return np.round(values * levels) / levels if levels else values


GAINS = [
    pytest.param(n, m, density, levels, id=f"{n}x{m} density {density} levels {levels}")
    for n, m in [(1, 1), (1, 9), (9, 1), (3, 7), (7, 3), (12, 12), (40, 25), (25, 40), (150, 140)]
    for density, levels in [(1.0, 0), (0.3, 0), (0.05, 0), (0.4, 4), (1.0, 1), (0.0, 0)]
]


@pytest.mark.parametrize(("n", "m", "density", "levels"), GAINS)
def test_solvers_are_optimal(n, m, density, levels):
    rng = np.random.default_rng([n, m, levels])
    for _ in range(20 if n < 100 else 2):
        value = gain(rng, n, m, density, levels)
        best = value[linear_sum_assignment(-value)].sum()
        for pairs in (solve_dense(-value), solve_sparse(value)):
            assert sum(value[p] for p in pairs) == pytest.approx(best, abs=1e-9)
            assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        assert len(solve_dense(-value)) == min(n, m)


@pytest.mark.parametrize(("n", "m", "density", "levels"), [c for c in GAINS if c.values[0] < 100])
def test_dense_breaks_ties_as_its_twin(n, m, density, levels):
    rng = np.random.default_rng([n, m, levels, 1])
    for _ in range(10):
        value = gain(rng, n, m, density, levels)
        assert solve_dense(-value) == linear_assignment(-value)


@pytest.mark.parametrize(("n", "m", "density", "levels"), [c for c in GAINS if c.values[0] <= c.values[1]])
def test_rectangle_is_solved_as_by_scipy(n, m, density, levels):
    rng = np.random.default_rng([n, m, levels, 2])
    for _ in range(10 if n < 100 else 2):
        cost = -gain(rng, n, m, density, levels)
        rows, columns = linear_sum_assignment(cost)
        assert solve_rectangle(cost) == list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_rectangle_has_no_more_rows_than_columns():
    assert solve_rectangle(np.zeros((0, 3))) == []
    with pytest.raises(ValueError, match=r"Got shape \(3, 2\)"):
        solve_rectangle(np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0)])
def test_solvers_of_nothing(shape):
    assert solve_dense(np.zeros(shape)) == []
    assert solve_sparse(np.zeros(shape)) == []


@pytest.mark.parametrize(
    ("n", "m", "side", "low", "high"),
    [
        pytest.param(50, 60, 400, 20, 80, id="crowd"),
        pytest.param(300, 300, 3000, 20, 80, id="sparse"),
        pytest.param(100, 100, 10, 20, 80, id="all on one heap"),
        pytest.param(1, 100, 400, 20, 80, id="one detection"),
        pytest.param(100, 1, 400, 20, 80, id="one track"),
        pytest.param(200, 200, 1e9, 1, 2, id="far apart: the grid stays small"),
        pytest.param(100, 100, 1e150, 1e149, 2e149, id="vast"),
        pytest.param(100, 100, 1e-3, 1e-9, 1e-4, id="tiny"),
    ],
)
@pytest.mark.parametrize("pad", [0.0, 1.0])
def test_grid_finds_every_overlap_once(n, m, side, low, high, pad):
    rng = np.random.default_rng(0)
    dets, tracks = random_boxes(rng, n, side, low, high), random_boxes(rng, m, side, low, high)
    dets[0] = [-side, -side, 2 * side, 2 * side]  # one that meets all
    iou = iou_of_pixels(dets, tracks) if pad else iou_matrix(dets, tracks)
    found = overlaps(dets, tracks, pad)
    assert {(i, j) for i, j, _ in found} == set(zip(*np.nonzero(iou), strict=True))
    assert len(found) == np.count_nonzero(iou)
    assert all(value == pytest.approx(iou[i, j], rel=1e-12) for i, j, value in found)


@pytest.mark.parametrize("n", [5, 30, 64, 65, 200])
@pytest.mark.parametrize("crowding", [0.3, 1.0, 4.0])
def test_associate_equals_reference(n, crowding):
    rng = np.random.default_rng([n, int(crowding * 10)])
    for _ in range(5):
        tracks = random_boxes(rng, n, 100 * np.sqrt(n / crowding))
        seen = rng.permutation(np.flatnonzero(rng.random(n) < 0.9))
        dets = np.concatenate(
            [tracks[seen] + rng.normal(0, 3, (len(seen), 4)), random_boxes(rng, 3, 100 * np.sqrt(n / crowding))]
        )
        matches, never, rejected = reference.associate(dets, tracks, 0.3)
        found = associate(dets, tracks, 0.3)
        assert {i: int(j) for i, j in enumerate(found) if j >= 0} == matches
        if max(len(dets), n) <= 64:
            assert np.flatnonzero(found == -1).tolist() == never
            assert np.flatnonzero(found == -2).tolist() == rejected
