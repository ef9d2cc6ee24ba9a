# Boxes are four doubles: x1 y1 x2 y2.
from libc.math cimport isfinite

from engine_ext.typedefs cimport f64


cdef inline f64 iou_xyxy(const f64* a, const f64* b) noexcept nogil:
    # Intersection over union; 0 for boxes that only touch, and for empty, inverted or NaN ones.
    return iou_padded(a, b, 0.0)


cdef inline f64 iou_padded(const f64* a, const f64* b, f64 pad) noexcept nogil:
    # All widths and heights, also those of the intersection, are larger by pad: 1 if a box includes its last pixels.
    cdef:
        f64 w = (a[2] if a[2] < b[2] else b[2]) - (a[0] if a[0] > b[0] else b[0]) + pad
        f64 h, overlap, iou
    if not w > 0.0:
        return 0.0
    h = (a[3] if a[3] < b[3] else b[3]) - (a[1] if a[1] > b[1] else b[1]) + pad
    if not h > 0.0:
        return 0.0
    overlap = w * h
    iou = overlap / (
        (a[2] - a[0] + pad) * (a[3] - a[1] + pad) + (b[2] - b[0] + pad) * (b[3] - b[1] + pad) - overlap
    )
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
