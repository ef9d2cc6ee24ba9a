"""Decodes raw detection outputs to boxes, scores and classes. The interface is described in decode_heads.pyi.

Each layout has one scan over the anchors that tests the confidence first, then class, mask and box, so that an anchor
below the threshold costs one comparison. Candidates go to a growing C list, and in the end to arrays of the right size.
"""

import numpy as np

from libc.math cimport INFINITY, expf, floorf, isfinite
from libc.stdlib cimport free, realloc

from engine_ext.typedefs cimport f32, f64, i32, u8, u16

cdef extern from "decode_heads.h" nogil:
    bint heads_all_finite_f32(const f32* numbers, Py_ssize_t count) noexcept
    bint heads_all_finite_f16(const u16* numbers, Py_ssize_t count) noexcept
    f32 heads_half_to_float(u16 half) noexcept
    f32 heads_row_max_f32(const f32* row, Py_ssize_t count) noexcept
    void heads_column_max_f32(f32* best, const f32* rows, Py_ssize_t row_stride, Py_ssize_t row_count,
                              Py_ssize_t count) noexcept
    void heads_column_max_f16(f32* best, const u16* rows, Py_ssize_t row_stride, Py_ssize_t row_count,
                              Py_ssize_t count) noexcept

# A number of the output in memory: a float32, or the bits of a float16.
ctypedef fused sample_t:
    f32
    u16

cdef struct Candidate:
    f32 x1
    f32 y1
    f32 x2
    f32 y2
    f32 score
    i32 class_id

cdef struct CandidateList:
    Candidate* rows
    Py_ssize_t count
    Py_ssize_t capacity

# The result of a scan. BAD_CLASS: (end2end) a class is not a valid number.
cdef enum Status:
    DONE = 0
    OUT_OF_MEMORY = 1
    BAD_CLASS = 2

cdef enum:
    FIRST_CAPACITY = 256
    # Anchors in a block of decode_yolov8, whose running maxima (4 KiB) stay in the L1 cache.
    BLOCK = 1024


cdef inline f32 load(sample_t sample) noexcept nogil:
    if sample_t is u16:
        return heads_half_to_float(sample)
    else:
        return sample


cdef inline bint is_wanted(const u8[::1] class_mask, i32 class_id) except -1 nogil:
    """Return whether a class is wanted: by an empty mask, every one is."""
    return class_mask.shape[0] == 0 or class_mask[class_id] != 0


cdef int add_xyxy(
    CandidateList* found, f32 x1, f32 y1, f32 x2, f32 y2, f32 score, i32 class_id
) noexcept nogil:
    """Append a candidate if its box is finite."""
    cdef Py_ssize_t capacity
    cdef Candidate* rows
    if not (isfinite(x1) and isfinite(y1) and isfinite(x2) and isfinite(y2)):
        return DONE
    if found.count == found.capacity:
        capacity = 2 * found.capacity if found.capacity else FIRST_CAPACITY
        rows = <Candidate*> realloc(found.rows, capacity * sizeof(Candidate))
        if rows == NULL:
            return OUT_OF_MEMORY
        found.rows = rows
        found.capacity = capacity
    found.rows[found.count] = Candidate(x1, y1, x2, y2, score, class_id)
    found.count += 1
    return DONE


cdef int add_cxcywh(
    CandidateList* found, f32 cx, f32 cy, f32 w, f32 h, f32 score, i32 class_id
) noexcept nogil:
    cdef f32 half_w = <f32> 0.5 * w
    cdef f32 half_h = <f32> 0.5 * h
    return add_xyxy(found, cx - half_w, cy - half_h, cx + half_w, cy + half_h, score, class_id)


cdef int best_of_row(const sample_t[:, ::1] output, Py_ssize_t row, f32* score, i32* class_id) except -1 nogil:
    """Multiply a row's objectness (column 4) by its best class score (from column 5 on); of equals, the first."""
    cdef Py_ssize_t column
    cdef f32 value
    cdef f32 best = -INFINITY
    cdef i32 best_id = 0
    if sample_t is f32:
        best = heads_row_max_f32(&output[row, 5], output.shape[1] - 5)
        if best > -INFINITY:
            while output[row, 5 + best_id] != best:
                best_id += 1
            best = output[row, 5 + best_id]  # of 0.0 and -0.0, the first
    else:
        for column in range(5, output.shape[1]):
            value = load(output[row, column])
            if value > best:
                best = value
                best_id = <i32> (column - 5)
    score[0] = load(output[row, 4]) * best
    class_id[0] = best_id
    return 0


