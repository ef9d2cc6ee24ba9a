"""What all trackers share (see tracker.pxd): validation, returned rows, and the state as bytes."""
import struct
import zlib

import numpy as np

cimport numpy as cnp
from libc.math cimport isfinite
from libc.stdlib cimport free
from libc.string cimport memcpy

from engine_ext.assignment cimport grow, workspace_free
from engine_ext.geometry cimport xyxy_to_uvsr
from engine_ext.typedefs cimport f64, i32, i64

cnp.import_array()

# The format of get_state, little-endian: a header, the tracker's repr with its parameters, the tracks, and a CRC-32 of
# all that. Increase the version if any of it, or a tracker's Track, changes.
STATE_MAGIC = b"YETRCK"
STATE_VERSION = 2
STATE_HEADER = struct.Struct("<6sHqqqdq")

MAX_DETS = 0x3fffffff // 5
cdef f64 MAX_SCORE = 1e6


cdef class Tracker:
    """Base class of the trackers of one stream. See tracker.pyi."""

    PARAMETERS = ()

    def __cinit__(self):
        if type(self) is Tracker:
            raise TypeError("Tracker is what trackers have in common; make one of those")

    def __dealloc__(self):
        free(self.track_memory)
        free(self.rows)
        free(self.matches)
        free(self.scratch)
        workspace_free(&self.work)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in self.PARAMETERS)})"

    def update(self, dets, class_ids=None, dt=1.0):
        """Take the detections of a frame and return its tracks. See tracker.pyi."""
        cdef:
            cnp.ndarray boxes
            cnp.ndarray classes
            const i64* class_of = NULL
            const f64* box_of
            Py_ssize_t n
            f64 step = as_step(dt)
            int status
        if is_plain(dets, cnp.NPY_DOUBLE, 2) and cnp.PyArray_DIM(dets, 1) == 5:
            boxes = dets
        else:
            boxes = as_dets(dets)
        n = cnp.PyArray_DIM(boxes, 0)
        if n > MAX_DETS:
            raise ValueError(f"dets must have at most {MAX_DETS} rows. Got {n}.")
        box_of = <const f64*>cnp.PyArray_DATA(boxes)
        if class_ids is not None:
            if is_plain(class_ids, cnp.NPY_INT64, 1):
                classes = class_ids
            else:
                classes = as_classes(class_ids)
            if cnp.PyArray_DIM(classes, 0) != n:
                raise ValueError(
                    f"class_ids must be an (N,) array of ints, one a detection. "
                    f"Got {cnp.PyArray_DIM(classes, 0)} for {n} detections."
                )
            if self.class_aware:
                class_of = <const i64*>cnp.PyArray_DATA(classes)
        self._enter()
        with nogil:
            status = self._reserve(n, self.track_count)
            if status == 0:
                self.frame_count += 1
                self.clock += step
                status = self._update(box_of, class_of, n, step)
        self.busy = False
        if status < 0:
            self.broken = True
            raise MemoryError("no memory for the tracker; reset() it or set_state()")
        return self._answer()

    def predict(self, dt=1.0, *, aging=False):
        """Move all tracks on to a frame without detections. See tracker.pyi."""
        cdef:
            f64 step = as_step(dt)
            bint older = as_bool("aging", aging)
        self._enter()
        with nogil:
            self.clock += step
            self._predict(step, older)
        self.busy = False
        return self._answer()

    @property
    def last_matches(self):
        """(M,) intp: for each row returned last, its detection in the last update. See tracker.pyi."""
        cdef cnp.npy_intp rows = self.row_count
        out = cnp.PyArray_SimpleNew(1, &rows, cnp.NPY_INTP)
        if rows:
            memcpy(cnp.PyArray_DATA(out), self.matches, rows * sizeof(cnp.npy_intp))
        return out

    @property
    def alive_ids(self):
        """(K,) int64: the ids of the tracks that may be reported again. See tracker.pyi."""
        cdef:
            Py_ssize_t t, count = 0
            i64 track_id
            cnp.npy_intp most
            cnp.ndarray found
            i64* ids
        self._enter()
        self.busy = False
        most = self.track_count
        found = cnp.PyArray_SimpleNew(1, &most, cnp.NPY_INT64)
        ids = <i64*>cnp.PyArray_DATA(found)
        for t in range(self.track_count):
            track_id = self._id_of(self.track_memory + t * self.track_bytes)
            if track_id > 0:
                ids[count] = track_id
                count += 1
        return found[:count]

    def reset(self):
        """Forget all tracks; ids start at 1 again. See tracker.pyi."""
        if self.busy:
            raise RuntimeError("the tracker is in use by another thread")
        self.frame_count = self.last_id = 0
        self.clock = 0.0
        self.track_count = self.row_count = 0
        self.broken = False

    def get_state(self):
        """Return the state of the tracker as bytes. See tracker.pyi."""
        cdef:
            Py_ssize_t size = self.track_count * self.track_bytes
            unsigned char[::1] words
        self._enter()
        self.busy = False
        name = repr(self).encode()
        tracks = np.empty(size, np.uint8)
        if size:
            words = tracks
            memcpy(&words[0], self.track_memory, size)
        header = STATE_HEADER.pack(
            STATE_MAGIC, STATE_VERSION, len(name), self.frame_count, self.last_id, self.clock, self.track_count
        )
        body = header + name + tracks.view(np.uint64).astype("<u8").tobytes()
        return body + struct.pack("<I", zlib.crc32(body))

    def set_state(self, state):
        """Continue from a state returned by get_state(). See tracker.pyi."""
        cdef:
            Py_ssize_t count, size
            const unsigned char[::1] words
        if not isinstance(state, bytes):
            raise TypeError(f"state must be bytes from get_state(). Got {type(state).__name__}.")
        if len(state) < STATE_HEADER.size + 4 or not state.startswith(STATE_MAGIC):
            raise ValueError(f"state must be bytes from get_state(). Got {len(state)} bytes of something else.")
        _, version, named, frames, last_id, clock, found = STATE_HEADER.unpack_from(state)
        if version != STATE_VERSION:
            raise ValueError(f"state must be of version {STATE_VERSION}. Got version {version}.")
        body, checksum = state[:len(state) - 4], state[len(state) - 4:]
        if struct.pack("<I", zlib.crc32(body)) != checksum:
            raise ValueError(f"state must be whole bytes from get_state(). Got {len(state)} damaged bytes.")
        at = STATE_HEADER.size + named
        theirs = body[STATE_HEADER.size:at].decode("utf-8", "replace")
        if theirs != repr(self):
            raise ValueError(f"state must be of a tracker with the same parameters, {self!r}. Got {theirs}.")
        if len(body) != at + found * self.track_bytes:
            raise ValueError(f"state must be whole bytes from get_state(). Got {len(state)} damaged bytes.")
        if self.busy:
            raise RuntimeError("the tracker is in use by another thread")
        count = found
        size = count * self.track_bytes
        if self._reserve(0, count) < 0:
            raise MemoryError
        if size:
            words = np.frombuffer(body[at:], "<u8").astype(np.uint64).view(np.uint8)
            memcpy(self.track_memory, &words[0], size)
        self.frame_count, self.last_id, self.clock, self.track_count = frames, last_id, clock, count
        self._write_rows()
        self.broken = False

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled; use get_state() and set_state()")

    # --- guard and returned rows, with the GIL

    cdef int _enter(self) except -1:
        # The work runs without the GIL, so that a second thread could free what the first one reads.
        if self.busy:
            raise RuntimeError("the tracker is in use by another thread")
        if self.broken:
            raise RuntimeError("the tracker ran out of memory in the middle of a frame; reset() it or set_state()")
        self.busy = True
        return 0

    cdef object _answer(self):
        cdef cnp.npy_intp[2] shape
        shape[0], shape[1] = self.row_count, 5
        out = cnp.PyArray_SimpleNew(2, shape, cnp.NPY_DOUBLE)
        if self.row_count:
            memcpy(cnp.PyArray_DATA(out), self.rows, self.row_count * 5 * sizeof(f64))
        return out

    # --- the work, without the GIL

    cdef int _reserve_tracks(self, size_t count) noexcept nogil:
        if (
            grow(<void**>&self.track_memory, &self.track_memory_size, count * self.track_bytes) < 0
            or grow(<void**>&self.rows, &self.rows_size, count * 5 * sizeof(f64)) < 0
            or grow(<void**>&self.matches, &self.matches_size, count * sizeof(cnp.npy_intp)) < 0
        ):
            return -1
        return 0

    cdef int _reserve(self, size_t dets, size_t tracks) noexcept nogil:
        return -1

    cdef int _update(self, const f64* dets, const i64* class_of, Py_ssize_t n, f64 dt) noexcept nogil:
        return -1

    cdef void _predict(self, f64 dt, bint aging) noexcept nogil:
        pass

    cdef void _write_rows(self) noexcept nogil:
        pass

    cdef i64 _id_of(self, const void* track) noexcept nogil:
        return 0

    cdef void _keep_finite(self, f64* boxes) noexcept nogil:
        cdef:
            Py_ssize_t t, kept = 0
            const f64* box
        for t in range(self.track_count):
            box = boxes + 4 * t
            # One test instead of four. The sum may overflow for finite coordinates, too, but such boxes are useless.
            if isfinite(box[0] + box[1] + box[2] + box[3]):
                if kept < t:
                    memcpy(
                        self.track_memory + kept * self.track_bytes, self.track_memory + t * self.track_bytes,
                        self.track_bytes,
                    )
                    memcpy(boxes + 4 * kept, box, 4 * sizeof(f64))
                kept += 1
        self.track_count = kept


