"""OC-SORT (Cao et al. 2023): SORT that relies on observations rather than on the filter's estimates. See ocsort.pyi."""
cimport cython
from libc.math cimport cos, sqrt
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from engine_ext.assignment cimport (
    SMALL, Edge, Workspace, drop_edges_between_classes, find_edges, gain_of, grow, reserve_cost, reserve_solver,
    solve_dense, solve_rectangle, solve_sparse, solve_uncontested, workspace_free,
)
from engine_ext.geometry cimport iou_xyxy
from engine_ext.kalman cimport (
    BoxFilter, Step, filter_box, filter_move, filter_predict, filter_start, filter_update, step_of
)
from engine_ext.tracker cimport (
    DETECTION_BYTES, HIGH, LOW, Detections, Part, Tracker, as_bool, as_count, as_number, carve, carve_part, grade,
    take_det, take_detections, take_track,
)
from engine_ext.typedefs cimport f64, i32, i64

cdef f64 LOW_SCORE = 0.1             # the constant of the reference
cdef f64 TINY = 5e-324               # the smallest positive value
cdef f64 ROUNDING = 1e-9             # far above the rounding errors of the compared sums
cdef f64 HALF_TURN = 3.141592653589793


cdef enum:
    # The box of a track for an association.
    PREDICTED = 0
    OBSERVED
    # Of a large scene's remainder, up to ALL_PAIRS pairs are all examined, above that BEST_PAIRS per detection.
    ALL_PAIRS = 8192
    BEST_PAIRS = 24


cdef extern from "angle.h" nogil:
    f64 angle_gain(f64 x, f64 y, f64 from_x, f64 from_y, f64 dx, f64 dy, f64 weight)
    void angle_gains(
        f64 x, f64 y, f64 weight, const f64* from_x, const f64* from_y, const f64* dx, const f64* dy, Py_ssize_t count,
        f64* gains
    )
    Py_ssize_t angle_below(
        f64 x, f64 y, f64 cosine, const f64* from_x, const f64* from_y, const f64* dx, const f64* dy, Py_ssize_t count,
        i32* found
    )


ctypedef struct Observation:
    f64[4] box
    f64 score
    f64 clock


ctypedef struct Track:
    BoxFilter filter
    BoxFilter saved        # after the prediction of the first update that found nothing
    f64 saved_clock
    i64 has_saved
    f64[4] measured        # u v s r, the filter's last measurement
    f64[2] velocity        # y x, a unit vector or zero
    Observation last       # the last detection after the first; -1 for none
    i64 observations
    i64 id
    i64 class_id
    i64 streak             # consecutive updates that found a detection
    i64 misses             # consecutive updates that didn't
    f64 missed             # steps since the last update that found one
    i64 det                # its detection of the last update if it was reported then, else -1
    # Followed in memory by the last delta_t observations, the k-th at k % delta_t.


cdef inline Observation* observations_of(Track* track) noexcept nogil:
    return <Observation*>(track + 1)


ctypedef struct Heading:
    # A track's part of the angle of a pair.
    f64 from_x, from_y     # centre of an earlier observation
    f64 dy, dx
    bint known


