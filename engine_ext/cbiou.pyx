"""C-BIoU (Yang et al. 2023): boxes with a margin, first narrow, then wide, match tracks that move irregularly.

See cbiou.pyi.
"""
cimport cython
from libc.math cimport ceil
from libc.string cimport memcpy, memset

from engine_ext.assignment cimport (
    SMALL, drop_edges_between_classes, find_edges, gain_of, grow, reserve_cost, solve_rectangle, solve_sparse,
    solve_uncontested,
)
from engine_ext.kalman cimport SizeFilter, Step, size_box, size_predict, size_start, size_update, step_of
from engine_ext.tracker cimport (
    DETECTION_BYTES, HIGH, LOW, PART_BYTES, UNUSED, Detections, Part, Tracker, as_bool, as_count, as_number, carve,
    carve_part, take_detections,
)
from engine_ext.typedefs cimport f32, f64, i32, i64

cdef f64 LOW_SCORE = 0.1             # the reference's constant
cdef f64 TINY = 5e-324               # smallest positive value: separate boxes never match


cdef enum:
    # The state of a track at the beginning of a frame.
    UNCONFIRMED = 0
    CONFIRMED                        # found in the previous update
    LOST


ctypedef struct Track:
    SizeFilter filter
    f64[4] box             # the detection of the last update that found one
    i64 id                 # 0 until it is confirmed
    i64 class_id
    i64 hits               # detections so far
    i64 found              # whether the last update found one
    f64 missed             # steps since the last detection
    i64 det                # its detection of the last update if it was reported then, else -1


