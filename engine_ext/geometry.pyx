"""Box arithmetic: IoU, and the conversion from model pixels to source pixels."""
import math

import numpy as np

from engine_ext.typedefs cimport f32, f64


def iou_matrix(a, b):
    """Return the IoU of every box of a with every box of b. See geometry.pyi."""
    cdef:
        const f64[:, ::1] a_xyxy = _boxes("a", a)
        const f64[:, ::1] b_xyxy = _boxes("b", b)
        Py_ssize_t n = a_xyxy.shape[0], m = b_xyxy.shape[0], i, j
        f64[:, ::1] iou
    out = np.empty((n, m), np.float64)
    iou = out
    with nogil:
        for i in range(n):
            for j in range(m):
                iou[i, j] = iou_xyxy(&a_xyxy[i, 0], &b_xyxy[j, 0])
    return out


def scale_boxes(boxes_xyxy, ratio, pad_x, pad_y, src_w, src_h):
    """Convert model pixels to source pixels, in place. See geometry.pyi."""
    if not (
        isinstance(boxes_xyxy, np.ndarray) and boxes_xyxy.dtype == np.float32 and boxes_xyxy.ndim == 2
        and boxes_xyxy.shape[1] == 4 and boxes_xyxy.flags.c_contiguous and boxes_xyxy.flags.writeable
    ):
        raise ValueError(
            "boxes_xyxy must be a writable C-contiguous (N, 4) float32 array of x1 y1 x2 y2. " + _found(boxes_xyxy)
        )
    ratios = ratio if isinstance(ratio, tuple) else (ratio, ratio)
    if len(ratios) != 2 or not all(math.isfinite(each) and each > 0 for each in ratios):
        raise ValueError(f"ratio must be a finite number above 0, or two of them. Got {ratio!r}.")
    for name, pad in (("pad_x", pad_x), ("pad_y", pad_y)):
        if not math.isfinite(pad):
            raise ValueError(f"{name} must be a finite number. Got {pad!r}.")
    for name, size in (("src_w", src_w), ("src_h", src_h)):
        if size < 0:
            raise ValueError(f"{name} must be an int >= 0. Got {size!r}.")
    cdef:
        f32[:, ::1] boxes = boxes_xyxy
        f64[2] per_pixel = [ratios[0], ratios[1]]
        f64[2] pad_xy = [pad_x, pad_y]
        f64[2] size_wh = [src_w, src_h]
        f64 value
        Py_ssize_t i, k, without_area = 0
    # Under Python's lock: to let go of it, and to get it again, takes longer than a frame's boxes do.
    for i in range(boxes.shape[0]):
        for k in range(4):
            value = (<f64>boxes[i, k] - pad_xy[k & 1]) / per_pixel[k & 1]
            if value < 0.0:
                value = 0.0
            elif value > size_wh[k & 1]:
                value = size_wh[k & 1]
            boxes[i, k] = <f32>value
        without_area += not (boxes[i, 2] > boxes[i, 0] and boxes[i, 3] > boxes[i, 1])
    return without_area


def _boxes(name, value):
    if not (isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 2 and value.shape[1] == 4):
        raise ValueError(f"{name} must be an (N, 4) float64 array of x1 y1 x2 y2. " + _found(value))
    return np.ascontiguousarray(value)


def _found(value):
    if isinstance(value, np.ndarray):
        return f"Got shape {value.shape}, dtype {value.dtype}."
    return f"Got {type(value).__name__}."
