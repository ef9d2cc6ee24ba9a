"""The Kalman filter of SORT. The arithmetic is inline in kalman.pxd; this module exists for the tests."""
import numpy as np

from engine_ext.typedefs cimport f64


def testing_filter(measurements):
    """Runs the filter over a sequence of measurements. See kalman.pyi."""
    cdef:
        const f64[:, ::1] uvsr = measurements
        Py_ssize_t t, i
        BoxFilter f
        f64[:, :, ::1] covariances
        f64[:, ::1] boxes
    if uvsr.shape[1] != 4 or uvsr.shape[0] == 0:
        raise ValueError(f"measurements must be a (T, 4) array of u v s r with T >= 1. Got shape {measurements.shape}.")
    x = np.empty((uvsr.shape[0], 7), np.float64)
    p = np.zeros((uvsr.shape[0], 7, 7), np.float64)
    xyxy = np.empty((uvsr.shape[0], 4), np.float64)
    covariances, boxes = p, xyxy
    filter_start(&f, &uvsr[0, 0])
    for t in range(uvsr.shape[0]):
        if t > 0:
            filter_predict(&f, step_of(1.0))
            if uvsr[t, 0] == uvsr[t, 0]:
                filter_update(&f, &uvsr[t, 0])
        x[t] = (f.u, f.v, f.s, f.r, f.du, f.dv, f.ds)
        for i in range(2):
            covariances[t, i, i] = f.of_uv.pp
            covariances[t, i, i + 4] = covariances[t, i + 4, i] = f.of_uv.pv
            covariances[t, i + 4, i + 4] = f.of_uv.vv
        covariances[t, 2, 2] = f.of_s.pp
        covariances[t, 2, 6] = covariances[t, 6, 2] = f.of_s.pv
        covariances[t, 6, 6] = f.of_s.vv
        covariances[t, 3, 3] = f.of_r
        filter_box(&f, &boxes[t, 0])
    return x, p, xyxy