@cython.final
cdef class CBIoUTracker(Tracker):
    """Tracks the boxes of one stream. See cbiou.pyi."""

    PARAMETERS = (
        "lost_track_buffer", "frame_rate", "track_activation_threshold", "minimum_consecutive_frames",
        "minimum_iou_threshold_first_assoc", "minimum_iou_threshold_second_assoc",
        "minimum_iou_threshold_unconfirmed_assoc", "high_conf_det_threshold", "instant_first_frame_activation",
        "buffer_ratio_first", "buffer_ratio_second", "class_aware",
    )

    cdef readonly i64 lost_track_buffer
    cdef readonly f64 frame_rate
    cdef readonly f64 track_activation_threshold
    cdef readonly i64 minimum_consecutive_frames
    cdef readonly f64 minimum_iou_threshold_first_assoc
    cdef readonly f64 minimum_iou_threshold_second_assoc
    cdef readonly f64 minimum_iou_threshold_unconfirmed_assoc
    cdef readonly f64 high_conf_det_threshold
    cdef readonly bint instant_first_frame_activation
    cdef readonly f64 buffer_ratio_first
    cdef readonly f64 buffer_ratio_second
    cdef f64 max_lost
    cdef Track* tracks
    cdef f64* track_boxes
    cdef Part part
    cdef i32* part_taken
    cdef unsigned char* level        # by detection: HIGH, LOW or UNUSED
    cdef unsigned char* state        # by track: UNCONFIRMED, CONFIRMED or LOST

    def __cinit__(
        self,
        lost_track_buffer=30,
        frame_rate=30.0,
        track_activation_threshold=0.7,
        minimum_consecutive_frames=2,
        minimum_iou_threshold_first_assoc=0.2,
        minimum_iou_threshold_second_assoc=0.5,
        minimum_iou_threshold_unconfirmed_assoc=0.3,
        high_conf_det_threshold=0.6,
        instant_first_frame_activation=True,
        buffer_ratio_first=0.3,
        buffer_ratio_second=0.5,
        *,
        class_aware=True,
    ):
        self.lost_track_buffer = as_count("lost_track_buffer", lost_track_buffer, 0, 1000000000)
        self.frame_rate = as_number("frame_rate", frame_rate, 0.0, 1e6)
        self.track_activation_threshold = as_number("track_activation_threshold", track_activation_threshold, 0.0, 1.0)
        self.minimum_consecutive_frames = as_count("minimum_consecutive_frames", minimum_consecutive_frames, 1)
        self.minimum_iou_threshold_first_assoc = as_number(
            "minimum_iou_threshold_first_assoc", minimum_iou_threshold_first_assoc, 0.0, 1.0
        )
        self.minimum_iou_threshold_second_assoc = as_number(
            "minimum_iou_threshold_second_assoc", minimum_iou_threshold_second_assoc, 0.0, 1.0
        )
        self.minimum_iou_threshold_unconfirmed_assoc = as_number(
            "minimum_iou_threshold_unconfirmed_assoc", minimum_iou_threshold_unconfirmed_assoc, 0.0, 1.0
        )
        self.high_conf_det_threshold = as_number("high_conf_det_threshold", high_conf_det_threshold, 0.0, 1.0)
        self.instant_first_frame_activation = as_bool("instant_first_frame_activation", instant_first_frame_activation)
        self.buffer_ratio_first = as_number("buffer_ratio_first", buffer_ratio_first, 0.0, 10.0)
        self.buffer_ratio_second = as_number("buffer_ratio_second", buffer_ratio_second, 0.0, 10.0)
        self.class_aware = as_bool("class_aware", class_aware)
        self.max_lost = max(1.0, ceil(self.frame_rate / 30.0 * self.lost_track_buffer))
        self.track_bytes = sizeof(Track)

    cdef int _reserve(self, size_t dets, size_t tracks) noexcept nogil:
        cdef:
            size_t after = tracks + dets
            char* at
        if (
            self._reserve_tracks(after) < 0
            or grow(
                <void**>&self.scratch, &self.scratch_size,
                dets * (DETECTION_BYTES + PART_BYTES + 8) + after * (PART_BYTES + 64) + 256,
            ) < 0
        ):
            return -1
        self.tracks = <Track*>self.track_memory
        at = self.scratch + dets * DETECTION_BYTES + 64
        self.track_boxes = <f64*>carve(&at, after, 4 * sizeof(f64))
        carve_part(&self.part, &at, dets, after)
        self.part_taken = <i32*>carve(&at, after, sizeof(i32))
        self.level = <unsigned char*>carve(&at, dets, 1)
        self.state = <unsigned char*>carve(&at, after, 1)
        return 0

    cdef int _update(self, const f64* given, const i64* class_of, Py_ssize_t n, f64 dt) noexcept nogil:
        cdef:
            Detections dets
            Py_ssize_t i, t
            char* at = self.scratch
            Track* track
            Step step = step_of(dt)
        take_detections(&dets, &at, given, class_of, n)
        for i in range(dets.count):
            if dets.scores[i] >= self.high_conf_det_threshold:
                self.level[i] = HIGH
            elif dets.scores[i] > LOW_SCORE:
                self.level[i] = LOW
            else:
                self.level[i] = UNUSED
        for t in range(self.track_count):
            track = self.tracks + t
            size_predict(&track.filter, step)
            size_box(&track.filter, self.track_boxes + 4 * t)
            track.missed += dt
            track.det = -1
        self._keep_finite(self.track_boxes)
        for t in range(self.track_count):
            track = self.tracks + t
            if track.id == 0 and track.hits < self.minimum_consecutive_frames:
                self.state[t] = UNCONFIRMED
            else:
                self.state[t] = CONFIRMED if track.found else LOST
            track.found = 0
        if (
            self._match(&dets, HIGH, CONFIRMED, LOST, self.buffer_ratio_first, True,
                        self.minimum_iou_threshold_first_assoc) < 0
            or self._match(&dets, LOW, CONFIRMED, CONFIRMED, self.buffer_ratio_second, False,
                           self.minimum_iou_threshold_second_assoc) < 0
            or self._match(&dets, HIGH, UNCONFIRMED, UNCONFIRMED, self.buffer_ratio_first, True,
                           self.minimum_iou_threshold_unconfirmed_assoc) < 0
        ):
            return -1
        self._retire()
        for i in range(dets.count):
            if (
                dets.track[i] < 0 and self.level[i] == HIGH
                and dets.scores[i] >= self.track_activation_threshold
            ):
                self._start(&dets, i)
        self._write_rows_of(False)
        return 0

    cdef void _predict(self, f64 dt, bint aging) noexcept nogil:
        cdef:
            Py_ssize_t t
            Step step = step_of(dt)
        for t in range(self.track_count):
            size_predict(&self.tracks[t].filter, step)
            size_box(&self.tracks[t].filter, self.track_boxes + 4 * t)
            if aging:
                self.tracks[t].missed += dt
        self._keep_finite(self.track_boxes)
        self._write_rows_of(True)

    cdef i64 _id_of(self, const void* track) noexcept nogil:
        return (<const Track*>track).id

    cdef int _match(
        self, Detections* dets, unsigned char level, unsigned char first, unsigned char second, f64 margin,
        bint fused, f64 threshold
    ) noexcept nogil:
        # One stage of the association: unmatched detections of a level, and unmatched tracks of one state, then of
        # another. First the best sum, then the threshold. Rounded as in the reference, whose IoU is float32.
        cdef:
            Py_ssize_t n = 0, m, i, j, e
            f64 least = max(threshold if fused else <f64><f32>threshold, TINY)
        for i in range(dets.count):
            if dets.track[i] < 0 and self.level[i] == level:
                self.part.det[n] = <i32>i
                self.part.det_class[n] = dets.class_ids[i]
                add_margin(dets.boxes + 4 * i, margin, self.part.det_boxes + 4 * n)
                n += 1
        if n == 0:
            return 0
        m = self._take_part_tracks(first, margin, 0)
        if second != first:
            m = self._take_part_tracks(second, margin, m)
        if m == 0:
            return 0
        if find_edges(&self.work, self.part.det_boxes, n, self.part.track_boxes, m, 0.0) < 0:
            return -1
        if self.class_aware:
            drop_edges_between_classes(&self.work, n, self.part.det_class, self.part.track_class)
        for i in range(n):
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                self.work.edges[e].gain = <f64><f32>self.work.edges[e].gain
                if fused:
                    self.work.edges[e].gain *= dets.scores[self.part.det[i]]
        if solve_uncontested(&self.work, n, m, 0.0):
            pass
        elif n <= SMALL and m <= SMALL:
            if self._solve_as_the_reference(n, m) < 0:
                return -1
        else:
            solve_sparse(&self.work, n, m)
        # In the order of the tracks, in which the reference assigns ids.
        for j in range(m):
            self.part_taken[j] = -1
        for i in range(n):
            j = self.work.row_column[i]
            if j >= 0 and gain_of(&self.work, i, j) >= least:
                dets.track[self.part.det[i]] = self.part.track[j]
                self.part_taken[j] = self.part.det[i]
        for j in range(m):
            if self.part_taken[j] >= 0:
                self._take(dets, self.part_taken[j], self.tracks + self.part.track[j])
        return 0

    cdef Py_ssize_t _take_part_tracks(self, unsigned char state, f64 margin, Py_ssize_t m) noexcept nogil:
        # Appends the unmatched tracks of a state to the m present ones, and returns the new number.
        cdef Py_ssize_t t
        for t in range(self.track_count):
            if self.state[t] == state and not self.tracks[t].found:
                self.part.track[m] = <i32>t
                self.part.track_class[m] = self.tracks[t].class_id
                add_margin(self.track_boxes + 4 * t, margin, self.part.track_boxes + 4 * m)
                m += 1
        return m

    cdef int _solve_as_the_reference(self, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
        # Over all pairs, tracks x detections, the longer side last. Ties are broken as in SciPy.
        cdef:
            Py_ssize_t i, e, step_i = 1 if n >= m else m, step_j = n if n >= m else 1
        if reserve_cost(&self.work, n, m) < 0:
            return -1
        memset(self.work.cost, 0, n * m * sizeof(f64))
        for i in range(n):
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                self.work.cost[i * step_i + self.work.edges[e].column * step_j] = -self.work.edges[e].gain
        solve_rectangle(&self.work, min(n, m), max(n, m))
        if n >= m:
            for i in range(n):
                self.work.row_column[i] = self.work.column_row[i]
        return 0

    cdef void _take(self, const Detections* dets, Py_ssize_t i, Track* track) noexcept nogil:
        cdef f64[4] uvwh
        measure(dets.boxes + 4 * i, uvwh)
        size_update(&track.filter, uvwh)
        memcpy(track.box, dets.boxes + 4 * i, 4 * sizeof(f64))
        track.found = 1
        track.missed = 0.0
        track.hits += 1
        track.det = dets.index[i]
        if track.id == 0 and track.hits >= self.minimum_consecutive_frames:
            self.last_id += 1
            track.id = self.last_id

    cdef void _retire(self) noexcept nogil:
        # Removes unconfirmed tracks at their first miss, others once they have been lost for too long.
        cdef:
            Py_ssize_t t, kept = 0
            Track* track
        for t in range(self.track_count):
            track = self.tracks + t
            if track.found or (self.state[t] != UNCONFIRMED and track.missed <= self.max_lost):
                if kept < t:
                    self.tracks[kept] = track[0]
                kept += 1
        self.track_count = kept

    cdef void _start(self, const Detections* dets, Py_ssize_t i) noexcept nogil:
        cdef:
            Track* track = self.tracks + self.track_count
            f64[4] uvwh
        self.track_count += 1
        memset(track, 0, sizeof(Track))
        measure(dets.boxes + 4 * i, uvwh)
        size_start(&track.filter, uvwh)
        memcpy(track.box, dets.boxes + 4 * i, 4 * sizeof(f64))
        track.class_id = dets.class_ids[i]
        track.hits = 1
        track.found = 1
        track.det = dets.index[i]
        if self.instant_first_frame_activation and self.frame_count == 1:
            self.last_id += 1
            track.id = self.last_id

    cdef void _write_rows(self) noexcept nogil:
        self._write_rows_of(False)

    cdef void _write_rows_of(self, bint predicted) noexcept nogil:
        cdef:
            Py_ssize_t t, row = 0
            Track* track
        for t in range(self.track_count):
            track = self.tracks + t
            if track.id > 0 and track.det >= 0:
                if predicted:
                    size_box(&track.filter, self.rows + 5 * row)
                else:
                    memcpy(self.rows + 5 * row, track.box, 4 * sizeof(f64))
                self.rows[5 * row + 4] = <f64>track.id
                self.matches[row] = track.det
                row += 1
        self.row_count = row


cdef inline void add_margin(const f64* box, f64 margin, f64* wider) noexcept nogil:
    cdef:
        f64 dx = margin * (box[2] - box[0])
        f64 dy = margin * (box[3] - box[1])
    wider[0], wider[1], wider[2], wider[3] = box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy


cdef inline void measure(const f64* box, f64* uvwh) noexcept nogil:
    uvwh[2] = box[2] - box[0]
    uvwh[3] = box[3] - box[1]
    uvwh[0] = box[0] + uvwh[2] / 2.0
    uvwh[1] = box[1] + uvwh[3] / 2.0