@cython.final
cdef class OCSortTracker(Tracker):
    """Tracks the boxes of one stream. See ocsort.pyi."""

    PARAMETERS = (
        "det_thresh", "max_age", "min_hits", "iou_threshold", "delta_t", "inertia", "use_byte", "class_aware"
    )

    cdef readonly f64 det_thresh
    cdef readonly i64 max_age
    cdef readonly i64 min_hits
    cdef readonly f64 iou_threshold
    cdef readonly i64 delta_t
    cdef readonly f64 inertia
    cdef readonly bint use_byte
    # Arrays of one frame, by track:
    cdef f64* track_boxes            # predicted boxes
    cdef f64* last_boxes             # last observed boxes
    cdef Heading* headings
    cdef i32* track_det              # its detection, or -1
    # of one association:
    cdef Part part
    # and of the first association, in which rows are detections:
    cdef i32* row_open
    cdef i32* column_open
    cdef i32* row_best
    cdef i32* column_best
    cdef f64* row_first
    cdef f64* row_second
    cdef f64* column_first
    cdef f64* column_second
    cdef f64* column_dx
    cdef f64* column_dy
    cdef f64* column_gains
    cdef unsigned char* level        # by detection: HIGH, LOW or UNUSED
    cdef i32* column_group
    cdef unsigned char* column_fixed
    cdef f64* overlaps               # by edge: its IoU, because its gain includes the angle
    cdef f64* gains                  # by edge: its gain, while another value replaces it
    cdef size_t overlaps_size, gains_size
    cdef Workspace rest              # for the sparse problem in _solve_best

    def __cinit__(
        self, det_thresh=0.6, max_age=30, min_hits=3, iou_threshold=0.3, delta_t=3, inertia=0.2, use_byte=False, *,
        class_aware=True
    ):
        self.det_thresh = as_number("det_thresh", det_thresh, 0.0, 1.0)
        self.max_age = as_count("max_age", max_age)
        self.min_hits = as_count("min_hits", min_hits)
        self.iou_threshold = as_number("iou_threshold", iou_threshold, 0.0, 1.0)
        self.delta_t = as_count("delta_t", delta_t, 1, 100)
        self.inertia = as_number("inertia", inertia, 0.0, 1.0)
        self.use_byte = as_bool("use_byte", use_byte)
        self.class_aware = as_bool("class_aware", class_aware)
        self.track_bytes = sizeof(Track) + self.delta_t * sizeof(Observation)

    def __dealloc__(self):
        free(self.overlaps)
        free(self.gains)
        workspace_free(&self.rest)

    cdef inline Track* track(self, Py_ssize_t t) noexcept nogil:
        return <Track*>(self.track_memory + t * self.track_bytes)

    cdef int _reserve(self, size_t dets, size_t tracks) noexcept nogil:
        cdef:
            size_t after = tracks + dets
            char* at
        if (
            self._reserve_tracks(after) < 0
            or grow(
                <void**>&self.scratch, &self.scratch_size,
                dets * (DETECTION_BYTES + 128) + after * (sizeof(Heading) + 256) + 512,
            ) < 0
        ):
            return -1
        at = self.scratch + dets * DETECTION_BYTES + 64
        self.track_boxes = <f64*>carve(&at, after, 4 * sizeof(f64))
        self.last_boxes = <f64*>carve(&at, after, 4 * sizeof(f64))
        self.headings = <Heading*>carve(&at, after, sizeof(Heading))
        self.track_det = <i32*>carve(&at, after, sizeof(i32))
        carve_part(&self.part, &at, dets, after)
        self.row_open = <i32*>carve(&at, dets, sizeof(i32))
        self.column_open = <i32*>carve(&at, after, sizeof(i32))
        self.row_best = <i32*>carve(&at, dets, sizeof(i32))
        self.column_best = <i32*>carve(&at, after, sizeof(i32))
        self.column_group = <i32*>carve(&at, after, sizeof(i32))
        self.column_fixed = <unsigned char*>carve(&at, after, 1)
        self.row_first = <f64*>carve(&at, dets, sizeof(f64))
        self.row_second = <f64*>carve(&at, dets, sizeof(f64))
        self.column_first = <f64*>carve(&at, after, sizeof(f64))
        self.column_second = <f64*>carve(&at, after, sizeof(f64))
        self.column_dx = <f64*>carve(&at, after, sizeof(f64))
        self.column_dy = <f64*>carve(&at, after, sizeof(f64))
        self.column_gains = <f64*>carve(&at, after, sizeof(f64))
        self.level = <unsigned char*>carve(&at, dets, 1)
        return 0

    cdef int _update(self, const f64* given, const i64* class_of, Py_ssize_t n, f64 dt) noexcept nogil:
        cdef:
            Detections dets
            Py_ssize_t i, t
            char* at = self.scratch
            Track* track
            Step step = step_of(dt)
        take_detections(&dets, &at, given, class_of, n)
        grade(&dets, LOW_SCORE, self.det_thresh, self.level)
        for t in range(self.track_count):
            track = self.track(t)
            filter_predict(&track.filter, step)
            filter_box(&track.filter, self.track_boxes + 4 * t)
            if track.misses > 0:
                track.streak = 0
            track.missed += dt
            track.det = -1
        self._keep_finite(self.track_boxes)
        for t in range(self.track_count):
            self.track_det[t] = -1
            memcpy(self.last_boxes + 4 * t, self.track(t).last.box, 4 * sizeof(f64))
            self._head(self.track(t), self.headings + t)
        if self._associate_first(&dets) < 0:
            return -1
        if self.use_byte and self._associate_left(&dets, LOW, PREDICTED) < 0:
            return -1
        if self._associate_left(&dets, HIGH, OBSERVED) < 0:
            return -1
        for t in range(self.track_count):
            track = self.track(t)
            if self.track_det[t] >= 0:
                self._observe(track, &dets, self.track_det[t])
            else:
                if track.misses == 0 and track.observations > 0:
                    track.saved = track.filter
                    track.saved_clock = self.clock
                    track.has_saved = 1
                track.misses += 1
        for i in range(dets.count):
            if self.level[i] == HIGH and dets.track[i] < 0:
                self._start(&dets, i)
        self._report_and_retire()
        return 0

    cdef void _predict(self, f64 dt, bint aging) noexcept nogil:
        cdef:
            Py_ssize_t t
            Step step = step_of(dt)
        for t in range(self.track_count):
            filter_predict(&self.track(t).filter, step)
            filter_box(&self.track(t).filter, self.track_boxes + 4 * t)
            if aging:
                self.track(t).missed += dt
        self._keep_finite(self.track_boxes)
        self._write_rows_of(True)

    cdef i64 _id_of(self, const void* track) noexcept nogil:
        return (<const Track*>track).id

    # --- a track and its observations

    cdef const Observation* _earlier(self, Track* track) noexcept nogil:
        # The oldest observation of the last delta_t steps before this frame, otherwise the last one.
        cdef:
            Py_ssize_t k
            Observation* ring = observations_of(track)
            Observation* found
        for k in range(max(0, track.observations - self.delta_t), track.observations):
            found = ring + k % self.delta_t
            if self.clock - found.clock <= self.delta_t:
                return found
        return &track.last

    cdef void _head(self, Track* track, Heading* heading) noexcept nogil:
        cdef const Observation* earlier
        heading.known = False
        heading.from_x = heading.from_y = heading.dx = heading.dy = 0.0
        if track.observations == 0 or (track.velocity[0] == 0.0 and track.velocity[1] == 0.0):
            return
        earlier = self._earlier(track)
        heading.from_x = (earlier.box[0] + earlier.box[2]) / 2.0
        heading.from_y = (earlier.box[1] + earlier.box[3]) / 2.0
        heading.dy, heading.dx = track.velocity[0], track.velocity[1]
        heading.known = True

    cdef void _observe(self, Track* track, const Detections* dets, Py_ssize_t i) noexcept nogil:
        cdef:
            const f64* box = dets.boxes + 4 * i
            const Observation* earlier
            f64 dx, dy, norm
            f64[4] uvsr
        # As in the reference, a last observation with a negative sum (such as -1 -1 -1 -1 -1) counts as none.
        if sum_of(&track.last) >= 0.0:
            earlier = self._earlier(track)
            dx = (box[0] + box[2]) / 2.0 - (earlier.box[0] + earlier.box[2]) / 2.0
            dy = (box[1] + box[3]) / 2.0 - (earlier.box[1] + earlier.box[3]) / 2.0
            norm = sqrt(dy * dy + dx * dx) + 1e-6
            track.velocity[0], track.velocity[1] = dy / norm, dx / norm
        measure(box, uvsr)
        if track.misses > 0 and track.has_saved:
            self._replay(track, uvsr)
        else:
            memcpy(track.measured, uvsr, 4 * sizeof(f64))
        filter_update(&track.filter, uvsr)
        memcpy(track.last.box, box, 4 * sizeof(f64))
        track.last.score = dets.scores[i]
        track.last.clock = self.clock
        observations_of(track)[track.observations % self.delta_t] = track.last
        track.observations += 1
        track.misses = 0
        track.missed = 0.0
        track.streak += 1
        track.det = dets.index[i]

    cdef void _replay(self, Track* track, const f64* uvsr) noexcept nogil:
        # Return the filter to where the track was lost, and move it along the straight line to where it was found: one
        # update per missed frame and one for this, in equal steps from the first miss on.
        cdef:
            const f64* old = track.measured
            f64 first = track.saved_clock - track.last.clock
            f64 gap = self.clock - track.last.clock
            f64 dt = (self.clock - track.saved_clock) / track.misses
            Step step = step_of(dt)
            f64 old_w = sqrt(old[2] * old[3]), old_h = sqrt(old[2] / old[3])
            f64 du = (uvsr[0] - old[0]) / gap, dv = (uvsr[1] - old[1]) / gap
            f64 dw = (sqrt(uvsr[2] * uvsr[3]) - old_w) / gap, dh = (sqrt(uvsr[2] / uvsr[3]) - old_h) / gap
            f64 since, w, h
            f64[4] between
            i64 k
        track.filter = track.saved
        for k in range(track.misses + 1):
            if k > 0:
                filter_move(&track.filter, step)
            since = first + k * dt
            w, h = old_w + since * dw, old_h + since * dh
            between[0], between[1], between[2], between[3] = old[0] + since * du, old[1] + since * dv, w * h, w / h
            filter_update(&track.filter, between)
        memcpy(track.measured, between, 4 * sizeof(f64))
        track.has_saved = 0

    cdef void _start(self, const Detections* dets, Py_ssize_t i) noexcept nogil:
        # As in the reference, the detection that starts a track is not an observation of it.
        cdef:
            Track* track = self.track(self.track_count)
            f64[4] uvsr
            int k
        self.track_count += 1
        self.last_id += 1
        memset(track, 0, self.track_bytes)
        measure(dets.boxes + 4 * i, uvsr)
        filter_start(&track.filter, uvsr)
        for k in range(4):
            track.last.box[k] = -1.0
        track.last.score = -1.0
        track.id = self.last_id
        track.class_id = dets.class_ids[i]
        track.det = dets.index[i]

    # --- association

    cdef int _associate_left(self, Detections* dets, unsigned char level, int box_of) noexcept nogil:
        # Associates remaining detections of a level and tracks by IoU alone: first the best sum, then the threshold.
        cdef:
            Py_ssize_t n = 0, m = 0, i, j, t, e
            const f64* boxes = self.track_boxes if box_of == PREDICTED else self.last_boxes
            bint any_good = False, one_class = True
            f64 least = max(self.iou_threshold, TINY)
        for i in range(dets.count):
            if dets.track[i] < 0 and self.level[i] == level:
                take_det(&self.part, dets, i, n)
                one_class = one_class and dets.class_ids[i] == self.part.det_class[0]
                n += 1
        if n == 0:
            return 0
        for t in range(self.track_count):
            if self.track_det[t] < 0:
                take_track(&self.part, t, self.track(t).class_id, boxes + 4 * t, m)
                one_class = one_class and self.part.track_class[m] == self.part.det_class[0]
                m += 1
        if m == 0:
            return 0
        if find_edges(&self.work, self.part.det_boxes, n, self.part.track_boxes, m, 0.0) < 0:
            return -1
        if self.class_aware:
            drop_edges_between_classes(&self.work, n, self.part.det_class, self.part.track_class)
        for e in range(self.work.edge_start[n]):
            any_good = any_good or self.work.edges[e].gain > self.iou_threshold
        if not any_good:
            return 0
        if solve_uncontested(&self.work, n, m, 0.0):
            pass
        elif n <= SMALL and m <= SMALL and (one_class or not self.class_aware):
            if self._solve_as_the_authors(dets, n, m, False) < 0:
                return -1
        else:
            solve_sparse(&self.work, n, m)
        for i in range(n):
            j = self.work.row_column[i]
            if 0 <= j < m and gain_of(&self.work, i, j) >= least:
                self._pair(dets, i, j)
        return 0

    cdef int _solve_as_the_authors(
        self, const Detections* dets, Py_ssize_t n, Py_ssize_t m, bint angles
    ) noexcept nogil:
        # Over all pairs. Ties are broken as in the reference. A column from m on stands for none.
        cdef:
            Py_ssize_t k = n if n > m else m, i, j
            f64 gain, score
            f64* cost
        if reserve_cost(&self.work, k, k) < 0:
            return -1
        cost = self.work.cost
        memset(cost, 0, k * k * sizeof(f64))
        for i in range(n):
            score = dets.scores[self.part.det[i]]
            for j in range(m):
                gain = iou_xyxy(self.part.det_boxes + 4 * i, self.part.track_boxes + 4 * j)
                if angles:
                    gain += self._angle_gain(i, j, score)
                cost[i * k + j] = -gain
        solve_dense(&self.work, k)
        return 0

    cdef inline void _pair(self, Detections* dets, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
        dets.track[self.part.det[row]] = self.part.track[column]
        self.track_det[self.part.track[column]] = self.part.det[row]

    cdef int _associate_first(self, Detections* dets) noexcept nogil:
        # Associates each class separately, as if it had a tracker of its own.
        cdef:
            Py_ssize_t first, i, t, n, m
            i64 class_id
        for first in range(dets.count):
            if self.level[first] != HIGH or dets.track[first] != -1:
                continue
            class_id = dets.class_ids[first]
            n = m = 0
            for i in range(first, dets.count):
                if self.level[i] == HIGH and (dets.class_ids[i] == class_id or not self.class_aware):
                    take_det(&self.part, dets, i, n)
                    dets.track[i] = -2
                    n += 1
            for t in range(self.track_count):
                if self.track(t).class_id == class_id or not self.class_aware:
                    take_track(&self.part, t, self.track(t).class_id, self.track_boxes + 4 * t, m)
                    m += 1
            if m > 0 and self._associate_class(dets, n, m) < 0:
                return -1
        for i in range(dets.count):
            dets.track[i] = max(dets.track[i], -1)
        return 0

    cdef int _associate_class(self, Detections* dets, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
        # The best sum of IoU and angle over ALL pairs, also those without overlap, which may gain by their angle. Pairs
        # whose IoU is below the threshold are removed afterwards, so that only the others matter.
        cdef:
            Py_ssize_t i, j, e, good = 0
            bint plain = True
            f64 score
        if find_edges(&self.work, self.part.det_boxes, n, self.part.track_boxes, m, 0.0) < 0:
            return -1
        if (
            grow(<void**>&self.overlaps, &self.overlaps_size, (self.work.edge_start[n] + 1) * sizeof(f64)) < 0
            or grow(<void**>&self.gains, &self.gains_size, (self.work.edge_start[n] + 1) * sizeof(f64)) < 0
        ):
            return -1
        for i in range(n):
            self.row_best[i] = -1
        for j in range(m):
            self.column_best[j] = -1
        for i in range(n):
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                self.overlaps[e] = self.work.edges[e].gain
                if self.overlaps[e] > self.iou_threshold:
                    good += 1
                    j = self.work.edges[e].column
                    plain = plain and self.row_best[i] < 0 and self.column_best[j] < 0
                    self.row_best[i] = <i32>j
                    self.column_best[j] = <i32>i
        # Each has one candidate at most: as in the reference, there is nothing to choose.
        if plain and good:
            for i in range(n):
                if self.row_best[i] >= 0:
                    self._pair(dets, i, self.row_best[i])
            return 0
        for i in range(n):
            score = dets.scores[self.part.det[i]]
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                self.work.edges[e].gain += self._angle_gain(i, self.work.edges[e].column, score)
        return self._solve(dets, n, m)

    cdef inline f64 _angle_gain(self, Py_ssize_t row, Py_ssize_t column, f64 score) noexcept nogil:
        # inertia x score x (90 degrees - angle between the track's direction and that to the detection) / 180.
        cdef:
            const Heading* heading = self.headings + self.part.track[column]
            const f64* box = self.part.det_boxes + 4 * row
        if not heading.known:
            return 0.0
        return angle_gain(
            (box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0, heading.from_x, heading.from_y, heading.dx, heading.dy,
            self.inertia * score,
        )

    cdef int _solve(self, Detections* dets, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
        # A pair without overlap gains or loses at most half of inertia x score. So most pairs are in every best
        # assignment, whatever becomes of the others: those that gain more than their detection and their track could
        # gain elsewhere, plus what the partners left over could lose with each other. These are taken first,
        # repeatedly, and only the remainder needs all pairs.
        cdef:
            Py_ssize_t i, j, e, taken = 1
            f64 most, elsewhere, score, gain
        for i in range(n):
            self.row_open[i] = 1
        for j in range(m):
            self.column_open[j] = 1
        while taken > 0:
            taken = 0
            most = 0.0
            for j in range(m):
                self.column_first[j] = self.column_second[j] = 0.0
                self.column_best[j] = -1
            for i in range(n):
                self.row_first[i] = self.row_second[i] = 0.0
                self.row_best[i] = -1
                if not self.row_open[i]:
                    continue
                most = max(most, 0.5 * self.inertia * dets.scores[self.part.det[i]])
                for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                    j = self.work.edges[e].column
                    gain = self.work.edges[e].gain
                    if self.column_open[j]:
                        note(gain, <i32>j, self.row_first + i, self.row_second + i, self.row_best + i)
                        note(gain, <i32>i, self.column_first + j, self.column_second + j, self.column_best + j)
            for i in range(n):
                j = self.row_best[i]
                if j < 0 or self.column_best[j] != i:
                    continue
                score = dets.scores[self.part.det[i]]
                elsewhere = max(self.row_second[i], 0.5 * self.inertia * score)
                elsewhere += max(self.column_second[j], most if self.headings[self.part.track[j]].known else 0.0)
                if self.row_first[i] > elsewhere + most + ROUNDING:
                    self.row_open[i] = self.column_open[j] = 0
                    taken += 1
                    if self._overlap(i, j) >= self.iou_threshold:
                        self._pair(dets, i, j)
        self._keep_open_edges(n)
        if not self._settle_groups(dets, n, m):
            return 0
        if n > SMALL or m > SMALL:
            return self._solve_rest(dets, n, m)
        if self._solve_as_the_authors(dets, n, m, True) < 0:
            return -1
        for i in range(n):
            j = self.work.row_column[i]
            if self.row_open[i] and j < m and self._overlap(i, j) > 0.0 and self._overlap(i, j) >= self.iou_threshold:
                self._pair(dets, i, j)
        return 0

    cdef void _keep_open_edges(self, Py_ssize_t n) noexcept nogil:
        cdef Py_ssize_t i, e, begin = 0, end, kept = 0
        for i in range(n):
            end = self.work.edge_start[i + 1]
            for e in range(begin, end):
                if self.row_open[i] and self.column_open[self.work.edges[e].column]:
                    self.work.edges[kept] = self.work.edges[e]
                    self.overlaps[kept] = self.overlaps[e]
                    kept += 1
            begin = end
            self.work.edge_start[i + 1] = <i32>kept

    cdef bint _settle_groups(self, Detections* dets, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
        # Solves groups of open detections and tracks that overlap, directly or through others, separately if possible.
        #
        # The best assignment takes some overlapping pairs in each group. What it leaves of all groups is assigned over
        # pairs without overlap, with a sum V. If there are no more detections than tracks, an additional detection
        # changes V by at most `a` = inertia x score / 2 in either direction, and an additional track increases it by
        # at most 2 a and never decreases it. (If at least as many tracks that gain nothing anywhere are available as
        # detections, an additional detection does not decrease V, and an additional track increases it by at most a,
        # or by 0 if it is one of those.) So a group's own best pairs are part of every best assignment if no other
        # pairs of the group are as good, even if each detection and track that these leave out gains that much, and
        # each detection that they add.
        #
        # Returns whether a group with pairs above the threshold remains, for which all pairs must be examined.
        cdef:
            Py_ssize_t i, j, e, rows = 0, columns = 0, idle = 0
            f64 most = 0.0, gain, per_row, per_column
            bint many_idle, left = False
            i32* group = self.column_group
        for j in range(m):
            group[j] = <i32>j
            self.column_best[j] = -1
            self.column_fixed[j] = 0
        for e in range(self.work.edge_start[n]):
            self.column_fixed[self.work.edges[e].column] = 1
        for j in range(m):
            if self.column_open[j]:
                columns += 1
                if not self.column_fixed[j] and not self.headings[self.part.track[j]].known:
                    idle += 1
        for i in range(n):
            if self.row_open[i]:
                rows += 1
                most = max(most, 0.5 * self.inertia * dets.scores[self.part.det[i]])
        solve_sparse(&self.work, n, m)
        for i in range(n):
            self.row_best[i] = self.work.row_column[i]
            if self.row_best[i] >= 0:
                self.column_best[self.row_best[i]] = <i32>i
        many_idle = idle >= rows
        for i in range(n):
            per_row = 0.5 * self.inertia * dets.scores[self.part.det[i]]
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                j = self.work.edges[e].column
                join(group, <i32>j, self.work.edges[self.work.edge_start[i]].column)
                gain = self.work.edges[e].gain
                self.gains[e] = gain
                if self.row_best[i] >= 0:
                    gain -= per_row
                elif not many_idle:
                    gain += per_row
                if self.column_best[j] >= 0:
                    per_column = most if self.headings[self.part.track[j]].known else 0.0
                    gain -= per_column if many_idle else per_column + most
                if self.row_best[i] == j:
                    gain -= ROUNDING
                self.work.edges[e].gain = gain
        solve_sparse(&self.work, n, m)
        for j in range(m):
            self.column_fixed[j] = rows <= columns
        for i in range(n):
            e = self.work.edge_start[i]
            if e < self.work.edge_start[i + 1] and self.work.row_column[i] != self.row_best[i]:
                self.column_fixed[find(group, self.work.edges[e].column)] = 0
        for i in range(n):
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                j = self.work.edges[e].column
                self.work.edges[e].gain = self.gains[e]
                if not self.column_fixed[find(group, <i32>j)]:
                    left = left or self.overlaps[e] >= self.iou_threshold
                elif self.row_best[i] == j:
                    self.row_open[i] = self.column_open[j] = 0
                    if self.overlaps[e] >= self.iou_threshold:
                        self._pair(dets, i, j)
        return left

    cdef inline f64 _overlap(self, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
        cdef Py_ssize_t e
        for e in range(self.work.edge_start[row], self.work.edge_start[row + 1]):
            if self.work.edges[e].column == column:
                return self.overlaps[e]
        return 0.0

    cdef int _solve_rest(self, Detections* dets, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
        # All pairs of what is open. row_best and column_best become indices into the smaller problem.
        cdef:
            Py_ssize_t rows = 0, columns = 0, plain = 0, heading = 0, i, j, e, k
            int solved = 0
            const Heading* each
        for j in range(m):
            self.column_best[j] = -1
        for i in range(n):
            if self.row_open[i]:
                self.row_open[rows] = <i32>i
                rows += 1
                for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                    self.column_best[self.work.edges[e].column] = 0
        for j in range(m):
            if not self.column_open[j]:
                continue
            if self.column_best[j] < 0 and not self.headings[self.part.track[j]].known:
                # Tracks that gain nothing with any detection are equivalent: as many as there are detections suffice.
                plain += 1
                if plain > rows:
                    continue
            self.column_best[j] = <i32>columns
            self.column_open[columns] = <i32>j
            columns += 1
        for k in range(columns):
            each = self.headings + self.part.track[self.column_open[k]]
            self.column_first[k], self.column_second[k] = each.from_x, each.from_y
            self.column_dx[k], self.column_dy[k] = each.dx, each.dy
            heading += each.known
        if heading == 0 or (rows * columns > ALL_PAIRS and rows < columns):
            solved = self._solve_best(dets, rows, columns, heading)
        if solved == 0:
            solved = self._solve_all(dets, rows, columns)
        if solved < 0:
            return -1
        for k in range(rows):
            if self.row_best[k] >= 0:
                i, j = self.row_open[k], self.column_open[self.row_best[k]]
                if self._overlap(i, j) >= self.iou_threshold and self._overlap(i, j) > 0.0:
                    self._pair(dets, i, j)
        return 0

    cdef int _solve_best(
        self, const Detections* dets, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t heading
    ) noexcept nogil:
        # As _solve_all, but only over overlapping pairs and those that gain most by their angle, all below one angle.
        # The solver's final prices prove it optimal if each detection keeps at least as much as any omitted pair could
        # gain: then no such pair is part of a better assignment. Returns 0 if that is not proven. Without any heading,
        # no other pair gains anything.
        cdef:
            Py_ssize_t at, i, k, e, f, found, own, edges = 0
            f64 share = <f64>BEST_PAIRS / max(heading, 1), score, x, y, gain
            const f64* box
            i32* which = self.column_group
            unsigned char* has_edge = self.column_fixed
            Workspace* rest = &self.rest
        if heading > 0 and share > 0.25:
            return 0
        if (
            reserve_solver(rest, rows, columns) < 0
            or grow(<void**>&rest.edge_start, &rest.edge_start_size, (rows + 1) * sizeof(i32)) < 0
        ):
            return -1
        memset(has_edge, 0, columns)
        for at in range(rows):
            i = self.row_open[at]
            score = dets.scores[self.part.det[i]]
            box = self.part.det_boxes + 4 * i
            x, y = (box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0
            found = 0
            if heading > 0:
                found = angle_below(
                    x, y, cos(HALF_TURN * share), self.column_first, self.column_second, self.column_dx, self.column_dy,
                    columns, which,
                )
            own = self.work.edge_start[i + 1] - self.work.edge_start[i]
            if grow(<void**>&rest.edges, &rest.edges_size, (edges + found + own) * sizeof(Edge)) < 0:
                return -1
            rest.edge_start[at] = <i32>edges
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                k = self.column_best[self.work.edges[e].column]
                if k >= 0 and self.column_open[k] == self.work.edges[e].column:
                    rest.edges[edges].column, rest.edges[edges].gain = <i32>k, self.work.edges[e].gain
                    has_edge[k] = 1
                    edges += 1
            for f in range(found):
                k = which[f]
                if not has_edge[k]:
                    gain = angle_gain(
                        x, y, self.column_first[k], self.column_second[k], self.column_dx[k], self.column_dy[k],
                        self.inertia * score,
                    )
                    rest.edges[edges].column, rest.edges[edges].gain = <i32>k, gain
                    edges += 1
            for e in range(rest.edge_start[at], edges):
                has_edge[rest.edges[e].column] = 0
        rest.edge_start[rows] = <i32>edges
        solve_sparse(rest, rows, columns)
        for at in range(rows):
            k = rest.row_column[at]
            self.row_best[at] = <i32>k
            if heading == 0:
                continue
            score = dets.scores[self.part.det[self.row_open[at]]]
            if k < 0 or gain_of(rest, at, k) + rest.potential[k] < self.inertia * score * (0.5 - share) + ROUNDING:
                return 0
        return 1

    cdef int _solve_all(self, const Detections* dets, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
        # Over all pairs: row_best becomes the column of each row. Returns 1, or -1 without memory.
        cdef:
            Py_ssize_t i, e, at, k, step_i, step_j
            f64* gains = self.column_gains
            f64* cost
            const f64* box
            # The solver requires no more rows than columns.
            bint turned = rows > columns
        step_i = 1 if turned else columns
        step_j = rows if turned else 1
        if reserve_cost(&self.work, rows, columns) < 0:
            return -1
        cost = self.work.cost
        for at in range(rows):
            i = self.row_open[at]
            box = self.part.det_boxes + 4 * i
            angle_gains(
                (box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0, self.inertia * dets.scores[self.part.det[i]],
                self.column_first, self.column_second, self.column_dx, self.column_dy, columns, gains,
            )
            for k in range(columns):
                cost[at * step_i + k * step_j] = -gains[k]
            for e in range(self.work.edge_start[i], self.work.edge_start[i + 1]):
                k = self.column_best[self.work.edges[e].column]
                if k >= 0 and self.column_open[k] == self.work.edges[e].column:
                    cost[at * step_i + k * step_j] = -self.work.edges[e].gain
        solve_rectangle(&self.work, min(rows, columns), max(rows, columns))
        for at in range(rows):
            self.row_best[at] = self.work.column_row[at] if turned else self.work.row_column[at]
        return 1

    # --- the returned rows

    cdef void _report_and_retire(self) noexcept nogil:
        cdef:
            Py_ssize_t t, kept = 0
            Track* track
        for t in range(self.track_count):
            track = self.track(t)
            # Young tracks are reported only in the first frames, in which no track can be old.
            if track.misses > 0 or (track.streak < self.min_hits and self.frame_count > self.min_hits):
                track.det = -1
            if track.missed <= self.max_age:
                if kept < t:
                    memcpy(self.track(kept), track, self.track_bytes)
                kept += 1
        self.track_count = kept
        self._write_rows()

    cdef void _write_rows(self) noexcept nogil:
        self._write_rows_of(False)

    cdef void _write_rows_of(self, bint predicted) noexcept nogil:
        # From the last track to the first, as in the reference.
        cdef:
            Py_ssize_t t, row = 0
            Track* track
        for t in range(self.track_count - 1, -1, -1):
            track = self.track(t)
            if track.det >= 0:
                if predicted or sum_of(&track.last) < 0.0:
                    filter_box(&track.filter, self.rows + 5 * row)
                else:
                    memcpy(self.rows + 5 * row, track.last.box, 4 * sizeof(f64))
                self.rows[5 * row + 4] = <f64>track.id
                self.matches[row] = track.det
                row += 1
        self.row_count = row


cdef inline void note(f64 gain, i32 which, f64* first, f64* second, i32* best) noexcept nogil:
    # Keeps the two largest gains, and the index of the largest.
    if gain > first[0]:
        second[0] = first[0]
        first[0], best[0] = gain, which
    elif gain > second[0]:
        second[0] = gain


cdef inline i32 find(i32* group, i32 which) noexcept nogil:
    # The root of a group (union-find with path halving).
    while group[which] != which:
        group[which] = group[group[which]]
        which = group[which]
    return which


cdef inline void join(i32* group, i32 a, i32 b) noexcept nogil:
    a, b = find(group, a), find(group, b)
    if a < b:
        group[b] = a
    else:
        group[a] = b


cdef inline f64 sum_of(const Observation* seen) noexcept nogil:
    return seen.box[0] + seen.box[1] + seen.box[2] + seen.box[3] + seen.score


cdef inline void measure(const f64* box, f64* uvsr) noexcept nogil:
    # As in the reference, the aspect is slightly too small.
    cdef:
        f64 w = box[2] - box[0]
        f64 h = box[3] - box[1]
    uvsr[0] = box[0] + w / 2.0
    uvsr[1] = box[1] + h / 2.0
    uvsr[2] = w * h
    uvsr[3] = w / (h + 1e-6)
