"""SORT (Bewley et al. 2016). See sort.pyi."""
cimport cython
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from engine_ext.assignment cimport BELOW_THRESHOLD, NEVER_ASSIGNED, associate, grow
from engine_ext.geometry cimport xyxy_to_uvsr
from engine_ext.kalman cimport BoxFilter, Step, filter_box, filter_predict, filter_start, filter_update, step_of
from engine_ext.tracker cimport Tracker, as_bool, as_count, as_number
from engine_ext.typedefs cimport f64, i32, i64


ctypedef struct Track:
    BoxFilter filter
    i64 id
    i64 class_id
    i64 streak             # consecutive updates that found a detection
    i64 found              # whether the last update found one
    f64 missed             # steps since the last update that found one
    i64 det                # its detection of the last update if it was reported then, else -1


@cython.final
cdef class SortTracker(Tracker):
    """Tracks the boxes of one stream. See sort.pyi."""

    PARAMETERS = ("max_age", "min_hits", "iou_threshold", "class_aware")

    cdef readonly i64 max_age
    cdef readonly i64 min_hits
    cdef readonly f64 iou_threshold
    cdef Track* tracks
    # Buffers grow when needed and are kept between frames.
    cdef f64* det_boxes         # of the usable detections
    cdef f64* det_uvsr
    cdef f64* track_boxes
    cdef i64* det_class
    cdef i32* det_index         # index of each usable detection in the caller's array
    cdef i32* det_track
    cdef f64* part_boxes        # detections and tracks of one class, and where they came from
    cdef i32* part_index
    cdef i32* part_track
    cdef size_t det_boxes_size, det_uvsr_size, track_boxes_size, det_class_size
    cdef size_t det_index_size, det_track_size, part_boxes_size, part_index_size, part_track_size

    def __cinit__(self, max_age=1, min_hits=3, iou_threshold=0.3, *, class_aware=True):
        self.max_age = as_count("max_age", max_age)
        self.min_hits = as_count("min_hits", min_hits)
        self.iou_threshold = as_number("iou_threshold", iou_threshold, 0.0, 1.0)
        self.class_aware = as_bool("class_aware", class_aware)
        self.track_bytes = sizeof(Track)

    def __dealloc__(self):
        free(self.det_boxes)
        free(self.det_uvsr)
        free(self.track_boxes)
        free(self.det_class)
        free(self.det_index)
        free(self.det_track)
        free(self.part_boxes)
        free(self.part_index)
        free(self.part_track)

    cdef int _reserve(self, size_t dets, size_t tracks) noexcept nogil:
        cdef:
            size_t after = tracks + dets
            size_t most = dets if dets > tracks else tracks
        if (
            self._reserve_tracks(after) < 0
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
        self.tracks = <Track*>self.track_memory
        return 0

    cdef int _update(self, const f64* dets, const i64* class_of, Py_ssize_t n, f64 dt) noexcept nogil:
        cdef:
            Py_ssize_t count, i, t
            int status
            i32 rejected
            Track* track
            Step step = step_of(dt)
        for t in range(self.track_count):
            track = self.tracks + t
            filter_predict(&track.filter, step)
            filter_box(&track.filter, self.track_boxes + 4 * t)
            if not track.found:
                track.streak = 0
            track.found = 0
            track.missed += dt
            track.det = -1
        self._keep_finite(self.track_boxes)
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
                track.found = 1
                track.missed = 0.0
                track.streak += 1
                track.det = self.det_index[i]
        # The reference first numbers detections that were assigned to no track, then those rejected by the threshold.
        for rejected in range(NEVER_ASSIGNED, BELOW_THRESHOLD - 1, -1):
            for i in range(count):
                if self.det_track[i] == rejected:
                    self._start(i)
        self._report_and_retire()
        return 0

    cdef void _predict(self, f64 dt, bint aging) noexcept nogil:
        cdef:
            Py_ssize_t t
            Step step = step_of(dt)
        for t in range(self.track_count):
            filter_predict(&self.tracks[t].filter, step)
            filter_box(&self.tracks[t].filter, self.track_boxes + 4 * t)
            if aging:
                self.tracks[t].missed += dt
        self._keep_finite(self.track_boxes)
        self._write_rows()

    cdef i64 _id_of(self, const void* track) noexcept nogil:
        return (<const Track*>track).id

    cdef Py_ssize_t _take_dets(self, const f64* dets, const i64* class_of, Py_ssize_t n) noexcept nogil:
        # Copies the detections that are valid boxes, and returns their number.
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
        # Associates each class separately, as if it had a tracker of its own.
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
        track.found = 1
        track.det = self.det_index[i]

    cdef void _report_and_retire(self) noexcept nogil:
        cdef:
            Py_ssize_t t, kept = 0
            Track* track
        for t in range(self.track_count):
            track = self.tracks + t
            # Young tracks are reported only in the first frames, in which no track can be old.
            if not track.found or (track.streak < self.min_hits and self.frame_count > self.min_hits):
                track.det = -1
            if track.missed <= self.max_age:
                if kept < t:
                    self.tracks[kept] = track[0]
                kept += 1
        self.track_count = kept
        self._write_rows()

    cdef void _write_rows(self) noexcept nogil:
        # From the last track to the first, as in the reference.
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
