"""Greedy non-maximum suppression. The interface is described in nms.pyi.

Each candidate, in order of score, is compared with the boxes kept so far, instead of each kept box with all that
follow. So the work is bounded by max_detections, and ends as soon as that many are kept.
"""

import numpy as np

from libc.math cimport isfinite, isnan
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from engine_ext.typedefs cimport f32, i32

cdef extern from "nms.h" nogil:
    cdef enum:
        NMS_BLOCK
    ctypedef struct nms_kept:
        f32* x1
        f32* y1
        f32* x2
        f32* y2
        f32* area
        i32* class_id
    uint32_t nms_descending_key(f32 score) noexcept
    f32 nms_area(f32 x1, f32 y1, f32 x2, f32 y2) noexcept
    bint nms_overlaps(const nms_kept* kept, Py_ssize_t count, f32 x1, f32 y1, f32 x2, f32 y2, i32 class_id,
                      f32 threshold) noexcept

# The key of a score, and its index. Sorting is stable, so that of equal scores the lower index comes first.
cdef struct Entry:
    uint32_t key
    i32 index

cdef enum:
    DIGIT_BITS = 11
    DIGITS = 3
    BUCKETS = 1 << DIGIT_BITS
    # Up to this many, an insertion sort is faster than clearing the buckets.
    SMALL = 48


