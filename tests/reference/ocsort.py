"""NumPy twin of OC-SORT, as its paper and the behaviour of its authors' program describe it."""

import copy

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.reference.kalman import BoxFilter
from tests.reference.sort import iou_matrix

NOTHING = np.full(5, -1.0)  # for an observation that was never made


def centre_area_aspect(box):
    w, h = box[2] - box[0], box[3] - box[1]
    return np.array([box[0] + w / 2, box[1] + h / 2, w * h, w / (h + 1e-6)])


def centres(boxes):
    """(y, x) of each."""
    return (boxes[..., [1, 0]] + boxes[..., [3, 2]]) / 2


def direction(a, b):
    """(y, x) from the centre of one box to that of another, of a length just below 1."""
    way = centres(b) - centres(a)
    return way / (np.sqrt((way**2).sum()) + 1e-6)


class Track:
    def __init__(self, track_id, det, index):
        self.id, self.det = track_id, index
        self.filter, self.saved, self.measured = BoxFilter(centre_area_aspect(det)), None, None
        self.observations = []  # (time, detection), but for the first
        self.velocity = np.zeros(2)
        self.streak = self.missed = self.misses = 0

    @property
    def last(self):
        return self.observations[-1][1] if self.observations else NOTHING

    def earlier(self, now, delta_t):
        """The oldest observation of the last delta_t steps, else the last one."""
        return next((det for time, det in self.observations if now - time <= delta_t), self.last)

    def observe(self, det, index, now, delta_t):
        if self.last.sum() >= 0:
            self.velocity = direction(self.earlier(now, delta_t), det)
        z = centre_area_aspect(det)
        if self.misses and self.saved is not None:
            self.replay(z, now)
        else:
            self.measured = z
        self.filter.update(z)
        self.observations.append((now, det))
        self.streak, self.missed, self.misses, self.det = self.streak + 1, 0, 0, index

    def replay(self, z, now):
        """Filters anew what a straight line between the last and the new observation would have shown."""

        def sizes(uvsr):
            return np.array([*uvsr[:2], np.sqrt(uvsr[2] * uvsr[3]), np.sqrt(uvsr[2] / uvsr[3])])

        self.filter, saved_at = self.saved
        last_at = self.observations[-1][0]
        per_step = (sizes(z) - sizes(self.measured)) / (now - last_at)
        step = (now - saved_at) // self.misses
        for k in range(self.misses + 1):
            if k:
                self.filter.move(step)
            u, v, w, h = sizes(self.measured) + (saved_at - last_at + k * step) * per_step
            between = np.array([u, v, w * h, w / h])
            self.filter.update(between)
        self.measured, self.saved = between, None

    def miss(self, now):
        if self.misses == 0 and self.observations:
            self.saved = copy.deepcopy(self.filter), now
        self.misses += 1


class OCSortTracker:
    def __init__(
        self, det_thresh=0.6, max_age=30, min_hits=3, iou_threshold=0.3, delta_t=3, inertia=0.2, use_byte=False
    ):
        self.det_thresh, self.max_age, self.min_hits, self.iou_threshold = det_thresh, max_age, min_hits, iou_threshold
        self.delta_t, self.inertia, self.use_byte = delta_t, inertia, use_byte
        self.tracks, self.updates, self.last_id, self.now = [], 0, 0, 0

    def update(self, dets, dt=1):
        self.updates += 1
        self.now += dt
        self.dets = dets = np.asarray(dets, float).reshape(-1, 5)
        for track in self.tracks:
            track.filter.predict(dt)
            track.streak = 0 if track.misses else track.streak
            track.missed += dt
        self.tracks = [t for t in self.tracks if np.isfinite(t.filter.box()).all()]
        predicted = [t.filter.box() for t in self.tracks]
        last = [t.last[:4] for t in self.tracks]
        high = np.flatnonzero(dets[:, 4] > self.det_thresh).tolist()
        low = np.flatnonzero((dets[:, 4] > 0.1) & (dets[:, 4] < self.det_thresh)).tolist()

        tracks = list(range(len(self.tracks)))
        high, tracks = self._take(self._pairs_by_angle(high, predicted), high, tracks)
        if self.use_byte:
            low, tracks = self._take(self._pairs_left(low, tracks, predicted), low, tracks)
        high, tracks = self._take(self._pairs_left(high, tracks, last), high, tracks)
        for j in tracks:
            self.tracks[j].miss(self.now)
        for i in high:
            self.last_id += 1
            self.tracks.append(Track(self.last_id, dets[i], i))
        reported = [
            t
            for t in reversed(self.tracks)
            if t.misses == 0 and (t.streak >= self.min_hits or self.updates <= self.min_hits)
        ]
        self.tracks = [t for t in self.tracks if t.missed <= self.max_age]
        self.last_matches = np.array([t.det for t in reported], np.intp)
        rows = [np.r_[t.filter.box() if t.last.sum() < 0 else t.last[:4], t.id] for t in reported]
        return np.array(rows).reshape(-1, 5)

    def _take(self, pairs, dets, tracks):
        for i, j in pairs:
            self.tracks[j].observe(self.dets[i], i, self.now, self.delta_t)
        rows, columns = {i for i, _ in pairs}, {j for _, j in pairs}
        return [i for i in dets if i not in rows], [j for j in tracks if j not in columns]

    def _pairs_by_angle(self, dets, boxes):
        if not dets or not boxes:
            return []
        iou = iou_matrix(self.dets[dets, :4], np.array(boxes))
        good = iou > self.iou_threshold
        if good.any() and good.sum(0).max() == good.sum(1).max() == 1:
            return [(dets[i], j) for i, j in zip(*np.where(good), strict=True)]
        earlier = np.array([track.earlier(self.now, self.delta_t) for track in self.tracks])
        ways = centres(self.dets[dets])[:, None] - centres(earlier)[None]
        ways /= np.sqrt((ways**2).sum(axis=-1, keepdims=True)) + 1e-6
        velocities = np.array([track.velocity for track in self.tracks])
        turn = np.arccos(np.clip((ways * velocities).sum(axis=-1), -1, 1))
        angle = (np.pi / 2 - turn) / np.pi * self.inertia * self.dets[dets, 4][:, None]
        pairs = zip(*linear_sum_assignment(-(iou + angle)), strict=True)
        return [(dets[i], j) for i, j in pairs if iou[i, j] >= self.iou_threshold and iou[i, j] > 0]

    def _pairs_left(self, dets, tracks, boxes):
        if not dets or not tracks:
            return []
        iou = iou_matrix(self.dets[dets, :4], np.array(boxes)[tracks])
        if iou.max() <= self.iou_threshold:
            return []
        pairs = zip(*linear_sum_assignment(-iou), strict=True)
        return [(dets[i], tracks[j]) for i, j in pairs if iou[i, j] >= self.iou_threshold and iou[i, j] > 0]
