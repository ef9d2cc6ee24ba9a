"""SORT (Bewley et al. 2016): boxes of each frame in, boxes with track ids out."""
import struct
import zlib

import numpy as np

cimport cython
cimport numpy as cnp
from libc.math cimport isfinite
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from engine_ext.assignment cimport BELOW_THRESHOLD, NEVER_ASSIGNED, Workspace, associate, grow, workspace_free
from engine_ext.geometry cimport xyxy_to_uvsr
from engine_ext.kalman cimport BoxFilter, filter_box, filter_predict, filter_start, filter_update
from engine_ext.typedefs cimport f64, i32, i64

cnp.import_array()

# What get_state writes, little endian: the header, then each track's floats (BoxFilter in its order) and integers, then
# a CRC-32 of all that. Raise the version when any of it changes.
STATE_MAGIC = b"YESORT"
STATE_VERSION = 1
STATE_HEADER = struct.Struct("<6sHqqdBqqq")
TRACK_FLOATS = sizeof(BoxFilter) // sizeof(f64)
TRACK_INTS = 5


ctypedef struct Track:
    BoxFilter filter
    i64 id
    i64 class_id
    i64 streak             # updates in a row that found a detection
    i64 missed             # updates since the last that did
    i64 det                # index of the detection of the last update if the track was reported then, else -1


