"""ByteTrack (Zhang et al. 2022): tracks that no detection of high score matches are matched to those of low score.

See bytetrack.pyi.
"""
cimport cython
from libc.string cimport memcpy, memset

from engine_ext.assignment cimport (
    SMALL, drop_edges_between_classes, find_edges, grow, reserve_cost, solve_dense, solve_sparse, solve_uncontested,
)
from engine_ext.geometry cimport iou_padded
from engine_ext.kalman cimport AspectFilter, Step, aspect_box, aspect_predict, aspect_start, aspect_update, step_of
from engine_ext.tracker cimport (
    DETECTION_BYTES, HIGH, LOW, PART_BYTES, Detections, Part, Tracker, as_bool, as_count, as_number, carve, carve_part,
    grade, take_det, take_detections, take_track,
)
from engine_ext.typedefs cimport f64, i32, i64

# The constants of the reference.
cdef f64 LOW_SCORE = 0.1
cdef f64 SECOND_LIMIT = 0.5          # maximum cost of a match
cdef f64 UNCONFIRMED_LIMIT = 0.7
cdef f64 DUPLICATE_DISTANCE = 0.15
cdef f64 TIE = 1e-9                  # far above rounding errors
cdef f64 PIXEL = 1.0                 # in the reference, a box includes its last pixels


cdef enum:
    # The state of a track.
    UNCONFIRMED                      # seen once; listed among the tracked ones, like CONFIRMED
    CONFIRMED
    LOST
    GONE


ctypedef struct Track:
    AspectFilter filter
    i64 id
    i64 class_id
    i64 state
    i64 expired            # was lost for too long: removed when it is lost again
    f64 age                # steps since the first detection
    f64 missed             # steps since the last detection
    i64 det                # its detection of the last update if it was reported then, else -1


