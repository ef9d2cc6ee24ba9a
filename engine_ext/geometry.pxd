# Boxes are four doubles: x1 y1 x2 y2.
from libc.math cimport isfinite

from engine_ext.typedefs cimport f64


cdef inline f64 iou_xyxy(const f64* a, const f64* b) noexcept nogil:
    # Intersection over union; 0 for boxes that only touch, and for empty, inverted or NaN ones.
    cdef f64 w = shared(a, b, 0), h
    if not w > 0.0:
        return 0.0
    h = shared(a, b, 1)
    if not h > 0.0:
        return 0.0
    return iou_of(w * h, (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))


cdef inline f64 iou_padded(const f64* a, const f64* b, f64 pad) noexcept nogil:
    # All widths and heights, also those of the intersection, are larger by pad: 1 if a box includes its last pixels.
    # Not the same with a pad of 0: to add it would take SORT a tenth of its time.
    cdef f64 w = shared(a, b, 0) + pad, h
    if not w > 0.0:
        return 0.0
    h = shared(a, b, 1) + pad
    if not h > 0.0:
        return 0.0
    return iou_of(
        w * h, (a[2] - a[0] + pad) * (a[3] - a[1] + pad) + (b[2] - b[0] + pad) * (b[3] - b[1] + pad)
    )


cdef inline f64 shared(const f64* a, const f64* b, int axis) noexcept nogil:
    # Length of the intersection along x (0) or y (1), not positive without one.
    return (a[axis + 2] if a[axis + 2] < b[axis + 2] else b[axis + 2]) - (a[axis] if a[axis] > b[axis] else b[axis])


cdef inline f64 iou_of(f64 overlap, f64 areas) noexcept nogil:
    cdef f64 iou = overlap / (areas - overlap)
    return iou if iou > 0.0 else 0.0


cdef inline bint xyxy_to_uvsr(const f64* box, f64* uvsr) noexcept nogil:
    # Centre, area and aspect (w / h), as SORT measures a box. False if it has none: a coordinate is not finite, a side
    # is not positive, or the sides are so extreme that the inverse (w = sqrt(s r)) overflows or underflows.
    cdef:
        f64 w = box[2] - box[0]
        f64 h = box[3] - box[1]
    if not (w > 0.0 and h > 0.0 and isfinite(box[0]) and isfinite(box[1]) and isfinite(box[2]) and isfinite(box[3])):
        return False
    uvsr[0] = box[0] + w / 2.0
    uvsr[1] = box[1] + h / 2.0
    uvsr[2] = w * h
    uvsr[3] = w / h
    return (
        uvsr[2] > 0.0 and uvsr[3] > 0.0 and uvsr[2] * uvsr[3] > 0.0
        and isfinite(uvsr[2]) and isfinite(uvsr[3]) and isfinite(uvsr[2] * uvsr[3])
    )