@cython.final
cdef class SortTracker:
    """Tracks the boxes of one stream. See sort.pyi."""

    cdef readonly i64 max_age
    cdef readonly i64 min_hits
    cdef readonly f64 iou_threshold
    cdef readonly bint class_aware
    cdef i64 frame_count
    cdef i64 last_id
    cdef Py_ssize_t track_count
    cdef Py_ssize_t row_count
    cdef bint busy
    cdef bint broken
    # Grown when needed, kept between frames.
    cdef Track* tracks
    cdef f64* rows              # of the answer: x1 y1 x2 y2 id
    cdef cnp.npy_intp* matches  # of the answer's rows
    cdef f64* det_boxes         # of the usable detections
    cdef f64* det_uvsr
    cdef f64* track_boxes
    cdef i64* det_class
    cdef i32* det_index         # where each usable detection stands in the caller's array
    cdef i32* det_track
    cdef f64* part_boxes        # detections and tracks of one class, and where they came from
    cdef i32* part_index
    cdef i32* part_track
    cdef size_t tracks_size, rows_size, matches_size, det_boxes_size, det_uvsr_size, track_boxes_size, det_class_size
    cdef size_t det_index_size, det_track_size, part_boxes_size, part_index_size, part_track_size
    cdef Workspace work

    def __cinit__(self, max_age=1, min_hits=3, iou_threshold=0.3, *, class_aware=True):
        self.max_age = _count("max_age", max_age)
        self.min_hits = _count("min_hits", min_hits)
        if isinstance(iou_threshold, bool) or not isinstance(iou_threshold, (int, float, np.floating, np.integer)):
            raise TypeError(f"iou_threshold must be a number in [0, 1]. Got {iou_threshold!r}.")
        if not 0 <= iou_threshold <= 1:
            raise ValueError(f"iou_threshold must be a number in [0, 1]. Got {iou_threshold!r}.")
        self.iou_threshold = iou_threshold
        if not isinstance(class_aware, bool):
            raise TypeError(f"class_aware must be a bool. Got {class_aware!r}.")
        self.class_aware = class_aware

    def __dealloc__(self):
        free(self.tracks)
        free(self.rows)
        free(self.matches)
        free(self.det_boxes)
        free(self.det_uvsr)
        free(self.track_boxes)
        free(self.det_class)
        free(self.det_index)
        free(self.det_track)
        free(self.part_boxes)
        free(self.part_index)
        free(self.part_track)
        workspace_free(&self.work)

    def __repr__(self):
        return (
            f"SortTracker(max_age={self.max_age}, min_hits={self.min_hits}, iou_threshold={self.iou_threshold}, "
            f"class_aware={bool(self.class_aware)})"
        )

    def update(self, dets, class_ids=None):
        """One frame's detections in, the tracks reported for it out. See sort.pyi."""
        cdef:
            cnp.ndarray boxes
            cnp.ndarray classes
            const i64* class_of = NULL
            const f64* box_of
            Py_ssize_t n
            int status
        if _is_plain(dets, cnp.NPY_DOUBLE, 2) and cnp.PyArray_DIM(dets, 1) == 5:
            boxes = dets
        else:
            boxes = _as_dets(dets)
        n = cnp.PyArray_DIM(boxes, 0)
        if n > 0x3fffffff // 5:
            raise ValueError(f"dets must have fewer than {0x3fffffff // 5} rows. Got {n}.")
        box_of = <const f64*>cnp.PyArray_DATA(boxes)
        if class_ids is not None:
            if _is_plain(class_ids, cnp.NPY_INT64, 1):
                classes = class_ids
            else:
                classes = _as_classes(class_ids)
            if cnp.PyArray_DIM(classes, 0) != n:
                raise ValueError(
                    f"class_ids must be an (N,) array of ints, one a detection. "
                    f"Got {cnp.PyArray_DIM(classes, 0)} for {n} detections."
                )
            if self.class_aware:
                class_of = <const i64*>cnp.PyArray_DATA(classes)
        self._enter()
        with nogil:
            status = self._update(box_of, class_of, n)
        self.busy = False
        if status < 0:
            self.broken = True
            raise MemoryError("no memory for the tracker; reset() it or set_state()")
        return self._answer()

    def predict(self):
        """A frame without detections of its own: every track moves on. See sort.pyi."""
        self._enter()
        with nogil:
            self._predict()
        self.busy = False
        return self._answer()

    @property
    def last_matches(self):
        """(M,) intp: for each row last returned, the detection it took in the last update. See sort.pyi."""
        cdef cnp.npy_intp rows = self.row_count
        out = cnp.PyArray_SimpleNew(1, &rows, cnp.NPY_INTP)
        if rows:
            memcpy(cnp.PyArray_DATA(out), self.matches, rows * sizeof(cnp.npy_intp))
        return out

    def reset(self):
        """Forgets all tracks; ids count from 1 again. See sort.pyi."""
        if self.busy:
            raise RuntimeError("the tracker is in use by another thread")
        self.frame_count = self.last_id = 0
        self.track_count = self.row_count = 0
        self.broken = False

    def get_state(self):
        """The tracker as bytes. See sort.pyi."""
        cdef:
            Py_ssize_t t
            f64[:, ::1] floats
            i64[:, ::1] ints
            Track* track
        self._enter()
        self.busy = False
        all_floats = np.empty((self.track_count, TRACK_FLOATS), np.float64)
        all_ints = np.empty((self.track_count, TRACK_INTS), np.int64)
        floats, ints = all_floats, all_ints
        for t in range(self.track_count):
            track = self.tracks + t
            memcpy(&floats[t, 0], &track.filter, sizeof(BoxFilter))
            ints[t, 0], ints[t, 1], ints[t, 2] = track.id, track.class_id, track.streak
            ints[t, 3], ints[t, 4] = track.missed, track.det
        header = STATE_HEADER.pack(
            STATE_MAGIC, STATE_VERSION, self.max_age, self.min_hits, self.iou_threshold, self.class_aware,
            self.frame_count, self.last_id, self.track_count,
        )
        body = header + all_floats.astype("<f8").tobytes() + all_ints.astype("<i8").tobytes()
        return body + struct.pack("<I", zlib.crc32(body))

    def set_state(self, state):
        """Goes on where the tracker that gave these bytes stood. See sort.pyi."""
        cdef:
            Py_ssize_t t, count
            const f64[:, ::1] floats
            const i64[:, ::1] ints
            Track* track
        if not isinstance(state, bytes):
            raise TypeError(f"state must be bytes from get_state(). Got {type(state).__name__}.")
        if len(state) < STATE_HEADER.size + 4 or not state.startswith(STATE_MAGIC):
            raise ValueError(f"state must be bytes from get_state(). Got {len(state)} bytes of something else.")
        _, version, max_age, min_hits, threshold, class_aware, frames, last_id, found = STATE_HEADER.unpack_from(state)
        if version != STATE_VERSION:
            raise ValueError(f"state must be of version {STATE_VERSION}. Got version {version}.")
        body, checksum = state[:len(state) - 4], state[len(state) - 4:]
        if (
            struct.pack("<I", zlib.crc32(body)) != checksum
            or len(body) != STATE_HEADER.size + found * 8 * (TRACK_FLOATS + TRACK_INTS)
        ):
            raise ValueError(f"state must be whole bytes from get_state(). Got {len(state)} damaged bytes.")
        theirs = (max_age, min_hits, threshold, bool(class_aware))
        ours = (self.max_age, self.min_hits, self.iou_threshold, bool(self.class_aware))
        if theirs != ours:
            raise ValueError(
                f"state must be of a tracker with the same max_age, min_hits, iou_threshold, class_aware {ours}. "
                f"Got {theirs}."
            )
        if self.busy:
            raise RuntimeError("the tracker is in use by another thread")
        count = found
        at = STATE_HEADER.size
        floats = np.frombuffer(state, "<f8", count * TRACK_FLOATS, at).reshape(count, TRACK_FLOATS).astype(np.float64)
        at += count * TRACK_FLOATS * 8
        ints = np.frombuffer(state, "<i8", count * TRACK_INTS, at).reshape(count, TRACK_INTS).astype(np.int64)
        if self._reserve(0, count) < 0:
            raise MemoryError
        self.frame_count, self.last_id, self.track_count = frames, last_id, count
        for t in range(count):
            track = self.tracks + t
            memcpy(&track.filter, &floats[t, 0], sizeof(BoxFilter))
            track.id, track.class_id, track.streak = ints[t, 0], ints[t, 1], ints[t, 2]
            track.missed, track.det = ints[t, 3], ints[t, 4]
        self._write_rows()
        self.broken = False

    def __reduce__(self):
        raise TypeError("a SortTracker cannot be pickled; use get_state() and set_state()")

    # --- guard and answer, with the interpreter

    cdef int _enter(self) except -1:
        # The work runs without the interpreter, so a second thread could come in and free what the first one reads.
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

    # --- the work, without it

    cdef int _reserve(self, size_t dets, size_t tracks) noexcept nogil:
        # Every buffer that one frame and a predict() after it need, before anything of the tracker changes.
        cdef:
            size_t after = tracks + dets
            size_t most = dets if dets > tracks else tracks
        if (
            grow(<void**>&self.tracks, &self.tracks_size, after * sizeof(Track)) < 0
            or grow(<void**>&self.rows, &self.rows_size, after * 5 * sizeof(f64)) < 0
            or grow(<void**>&self.matches, &self.matches_size, after * sizeof(cnp.npy_intp)) < 0
            or grow(<void**>&self.det_boxes, &self.det_boxes_size, dets * 4 * sizeof(f64)) < 0
            or grow(<void**>&self.det_uvsr, &self.det_uvsr_size, dets * 4 * sizeof(f64)) < 0
            or grow(<void**>&self.track_boxes, &self.track_boxes_size, after * 4 * sizeof(f64)) < 0
            or grow(<void**>&self.det_class, &self.det_class_size, dets * sizeof(i64)) < 0
            or grow(<void**>&self.det_index, &self.det_index_size, dets * sizeof(i32)) < 0
            or grow(<void**>&self.det_track, &self.det_track_size, dets * sizeof(i32)) < 0
            or grow(<void**>&self.part_boxes, &self.part_boxes_size, after * 4 * sizeof(f64)) < 0
            or grow(<void**>&self.part_index, &self.part_index_size, after * sizeof(i32)) < 0
            or grow(<void**>&self.part_track, &self.part_track_size, most * sizeof(i32)) < 0
        ):
            return -1
        return 0

    cdef int _update(self, const f64* dets, const i64* class_of, Py_ssize_t n) noexcept nogil:
        cdef:
            Py_ssize_t count, i, t
            int status
            i32 rejected
            Track* track
        if self._reserve(n, self.track_count) < 0:
            return -1
        self.frame_count += 1
        for t in range(self.track_count):
            track = self.tracks + t
            filter_predict(&track.filter)
            if track.missed > 0:
                track.streak = 0
            track.missed += 1
            track.det = -1
        self._drop_lost_boxes()
        count = self._take_dets(dets, class_of, n)
        if self._one_class(count):
            status = associate(
                &self.work, self.det_boxes, count, self.track_boxes, self.track_count, self.iou_threshold,
                self.det_track,
            )
        else:
            status = self._associate_by_class(count)
        if status < 0:
            return -1
        for i in range(count):
            if self.det_track[i] >= 0:
                track = self.tracks + self.det_track[i]
                filter_update(&track.filter, self.det_uvsr + 4 * i)
                track.missed = 0
                track.streak += 1
                track.det = self.det_index[i]
        # The reference numbers detections that no track was assigned to first, then those rejected by the threshold.
        for rejected in range(NEVER_ASSIGNED, BELOW_THRESHOLD - 1, -1):
            for i in range(count):
                if self.det_track[i] == rejected:
                    self._start(i)
        self._report_and_retire()
        return 0

    cdef void _predict(self) noexcept nogil:
        cdef Py_ssize_t t
        for t in range(self.track_count):
            filter_predict(&self.tracks[t].filter)
        self._drop_lost_boxes()
        self._write_rows()

    cdef void _drop_lost_boxes(self) noexcept nogil:
        # Fills track_boxes; a track whose box has left the finite numbers goes.
        cdef:
            Py_ssize_t t, kept = 0
            f64* box
        for t in range(self.track_count):
            box = self.track_boxes + 4 * kept
            filter_box(&self.tracks[t].filter, box)
            # One sum for four tests: it is finite only if all of them are, or at sizes of no use here either.
            if isfinite(box[0] + box[1] + box[2] + box[3]):
                if kept < t:
                    self.tracks[kept] = self.tracks[t]
                kept += 1
        self.track_count = kept

    cdef Py_ssize_t _take_dets(self, const f64* dets, const i64* class_of, Py_ssize_t n) noexcept nogil:
        # Copies the detections that are boxes. How many.
        cdef Py_ssize_t i, count = 0
        for i in range(n):
            if xyxy_to_uvsr(dets + 5 * i, self.det_uvsr + 4 * count):
                memcpy(self.det_boxes + 4 * count, dets + 5 * i, 4 * sizeof(f64))
                self.det_class[count] = class_of[i] if class_of != NULL else 0
                self.det_index[count] = <i32>i
                count += 1
        return count

    cdef bint _one_class(self, Py_ssize_t count) noexcept nogil:
        cdef:
            Py_ssize_t i
            i64 first
        if count == 0 or self.track_count == 0:
            return True
        first = self.det_class[0]
        for i in range(count):
            if self.det_class[i] != first:
                return False
        for i in range(self.track_count):
            if self.tracks[i].class_id != first:
                return False
        return True

    cdef int _associate_by_class(self, Py_ssize_t count) noexcept nogil:
        # Each class by itself, as if it had a tracker of its own.
        cdef:
            Py_ssize_t first, i, dets, tracks, t
            i64 class_id
            f64* boxes = self.part_boxes
            i32* index = self.part_index
        for i in range(count):
            self.det_track[i] = BELOW_THRESHOLD - 1
        for first in range(count):
            if self.det_track[first] != BELOW_THRESHOLD - 1:
                continue
            class_id = self.det_class[first]
            dets = tracks = 0
            for i in range(first, count):
                if self.det_class[i] == class_id:
                    memcpy(boxes + 4 * dets, self.det_boxes + 4 * i, 4 * sizeof(f64))
                    index[dets] = <i32>i
                    dets += 1
            for t in range(self.track_count):
                if self.tracks[t].class_id == class_id:
                    memcpy(boxes + 4 * (dets + tracks), self.track_boxes + 4 * t, 4 * sizeof(f64))
                    index[dets + tracks] = <i32>t
                    tracks += 1
            if associate(
                &self.work, boxes, dets, boxes + 4 * dets, tracks, self.iou_threshold, self.part_track
            ) < 0:
                return -1
            for i in range(dets):
                t = self.part_track[i]
                self.det_track[index[i]] = index[dets + t] if t >= 0 else <i32>t
        return 0

    cdef void _start(self, Py_ssize_t i) noexcept nogil:
        cdef Track* track = self.tracks + self.track_count
        self.track_count += 1
        self.last_id += 1
        memset(track, 0, sizeof(Track))
        filter_start(&track.filter, self.det_uvsr + 4 * i)
        track.id = self.last_id
        track.class_id = self.det_class[i]
        track.det = self.det_index[i]

    cdef void _report_and_retire(self) noexcept nogil:
        cdef:
            Py_ssize_t t, kept = 0
            Track* track
        for t in range(self.track_count):
            track = self.tracks + t
            # Young tracks are reported in the first frames only, where none can be old.
            if track.missed > 0 or (track.streak < self.min_hits and self.frame_count > self.min_hits):
                track.det = -1
            if track.missed <= self.max_age:
                if kept < t:
                    self.tracks[kept] = track[0]
                kept += 1
        self.track_count = kept
        self._write_rows()

    cdef void _write_rows(self) noexcept nogil:
        # From the last track to the first, as the reference reports them.
        cdef:
            Py_ssize_t t, row = 0
            Track* track
        for t in range(self.track_count - 1, -1, -1):
            track = self.tracks + t
            if track.det >= 0:
                filter_box(&track.filter, self.rows + 5 * row)
                self.rows[5 * row + 4] = <f64>track.id
                self.matches[row] = track.det
                row += 1
        self.row_count = row


# --- validation

cdef inline bint _is_plain(object value, int kind, int dimensions):
    # An array that the work can read as it is.
    return (
        cnp.PyArray_CheckExact(value)
        and cnp.PyArray_TYPE(value) == kind
        and cnp.PyArray_NDIM(value) == dimensions
        and cnp.PyArray_ISCARRAY_RO(value)
    )


cdef object _as_dets(value):
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


cdef object _as_classes(value):
    rule = "class_ids must be an (N,) array of ints, one a detection."
    array = np.asarray(value)
    if array.shape == (0,):
        return np.empty(0, np.int64)
    if array.ndim != 1:
        raise ValueError(f"{rule} Got shape {array.shape}.")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{rule} Got dtype {array.dtype}.")
    return np.ascontiguousarray(array, np.int64)


def _count(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int >= 0. Got {value!r}.")
    if not 0 <= value < 1 << 62:
        raise ValueError(f"{name} must be an int >= 0. Got {value!r}.")
    return value