@cython.final
cdef class ByteTracker(Tracker):
    """Tracks the boxes of one stream. See bytetrack.pyi."""

    PARAMETERS = ("track_thresh", "match_thresh", "track_buffer", "frame_rate", "mot20", "class_aware")

    cdef readonly f64 track_thresh
    cdef readonly f64 match_thresh
    cdef readonly i64 track_buffer
    cdef readonly f64 frame_rate
    cdef readonly bint mot20
    cdef f64 new_thresh
    cdef f64 max_lost
    # The tracked ones, confirmed or not, precede the lost ones.
    cdef Track* tracks
    cdef Track* next_tracks
    cdef f64* track_boxes
    cdef Part part
    cdef unsigned char* level        # by detection: HIGH, LOW or UNUSED
    cdef unsigned char* drop         # by track

    def __cinit__(
        self, track_thresh=0.5, match_thresh=0.8, track_buffer=30, frame_rate=30, mot20=False, *, class_aware=True
    ):
        self.track_thresh = as_number("track_thresh", track_thresh, 0.0, 1.0)
        self.match_thresh = as_number("match_thresh", match_thresh, 0.0, 1.0)
        self.track_buffer = as_count("track_buffer", track_buffer, 0, 1000000000)
        self.frame_rate = as_number("frame_rate", frame_rate, 0.0, 1e6)
        self.mot20 = as_bool("mot20", mot20)
        self.class_aware = as_bool("class_aware", class_aware)
        self.new_thresh = self.track_thresh + 0.1
        self.max_lost = <f64><i64>(self.frame_rate / 30.0 * self.track_buffer)
        self.track_bytes = sizeof(Track)

    cdef int _reserve(self, size_t dets, size_t tracks) noexcept nogil:
        cdef:
            size_t after = tracks + dets
            char* at
        if (
            self._reserve_tracks(after) < 0
            or grow(
                <void**>&self.scratch, &self.scratch_size,
                dets * (DETECTION_BYTES + PART_BYTES + 8) + after * (sizeof(Track) + PART_BYTES + 64) + 256,
            ) < 0
        ):
            return -1
        self.tracks = <Track*>self.track_memory
        at = self.scratch + dets * DETECTION_BYTES + 64
        self.next_tracks = <Track*>carve(&at, after, sizeof(Track))
        self.track_boxes = <f64*>carve(&at, after, 4 * sizeof(f64))
        carve_part(&self.part, &at, dets, after)
        self.level = <unsigned char*>carve(&at, dets, 1)
        self.drop = <unsigned char*>carve(&at, after, 1)
        return 0

    cdef int _update(self, const f64* given, const i64* class_of, Py_ssize_t n, f64 dt) noexcept nogil:
        cdef:
            Detections dets
            Py_ssize_t t
            char* at = self.scratch
            Track* track
        take_detections(&dets, &at, given, class_of, n)
        grade(&dets, LOW_SCORE, self.track_thresh, self.level)
        self._move(dt)
        for t in range(self.track_count):
            track = self.tracks + t
            track.age += dt
            track.missed += dt
            track.det = -1
        self._keep_finite(self.track_boxes)
        if (
            self._match(&dets, HIGH, CONFIRMED, LOST, not self.mot20, self.match_thresh) < 0
            or self._match(&dets, LOW, CONFIRMED, CONFIRMED, False, SECOND_LIMIT) < 0
            or self._match(&dets, HIGH, UNCONFIRMED, UNCONFIRMED, not self.mot20, UNCONFIRMED_LIMIT) < 0
        ):
            return -1
        self._renew_lists(&dets)
        if self._drop_duplicates() < 0:
            return -1
        self._write_rows()
        return 0

    cdef void _predict(self, f64 dt, bint aging) noexcept nogil:
        cdef Py_ssize_t t
        self._move(dt)
        if aging:
            for t in range(self.track_count):
                self.tracks[t].age += dt
                self.tracks[t].missed += dt
        self._keep_finite(self.track_boxes)
        self._write_rows()

    cdef void _move(self, f64 dt) noexcept nogil:
        cdef:
            Py_ssize_t t
            Track* track
            Step step = step_of(dt)
        for t in range(self.track_count):
            track = self.tracks + t
            # As in the reference, an unconfirmed track does not move, and a lost one keeps its height.
            if track.state == LOST:
                track.filter.dh = 0.0
            if track.state != UNCONFIRMED:
                aspect_predict(&track.filter, step)
            aspect_box(&track.filter, self.track_boxes + 4 * t)

    cdef i64 _id_of(self, const void* track) noexcept nogil:
        return (<const Track*>track).id

    cdef int _match(
        self, Detections* dets, unsigned char level, i64 first, i64 second, bint fused, f64 limit
    ) noexcept nogil:
        # One stage of the association: unmatched detections of a level, and unmatched tracks in one of two states. It
        # minimises the sum of the matches' costs and of limit / 2 for each unmatched detection and track, so that a
        # match gains the difference between the limit and its cost.
        cdef:
            Py_ssize_t n = 0, m = 0, i, j, t, e, begin = 0, end, kept = 0
            bint one_class = True
            f64 gain, score
        for i in range(dets.count):
            if dets.track[i] < 0 and self.level[i] == level:
                take_det(&self.part, dets, i, n)
                one_class = one_class and self.part.det_class[n] == self.part.det_class[0]
                n += 1
        if n == 0:
            return 0
        for t in range(self.track_count):
            if self.tracks[t].det < 0 and (self.tracks[t].state == first or self.tracks[t].state == second):
                take_track(&self.part, t, self.tracks[t].class_id, self.track_boxes + 4 * t, m)
                one_class = one_class and self.part.track_class[m] == self.part.det_class[0]
                m += 1
        if m == 0:
            return 0
        if find_edges(&self.work, self.part.det_boxes, n, self.part.track_boxes, m, PIXEL) < 0:
            return -1
        if self.class_aware:
            drop_edges_between_classes(&self.work, n, self.part.det_class, self.part.track_class)
        for i in range(n):
            score = dets.scores[self.part.det[i]]
            end = self.work.edge_start[i + 1]
            for e in range(begin, end):
                gain = limit - cost_of(self.work.edges[e].gain, score, fused)
                if gain > -TIE:
                    self.work.edges[kept].gain = gain
                    self.work.edges[kept].column = self.work.edges[e].column
                    kept += 1
            begin = end
            self.work.edge_start[i + 1] = <i32>kept
        if solve_uncontested(&self.work, n, m, TIE):
            pass
        elif n + m <= SMALL and (one_class or not self.class_aware):
            if self._solve_as_the_authors(dets, n, m, fused, limit) < 0:
                return -1
        else:
            solve_sparse(&self.work, n, m)
        for i in range(n):
            j = self.work.row_column[i]
            if j >= 0:
                dets.track[self.part.det[i]] = self.part.track[j]
                self._take(dets, self.part.det[i], self.tracks + self.part.track[j])
        return 0

    cdef int _solve_as_the_authors(
        self, const Detections* dets, Py_ssize_t n, Py_ssize_t m, bint fused, f64 limit
    ) noexcept nogil:
        # The reference's extended square matrix, in which every track and every detection has a row and a column and
        # leaving one out costs half of the limit, so that ties are broken alike.
        cdef:
            Py_ssize_t k = n + m, i, j
            f64 iou
            f64* cost
        if reserve_cost(&self.work, k, k) < 0:
            return -1
        cost = self.work.cost
        for j in range(k):
            for i in range(k):
                if j < m and i < n:
                    iou = iou_padded(self.part.track_boxes + 4 * j, self.part.det_boxes + 4 * i, PIXEL)
                    cost[j * k + i] = cost_of(iou, dets.scores[self.part.det[i]], fused)
                else:
                    cost[j * k + i] = 0.0 if j >= m and i >= n else limit / 2.0
        solve_dense(&self.work, k)
        for i in range(n):
            j = self.work.column_row[i]
            self.work.row_column[i] = <i32>j if j < m else -1
        return 0

    cdef void _take(self, Detections* dets, Py_ssize_t i, Track* track) noexcept nogil:
        cdef f64[4] uvah
        measure(dets.boxes + 4 * i, uvah)
        aspect_update(&track.filter, uvah)
        track.missed = 0.0
        track.det = dets.index[i]

    cdef void _renew_lists(self, Detections* dets) noexcept nogil:
        # First the tracked ones: tracked before and matched, new, found again. Then the lost ones: lost before, lost
        # now.
        cdef:
            Py_ssize_t t, i, kept = 0
            Track* track
        for t in range(self.track_count):
            track = self.tracks + t
            if track.det >= 0 and track.state != LOST:
                track.state = CONFIRMED
                self.next_tracks[kept] = track[0]
                kept += 1
        for i in range(dets.count):
            if dets.track[i] < 0 and self.level[i] == HIGH and dets.scores[i] >= self.new_thresh:
                self._start(self.next_tracks + kept, dets, i)
                kept += 1
        for t in range(self.track_count):
            track = self.tracks + t
            if track.det >= 0 and track.state == LOST:
                track.state = CONFIRMED
                self.next_tracks[kept] = track[0]
                kept += 1
        for t in range(self.track_count):
            track = self.tracks + t
            if track.det < 0 and track.state == LOST and not track.expired:
                # A track that expires now is kept for one more frame.
                track.expired = track.missed > self.max_lost
                self.next_tracks[kept] = track[0]
                kept += 1
        for t in range(self.track_count):
            track = self.tracks + t
            if track.det < 0 and track.state == CONFIRMED and not track.expired:
                track.state = LOST
                self.next_tracks[kept] = track[0]
                kept += 1
        memcpy(self.tracks, self.next_tracks, kept * sizeof(Track))
        self.track_count = kept

    cdef void _start(self, Track* track, Detections* dets, Py_ssize_t i) noexcept nogil:
        cdef f64[4] uvah
        self.last_id += 1
        memset(track, 0, sizeof(Track))
        measure(dets.boxes + 4 * i, uvah)
        aspect_start(&track.filter, uvah)
        track.id = self.last_id
        track.class_id = dets.class_ids[i]
        track.state = CONFIRMED if self.frame_count == 1 else UNCONFIRMED
        track.det = dets.index[i]

    cdef int _drop_duplicates(self) noexcept nogil:
        # If a tracked and a lost one are in the same place, the younger one is removed; of equals, the tracked one.
        cdef:
            Py_ssize_t tracked = 0, t, e, kept = 0
            Track* lost
        while tracked < self.track_count and self.tracks[tracked].state != LOST:
            tracked += 1
        if tracked == 0 or tracked == self.track_count:
            return 0
        for t in range(self.track_count):
            aspect_box(&self.tracks[t].filter, self.track_boxes + 4 * t)
            self.part.track_class[t] = self.tracks[t].class_id
            self.drop[t] = 0
        if find_edges(
            &self.work, self.track_boxes, tracked, self.track_boxes + 4 * tracked, self.track_count - tracked, PIXEL
        ) < 0:
            return -1
        if self.class_aware:
            drop_edges_between_classes(
                &self.work, tracked, self.part.track_class, self.part.track_class + tracked
            )
        for t in range(tracked):
            for e in range(self.work.edge_start[t], self.work.edge_start[t + 1]):
                if 1.0 - self.work.edges[e].gain < DUPLICATE_DISTANCE:
                    lost = self.tracks + tracked + self.work.edges[e].column
                    if self.tracks[t].age - self.tracks[t].missed > lost.age - lost.missed:
                        self.drop[tracked + self.work.edges[e].column] = 1
                    else:
                        self.drop[t] = 1
        for t in range(self.track_count):
            if not self.drop[t]:
                if kept < t:
                    self.tracks[kept] = self.tracks[t]
                kept += 1
        self.track_count = kept
        return 0

    cdef void _write_rows(self) noexcept nogil:
        cdef:
            Py_ssize_t t, row = 0
            Track* track
        for t in range(self.track_count):
            track = self.tracks + t
            if track.state == CONFIRMED and track.det >= 0:
                aspect_box(&track.filter, self.rows + 5 * row)
                self.rows[5 * row + 4] = <f64>track.id
                self.matches[row] = track.det
                row += 1
        self.row_count = row


cdef inline f64 cost_of(f64 iou, f64 score, bint fused) noexcept nogil:
    # In the steps of the reference, so that rounding is equal.
    return 1.0 - (1.0 - (1.0 - iou)) * score if fused else 1.0 - iou


cdef inline void measure(const f64* box, f64* uvah) noexcept nogil:
    cdef:
        f64 w = box[2] - box[0]
        f64 h = box[3] - box[1]
    uvah[0] = box[0] + w / 2.0
    uvah[1] = box[1] + h / 2.0
    uvah[2] = w / h
    uvah[3] = h
