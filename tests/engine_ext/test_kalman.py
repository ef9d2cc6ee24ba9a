import numpy as np
import pytest

from engine_ext.kalman import testing_filter as run_filter
from tests.reference.kalman import P0, BoxFilter, F, H, Q, R


def sequence(seed, steps, missing, shrink):
    rng = np.random.default_rng(seed)
    t = np.arange(steps)[:, None]
    uvsr = np.array([[500.0, 300.0, 8000.0, 0.5]]) + t * [[2.0, -1.0, -60.0 if shrink else 15.0, 0.0]]
    uvsr += rng.normal(0, [2, 2, 150, 0.02], uvsr.shape)
    uvsr[:, 2] = np.maximum(uvsr[:, 2], 30.0)
    uvsr[1:][rng.random(steps - 1) < missing] = np.nan
    return uvsr


CASES = [
    pytest.param(0, 1000, 0.0, False, id="always seen"),
    pytest.param(1, 1000, 0.3, False, id="often missed"),
    pytest.param(2, 300, 0.8, True, id="vanishing area: the guard acts"),
    pytest.param(3, 1, 0.0, False, id="one measurement"),
]


@pytest.mark.parametrize(("seed", "steps", "missing", "shrink"), CASES)
def test_equals_numpy(seed, steps, missing, shrink):
    uvsr = sequence(seed, steps, missing, shrink)
    x, p, boxes = run_filter(uvsr)
    twin = BoxFilter(uvsr[0])
    for t in range(steps):
        if t:
            twin.predict()
            if not np.isnan(uvsr[t, 0]):
                twin.update(uvsr[t])
        np.testing.assert_allclose(x[t], twin.x, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(p[t], twin.p, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(boxes[t], twin.box(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("seed", "steps", "missing", "shrink"), CASES)
def test_equals_filterpy(seed, steps, missing, shrink):
    kalman = pytest.importorskip("filterpy.kalman")
    uvsr = sequence(seed, steps, missing, shrink)
    x, p, _ = run_filter(uvsr)
    peer = kalman.KalmanFilter(dim_x=7, dim_z=4)
    peer.F, peer.H, peer.R, peer.P, peer.Q = F, H, R, P0.copy(), Q
    peer.x[:4, 0] = uvsr[0]
    for t in range(steps):
        if t:
            if peer.x[2, 0] + peer.x[6, 0] <= 0:
                peer.x[6, 0] = 0.0
            peer.predict()
            if not np.isnan(uvsr[t, 0]):
                peer.update(uvsr[t].reshape(4, 1))
        np.testing.assert_allclose(x[t], peer.x[:, 0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(p[t], peer.P, rtol=1e-9, atol=1e-9)


def test_refuses_no_measurement():
    with pytest.raises(ValueError, match=r"measurements must be a \(T, 4\) array"):
        run_filter(np.zeros((0, 4)))