cdef void take_detections(
    Detections* into, char** scratch, const f64* dets, const i64* class_of, Py_ssize_t n
) noexcept nogil:
    # Copies the detections that are valid boxes with a score so small that sums stay finite.
    cdef:
        Py_ssize_t i, count = 0
        f64[4] uvsr
    into.boxes = <f64*>carve(scratch, n, 4 * sizeof(f64))
    into.scores = <f64*>carve(scratch, n, sizeof(f64))
    into.class_ids = <i64*>carve(scratch, n, sizeof(i64))
    into.index = <i32*>carve(scratch, n, sizeof(i32))
    into.track = <i32*>carve(scratch, n, sizeof(i32))
    for i in range(n):
        if -MAX_SCORE <= dets[5 * i + 4] <= MAX_SCORE and xyxy_to_uvsr(dets + 5 * i, uvsr):
            memcpy(into.boxes + 4 * count, dets + 5 * i, 4 * sizeof(f64))
            into.scores[count] = dets[5 * i + 4]
            into.class_ids[count] = class_of[i] if class_of != NULL else 0
            into.index[count] = <i32>i
            into.track[count] = -1
            count += 1
    into.count = count


cdef void carve_part(Part* part, char** scratch, size_t dets, size_t tracks) noexcept nogil:
    part.det = <i32*>carve(scratch, dets, sizeof(i32))
    part.track = <i32*>carve(scratch, tracks, sizeof(i32))
    part.det_boxes = <f64*>carve(scratch, dets, 4 * sizeof(f64))
    part.track_boxes = <f64*>carve(scratch, tracks, 4 * sizeof(f64))
    part.det_class = <i64*>carve(scratch, dets, sizeof(i64))
    part.track_class = <i64*>carve(scratch, tracks, sizeof(i64))


