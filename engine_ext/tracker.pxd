# What all trackers share: the Python interface (see tracker.pyi), the list of tracks, the returned rows, and the state
# as bytes. A tracker derives from it and processes a frame in the methods below, without the GIL.
#
# A track is a block of track_bytes, a multiple of 8, that holds only doubles and 64-bit integers: a checkpoint stores
# these blocks unchanged.
cimport numpy as cnp
from libc.string cimport memcpy

from engine_ext.assignment cimport Workspace
from engine_ext.typedefs cimport f64, i32, i64


cdef class Tracker:
    cdef readonly bint class_aware
    cdef i64 frame_count          # updates
    cdef i64 last_id
    cdef f64 clock                # all steps of update and predict so far
    cdef Py_ssize_t track_bytes
    cdef Py_ssize_t track_count
    cdef Py_ssize_t row_count
    cdef bint busy
    cdef bint broken
    # Buffers grow when needed and are kept between frames.
    cdef char* track_memory
    cdef f64* rows                # returned: x1 y1 x2 y2 id
    cdef cnp.npy_intp* matches    # the detection of each returned row
    cdef char* scratch            # the arrays of one frame
    cdef size_t track_memory_size, rows_size, matches_size, scratch_size
    cdef Workspace work

    cdef int _enter(self) except -1
    cdef object _answer(self)
    cdef int _reserve_tracks(self, size_t count) noexcept nogil
    # Reserves all buffers for a frame and a following predict(), before the tracker changes.
    cdef int _reserve(self, size_t dets, size_t tracks) noexcept nogil
    cdef int _update(self, const f64* dets, const i64* class_of, Py_ssize_t n, f64 dt) noexcept nogil
    cdef void _predict(self, f64 dt, bint aging) noexcept nogil
    cdef void _write_rows(self) noexcept nogil
    # The id of a track, 0 if it has none yet.
    cdef i64 _id_of(self, const void* track) noexcept nogil
    # Removes the tracks whose box, by `boxes`, is not finite, and their boxes.
    cdef void _keep_finite(self, f64* boxes) noexcept nogil


ctypedef struct Detections:
    # The usable detections of a frame.
    Py_ssize_t count
    f64* boxes
    f64* scores
    i64* class_ids
    i32* index                    # index in the caller's array
    i32* track                    # the track that took it, or -1


ctypedef struct Part:
    # The detections and tracks of one association: their indices, boxes and classes.
    i32* det
    i32* track
    f64* det_boxes
    f64* track_boxes
    i64* det_class
    i64* track_class


cdef enum:
    DETECTION_BYTES = 7 * 8       # scratch bytes per detection
    PART_BYTES = 7 * 8            # scratch bytes per detection or track of a part
    # The association stages that a detection takes part in, by its score.
    UNUSED = 0
    HIGH
    LOW

cdef void take_detections(
    Detections* into, char** scratch, const f64* dets, const i64* class_of, Py_ssize_t n
) noexcept nogil

cdef inline void take_det(Part* part, const Detections* dets, Py_ssize_t i, Py_ssize_t at) noexcept nogil:
    part.det[at] = <i32>i
    part.det_class[at] = dets.class_ids[i]
    memcpy(part.det_boxes + 4 * at, dets.boxes + 4 * i, 4 * sizeof(f64))


cdef inline void take_track(Part* part, Py_ssize_t t, i64 class_id, const f64* box, Py_ssize_t at) noexcept nogil:
    part.track[at] = <i32>t
    part.track_class[at] = class_id
    memcpy(part.track_boxes + 4 * at, box, 4 * sizeof(f64))


cdef void carve_part(Part* part, char** scratch, size_t dets, size_t tracks) noexcept nogil
cdef void grade(const Detections* dets, f64 low, f64 high, unsigned char* level) noexcept nogil

cdef i64 as_count(str name, value, i64 least=*, i64 most=*) except? -1
cdef f64 as_number(str name, value, f64 least, f64 most) except? -1
cdef bint as_bool(str name, value) except -1


cdef inline void* carve(char** scratch, size_t count, size_t size) noexcept nogil:
    # Returns the next array of the scratch memory, which must be large enough.
    cdef char* at = scratch[0]
    scratch[0] = at + (count * size + 7) // 8 * 8
    return at