cdef int scan_yolox(
    const sample_t[:, ::1] output, Py_ssize_t height, Py_ssize_t width, const i32[::1] strides, f32 conf,
    const u8[::1] class_mask, CandidateList* found
) except -1 nogil:
    cdef Py_ssize_t anchor = 0
    cdef Py_ssize_t level, grid_x, grid_y
    cdef f32 stride, score, cx, cy, w, h
    cdef i32 class_id
    cdef int status
    for level in range(strides.shape[0]):
        stride = <f32> strides[level]
        for grid_y in range(height // strides[level]):
            for grid_x in range(width // strides[level]):
                if load(output[anchor, 4]) >= conf:
                    best_of_row(output, anchor, &score, &class_id)
                    if score >= conf and score < INFINITY and is_wanted(class_mask, class_id):
                        cx = (load(output[anchor, 0]) + <f32> grid_x) * stride
                        cy = (load(output[anchor, 1]) + <f32> grid_y) * stride
                        w = expf(load(output[anchor, 2])) * stride
                        h = expf(load(output[anchor, 3])) * stride
                        status = add_cxcywh(found, cx, cy, w, h, score, class_id)
                        if status != DONE:
                            return status
                anchor += 1
    return DONE


cdef int scan_yolov5(
    const sample_t[:, ::1] output, f32 conf, const u8[::1] class_mask, CandidateList* found
) except -1 nogil:
    cdef Py_ssize_t anchor
    cdef f32 score
    cdef i32 class_id
    cdef int status
    for anchor in range(output.shape[0]):
        if not load(output[anchor, 4]) >= conf:
            continue
        best_of_row(output, anchor, &score, &class_id)
        if not (score >= conf and score < INFINITY and is_wanted(class_mask, class_id)):
            continue
        status = add_cxcywh(
            found, load(output[anchor, 0]), load(output[anchor, 1]), load(output[anchor, 2]), load(output[anchor, 3]),
            score, class_id
        )
        if status != DONE:
            return status
    return DONE


cdef int scan_yolov8(
    const sample_t[:, ::1] output, f32 conf, const u8[::1] class_mask, CandidateList* found
) except -1 nogil:
    """Here rows are features: take the maximum of whole rows, then look up the class of the few anchors that pass."""
    cdef f32[BLOCK] best
    cdef Py_ssize_t block, first, count, i, anchor, row
    cdef int status
    for block in range((output.shape[1] + BLOCK - 1) // BLOCK):
        first = block * BLOCK
        count = min(<Py_ssize_t> BLOCK, output.shape[1] - first)
        if sample_t is u16:
            heads_column_max_f16(best, &output[4, first], output.shape[1], output.shape[0] - 4, count)
        else:
            heads_column_max_f32(best, &output[4, first], output.shape[1], output.shape[0] - 4, count)
        for i in range(count):
            if not (best[i] >= conf and best[i] < INFINITY):
                continue
            anchor = first + i
            row = 4
            while load(output[row, anchor]) != best[i]:
                row += 1
            if not is_wanted(class_mask, <i32> (row - 4)):
                continue
            status = add_cxcywh(
                found, load(output[0, anchor]), load(output[1, anchor]), load(output[2, anchor]),
                load(output[3, anchor]), best[i], <i32> (row - 4)
            )
            if status != DONE:
                return status
    return DONE


cdef int scan_end2end(
    const sample_t[:, ::1] output, f32 conf, const u8[::1] class_mask, f32 class_limit, CandidateList* found,
    Py_ssize_t* bad_row
) except -1 nogil:
    cdef Py_ssize_t row
    cdef f32 score, class_number
    cdef int status
    for row in range(output.shape[0]):
        score = load(output[row, 4])
        if not (score >= conf and score < INFINITY):
            continue
        class_number = load(output[row, 5])
        # A negative class marks an empty row of a fixed-size output; one that is not finite is dropped like such a box.
        if not (class_number >= 0 and class_number < INFINITY):
            continue
        if class_number != floorf(class_number) or class_number >= class_limit:
            bad_row[0] = row
            return BAD_CLASS
        if not is_wanted(class_mask, <i32> class_number):
            continue
        status = add_xyxy(
            found, load(output[row, 0]), load(output[row, 1]), load(output[row, 2]), load(output[row, 3]),
            score, <i32> class_number
        )
        if status != DONE:
            return status
    return DONE


cdef object checked_output(object output, str shape):
    """Reject an output that the scans can't read. Return float16 as bits, because Cython has no type for it."""
    if not isinstance(output, np.ndarray):
        raise TypeError(f"output must be a NumPy array. Got {type(output).__name__}.")
    if output.dtype != np.float32 and output.dtype != np.float16:
        raise TypeError(f"output must be float32 or float16. Got {output.dtype}.")
    if output.ndim != 2:
        raise ValueError(f"output must be one image's output of shape {shape}. Got shape {output.shape}.")
    if not (output.flags.c_contiguous and output.flags.aligned):
        raise ValueError(
            f"output must be C-contiguous and aligned (numpy.ascontiguousarray copies it so). "
            f"Got strides {output.strides} for shape {output.shape}."
        )
    return output.view(np.uint16) if output.dtype == np.float16 else output


cdef f32 checked_conf(f64 conf) except? -1:
    if not 0.0 <= conf <= 1.0:
        raise ValueError(f"conf must be a number in [0, 1]. Got {conf}.")
    return <f32> conf


cdef object checked_mask(object class_mask, Py_ssize_t classes):
    """Return the mask as uint8, of length 0 if none is given. classes < 0: any positive number of classes."""
    if class_mask is None:
        return np.empty(0, dtype=np.uint8)
    if not isinstance(class_mask, np.ndarray) or class_mask.dtype not in (np.dtype(np.bool_), np.dtype(np.uint8)):
        found = class_mask.dtype if isinstance(class_mask, np.ndarray) else type(class_mask).__name__
        raise TypeError(f"class_mask must be None or a bool or uint8 array. Got {found}.")
    if class_mask.ndim != 1 or class_mask.shape[0] == 0 or (classes >= 0 and class_mask.shape[0] != classes):
        wanted = f"({classes},)" if classes >= 0 else "(C,) with C >= 1"
        raise ValueError(f"class_mask must have the shape {wanted}, one entry a class. Got shape {class_mask.shape}.")
    return np.ascontiguousarray(class_mask).view(np.uint8)


cdef object checked_pair(object input_hw):
    pair = tuple(input_hw)
    if len(pair) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in pair):
        raise ValueError(f"input_hw must be two ints above 0, (height, width). Got {input_hw!r}.")
    return int(pair[0]), int(pair[1])


cdef object checked_strides(object strides, object input_hw, Py_ssize_t anchors):
    steps = tuple(strides)
    if not steps or not all(isinstance(step, (int, np.integer)) and 0 < step < 2**31 for step in steps):
        raise ValueError(f"strides must be one or more ints above 0. Got {strides!r}.")
    height, width = input_hw
    for step in steps:
        if height % step or width % step:
            raise ValueError(f"input_hw must be multiples of each stride in {steps}. Got {input_hw}.")
    expected = sum((height // step) * (width // step) for step in steps)
    if anchors != expected:
        raise ValueError(
            f"output must have {expected} rows, one a grid cell of an input of {height} x {width} with the strides "
            f"{steps}. Got {anchors}."
        )
    return np.array(steps, dtype=np.int32)


cdef object as_arrays(const CandidateList* found):
    boxes = np.empty((found.count, 4), dtype=np.float32)
    scores = np.empty(found.count, dtype=np.float32)
    class_ids = np.empty(found.count, dtype=np.int32)
    cdef f32[:, ::1] boxes_view = boxes
    cdef f32[::1] scores_view = scores
    cdef i32[::1] class_ids_view = class_ids
    cdef Py_ssize_t k
    for k in range(found.count):
        boxes_view[k, 0] = found.rows[k].x1
        boxes_view[k, 1] = found.rows[k].y1
        boxes_view[k, 2] = found.rows[k].x2
        boxes_view[k, 3] = found.rows[k].y2
        scores_view[k] = found.rows[k].score
        class_ids_view[k] = found.rows[k].class_id
    return boxes, scores, class_ids


def all_finite(output):
    """Return whether all values are finite. See decode_heads.pyi."""
    cdef const f32[::1] wide
    cdef const u16[::1] narrow
    cdef bint finite = True
    if not isinstance(output, np.ndarray):
        raise TypeError(f"output must be a NumPy array. Got {type(output).__name__}.")
    if not output.flags.c_contiguous:
        raise ValueError("output must be C-contiguous. Got an array that is not.")
    if output.size == 0:
        return True
    if output.dtype == np.float32:
        wide = output.reshape(-1)
        with nogil:
            finite = heads_all_finite_f32(&wide[0], wide.shape[0])
    elif output.dtype == np.float16:
        narrow = output.reshape(-1).view(np.uint16)
        with nogil:
            finite = heads_all_finite_f16(&narrow[0], narrow.shape[0])
    else:
        raise TypeError(f"output must be float32 or float16. Got {output.dtype}.")
    return finite


def decode_yolox(output, input_hw, double conf, *, strides=(8, 16, 32), class_mask=None):
    cdef f32 threshold = checked_conf(conf)
    samples = checked_output(output, "(A, 5 + C)")
    if samples.shape[1] < 6:
        raise ValueError(f"output must have 5 + C columns with C >= 1. Got shape {samples.shape}.")
    cdef Py_ssize_t height, width
    height, width = checked_pair(input_hw)
    cdef const i32[::1] steps = checked_strides(strides, (height, width), samples.shape[0])
    cdef const u8[::1] mask = checked_mask(class_mask, samples.shape[1] - 5)
    cdef const f32[:, ::1] singles
    cdef const u16[:, ::1] halves
    cdef CandidateList found = CandidateList(NULL, 0, 0)
    cdef int status
    try:
        if samples.dtype == np.float32:
            singles = samples
            with nogil:
                status = scan_yolox(singles, height, width, steps, threshold, mask, &found)
        else:
            halves = samples
            with nogil:
                status = scan_yolox(halves, height, width, steps, threshold, mask, &found)
        if status == OUT_OF_MEMORY:
            raise MemoryError
        return as_arrays(&found)
    finally:
        free(found.rows)


def decode_yolov5(output, double conf, *, class_mask=None):
    cdef f32 threshold = checked_conf(conf)
    samples = checked_output(output, "(A, 5 + C)")
    if samples.shape[1] < 6:
        raise ValueError(f"output must have 5 + C columns with C >= 1. Got shape {samples.shape}.")
    cdef const u8[::1] mask = checked_mask(class_mask, samples.shape[1] - 5)
    cdef const f32[:, ::1] singles
    cdef const u16[:, ::1] halves
    cdef CandidateList found = CandidateList(NULL, 0, 0)
    cdef int status
    try:
        if samples.dtype == np.float32:
            singles = samples
            with nogil:
                status = scan_yolov5(singles, threshold, mask, &found)
        else:
            halves = samples
            with nogil:
                status = scan_yolov5(halves, threshold, mask, &found)
        if status == OUT_OF_MEMORY:
            raise MemoryError
        return as_arrays(&found)
    finally:
        free(found.rows)


def decode_yolov8(output, double conf, *, class_mask=None):
    cdef f32 threshold = checked_conf(conf)
    samples = checked_output(output, "(4 + C, A)")
    if samples.shape[0] < 5:
        raise ValueError(f"output must have 4 + C rows with C >= 1. Got shape {samples.shape}.")
    cdef const u8[::1] mask = checked_mask(class_mask, samples.shape[0] - 4)
    cdef const f32[:, ::1] singles
    cdef const u16[:, ::1] halves
    cdef CandidateList found = CandidateList(NULL, 0, 0)
    cdef int status
    try:
        if samples.dtype == np.float32:
            singles = samples
            with nogil:
                status = scan_yolov8(singles, threshold, mask, &found)
        else:
            halves = samples
            with nogil:
                status = scan_yolov8(halves, threshold, mask, &found)
        if status == OUT_OF_MEMORY:
            raise MemoryError
        return as_arrays(&found)
    finally:
        free(found.rows)


def decode_end2end(output, double conf, *, class_mask=None):
    cdef f32 threshold = checked_conf(conf)
    samples = checked_output(output, "(N, 6)")
    if samples.shape[1] != 6:
        raise ValueError(f"output must have 6 columns: x1 y1 x2 y2 score class. Got shape {samples.shape}.")
    cdef const u8[::1] mask = checked_mask(class_mask, -1)
    # Without a mask the number of classes is unknown: any integer that fits both float32 and int32 is accepted.
    cdef f32 class_limit = <f32> mask.shape[0] if mask.shape[0] else <f32> 2.0 ** 24
    cdef const f32[:, ::1] singles
    cdef const u16[:, ::1] halves
    cdef CandidateList found = CandidateList(NULL, 0, 0)
    cdef Py_ssize_t bad_row = 0
    cdef int status
    try:
        if samples.dtype == np.float32:
            singles = samples
            with nogil:
                status = scan_end2end(singles, threshold, mask, class_limit, &found, &bad_row)
        else:
            halves = samples
            with nogil:
                status = scan_end2end(halves, threshold, mask, class_limit, &found, &bad_row)
        if status == OUT_OF_MEMORY:
            raise MemoryError
        if status == BAD_CLASS:
            raise ValueError(
                f"output[{bad_row}, 5] must be a class, a whole number below {int(class_limit)}. "
                f"Got {float(output[bad_row, 5])}."
            )
        return as_arrays(&found)
    finally:
        free(found.rows)