cdef void grade(const Detections* dets, f64 low, f64 high, unsigned char* level) noexcept nogil:
    # HIGH above `high`, LOW between the two. A score equal to a threshold is in neither set, as in the reference.
    cdef Py_ssize_t i
    for i in range(dets.count):
        if dets.scores[i] > high:
            level[i] = HIGH
        else:
            level[i] = LOW if low < dets.scores[i] < high else UNUSED


# --- validation

cdef inline bint is_plain(object value, int kind, int dimensions):
    # Returns whether a value is an array that can be read without a conversion.
    return (
        cnp.PyArray_CheckExact(value)
        and cnp.PyArray_TYPE(value) == kind
        and cnp.PyArray_NDIM(value) == dimensions
        and cnp.PyArray_ISCARRAY_RO(value)
    )


cdef inline f64 as_step(value) except? -1:
    cdef f64 step
    if type(value) is float:
        step = value
        if 0.0 < step <= 1e9:
            return step
    if isinstance(value, bool) or not isinstance(value, (float, int, np.floating, np.integer)):
        raise TypeError(f"dt must be a number of steps in (0, 1e9]. Got {value!r}.")
    if not 0 < value <= 1e9:
        raise ValueError(f"dt must be a number of steps in (0, 1e9]. Got {value!r}.")
    step = value
    return step


cdef object as_dets(value):
    rule = "dets must be an (N, 5) array of x1 y1 x2 y2 score."
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{rule} Got rows of unequal length.") from error
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{rule} Got dtype {array.dtype}.")
    if array.shape == (0,) or array.shape == (0, 4):
        return np.empty((0, 5), np.float64)
    if array.ndim != 2 or array.shape[1] != 5:
        raise ValueError(f"{rule} Got shape {array.shape}.")
    return np.ascontiguousarray(array, np.float64)


cdef object as_classes(value):
    rule = "class_ids must be an (N,) array of ints, one a detection."
    array = np.asarray(value)
    if array.shape == (0,):
        return np.empty(0, np.int64)
    if array.ndim != 1:
        raise ValueError(f"{rule} Got shape {array.shape}.")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{rule} Got dtype {array.dtype}.")
    return np.ascontiguousarray(array, np.int64)


cdef i64 as_count(str name, value, i64 least=0, i64 most=0x3fffffffffffffff) except? -1:
    rule = f"{name} must be an int >= {least}" if most == 0x3fffffffffffffff else (
        f"{name} must be an int from {least} to {most}"
    )
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{rule}. Got {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"{rule}. Got {value!r}.")
    return value


cdef f64 as_number(str name, value, f64 least, f64 most) except? -1:
    rule = f"{name} must be a number in [{least:g}, {most:g}]"
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{rule}. Got {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"{rule}. Got {value!r}.")
    return value


cdef bint as_bool(str name, value) except -1:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool. Got {value!r}.")
    return value