cdef void insertion_sort(Entry* entries, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef Entry entry
    for i in range(1, count):
        entry = entries[i]
        j = i
        while j > 0 and entries[j - 1].key > entry.key:
            entries[j] = entries[j - 1]
            j -= 1
        entries[j] = entry


cdef Entry* radix_sort(Entry* entries, Entry* spare, Py_ssize_t count) noexcept nogil:
    """Sort by key, least significant digit first. Return the buffer with the result, one of the two."""
    cdef Py_ssize_t[BUCKETS] offsets
    cdef Py_ssize_t i, bucket, total, size
    cdef int digit, shift
    cdef Entry* other
    for digit in range(DIGITS):
        shift = digit * DIGIT_BITS
        memset(offsets, 0, sizeof(offsets))
        for i in range(count):
            offsets[(entries[i].key >> shift) & (BUCKETS - 1)] += 1
        total = 0
        for bucket in range(BUCKETS):
            size = offsets[bucket]
            offsets[bucket] = total
            total += size
        for i in range(count):
            bucket = (entries[i].key >> shift) & (BUCKETS - 1)
            spare[offsets[bucket]] = entries[i]
            offsets[bucket] += 1
        other = entries
        entries = spare
        spare = other
    return entries


cdef inline bint is_finite_box(const f32[:, ::1] boxes_xyxy, Py_ssize_t i) except -1 nogil:
    return (
        isfinite(boxes_xyxy[i, 0]) and isfinite(boxes_xyxy[i, 1])
        and isfinite(boxes_xyxy[i, 2]) and isfinite(boxes_xyxy[i, 3])
    )


cdef Py_ssize_t suppress(
    const f32[:, ::1] boxes_xyxy,  # IN
    const f32[::1] scores,  # IN
    const i32[::1] class_ids,  # IN
    f32 threshold,
    Py_ssize_t max_candidates,
    bint class_agnostic,
    Entry* entries,  # WORK, twice the number of candidates
    nms_kept* kept,  # WORK, zeros
    Py_ssize_t[::1] kept_indices,  # OUT, max_detections long
) except -1 nogil:
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t kept_count = 0
    cdef Py_ssize_t i, rank
    cdef i32 class_id
    cdef f32 x1, y1, x2, y2
    cdef Entry* ranked = entries
    for i in range(scores.shape[0]):
        if not isnan(scores[i]) and is_finite_box(boxes_xyxy, i):
            entries[count].key = nms_descending_key(scores[i])
            entries[count].index = <i32> i
            count += 1
    if count <= SMALL:
        insertion_sort(entries, count)
    else:
        ranked = radix_sort(entries, entries + scores.shape[0], count)
    for rank in range(min(count, max_candidates)):
        if kept_count == kept_indices.shape[0]:
            break
        i = ranked[rank].index
        class_id = 0 if class_agnostic else class_ids[i]
        x1 = boxes_xyxy[i, 0]
        y1 = boxes_xyxy[i, 1]
        x2 = boxes_xyxy[i, 2]
        y2 = boxes_xyxy[i, 3]
        if nms_overlaps(kept, kept_count, x1, y1, x2, y2, class_id, threshold):
            continue
        kept.x1[kept_count] = x1
        kept.y1[kept_count] = y1
        kept.x2[kept_count] = x2
        kept.y2[kept_count] = y2
        kept.area[kept_count] = nms_area(x1, y1, x2, y2)
        kept.class_id[kept_count] = class_id
        kept_indices[kept_count] = i
        kept_count += 1
    return kept_count


cdef void check_array(str name, object array, object dtype) except *:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array. Got {type(array).__name__}.")
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {np.dtype(dtype).name}. Got {array.dtype}.")
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(
            f"{name} must be C-contiguous and aligned (numpy.ascontiguousarray copies it so). "
            f"Got strides {array.strides} for shape {array.shape}."
        )


cdef Py_ssize_t checked_count(str name, object value) except -1:
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an int above 0. Got {value!r}.")
    return min(int(value), 2**31 - 1)


def nms(
    boxes_xyxy, scores, class_ids, double iou_threshold, *, max_detections=300, class_agnostic=False,
    max_candidates=30000
):
    check_array("boxes_xyxy", boxes_xyxy, np.float32)
    check_array("scores", scores, np.float32)
    check_array("class_ids", class_ids, np.int32)
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must have the shape (N, 4). Got {boxes_xyxy.shape}.")
    cdef Py_ssize_t count = boxes_xyxy.shape[0]
    if scores.shape != (count,):
        raise ValueError(f"scores must have the shape ({count},), one a box. Got {scores.shape}.")
    if class_ids.shape != (count,):
        raise ValueError(f"class_ids must have the shape ({count},), one a box. Got {class_ids.shape}.")
    if count > 2**31 - 1:
        raise ValueError(f"boxes_xyxy must have fewer than 2**31 rows. Got {count}.")
    if not 0.0 <= iou_threshold <= 1.0:
        raise ValueError(f"iou_threshold must be a number in [0, 1]. Got {iou_threshold}.")
    cdef Py_ssize_t most_kept = min(checked_count("max_detections", max_detections), count)
    cdef Py_ssize_t most_ranked = checked_count("max_candidates", max_candidates)
    if count == 0:
        return np.empty(0, dtype=np.intp)

    kept_indices = np.empty(most_kept, dtype=np.intp)
    cdef const f32[:, ::1] boxes_view = boxes_xyxy
    cdef const f32[::1] scores_view = scores
    cdef const i32[::1] class_ids_view = class_ids
    cdef Py_ssize_t[::1] kept_view = kept_indices
    cdef bint agnostic = class_agnostic
    cdef f32 threshold = <f32> iou_threshold
    cdef Py_ssize_t column = (most_kept + NMS_BLOCK - 1) // NMS_BLOCK * NMS_BLOCK
    cdef nms_kept kept
    cdef Py_ssize_t kept_count
    cdef Entry* entries = <Entry*> malloc(2 * count * sizeof(Entry))
    cdef f32* columns = <f32*> calloc(5 * column, sizeof(f32))
    kept.class_id = <i32*> calloc(column, sizeof(i32))
    try:
        if entries == NULL or columns == NULL or kept.class_id == NULL:
            raise MemoryError
        kept.x1 = columns
        kept.y1 = columns + column
        kept.x2 = columns + 2 * column
        kept.y2 = columns + 3 * column
        kept.area = columns + 4 * column
        with nogil:
            kept_count = suppress(
                boxes_view, scores_view, class_ids_view, threshold, most_ranked, agnostic, entries, &kept, kept_view
            )
        return kept_indices[:kept_count].copy()
    finally:
        free(entries)
        free(columns)
        free(kept.class_id)
