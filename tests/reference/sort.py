"""NumPy twin of the tracker: SORT as its paper and the behaviour of its authors' program describe it."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.reference.assignment import linear_assignment
from tests.reference.kalman import BoxFilter, xyxy_to_uvsr

SMALL = 64  # above it the order of equally good assignments is not the authors' any more


def iou_matrix(a, b):
    a, b = a[:, None], b[None]
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    overlap = np.where((size > 0).all(-1), size.prod(-1), 0.0)
    areas = (a[..., 2:4] - a[..., :2]).prod(-1) + (b[..., 2:4] - b[..., :2]).prod(-1)
    return overlap / (areas - overlap)


def associate(dets, tracks, threshold):
    """Matches {detection: track}, then the detections never assigned, and those the threshold rejected."""
    n, m = len(dets), len(tracks)
    if n == 0 or m == 0:
        return {}, list(range(n)), []
    iou = iou_matrix(dets, tracks)
    good = iou > threshold
    if good.sum(1).max() == 1 and good.sum(0).max() == 1:
        pairs = list(zip(*np.where(good), strict=True))
    elif max(n, m) <= SMALL:
        pairs = linear_assignment(-iou)
    else:
        pairs = [p for p in zip(*linear_sum_assignment(-iou), strict=True) if iou[p] > max(0, threshold - 1e-12)]
    matches = {i: j for i, j in pairs if iou[i, j] >= threshold and iou[i, j] > 0}
    rejected = [i for i, j in pairs if i not in matches]
    return matches, sorted(set(range(n)) - set(matches) - set(rejected)), rejected


class Track:
    def __init__(self, track_id, class_id, det, uvsr):
        self.id, self.class_id, self.det, self.filter = track_id, class_id, det, BoxFilter(uvsr)
        self.streak = self.missed = 0
        self.reported = False


class SortTracker:
    def __init__(self, max_age=1, min_hits=3, iou_threshold=0.3):
        self.max_age, self.min_hits, self.iou_threshold = max_age, min_hits, iou_threshold
        self.tracks, self.frames, self.last_id = [], 0, 0

    def update(self, dets, class_ids=None, dt=1):
        self.frames += 1
        for track in self.tracks:
            track.filter.predict(dt)
            track.streak = 0 if track.missed else track.streak
            track.missed += dt
        usable = [i for i, d in enumerate(dets) if np.isfinite(d[:4]).all() and d[2] > d[0] and d[3] > d[1]]
        class_ids = np.zeros(len(dets), int) if class_ids is None else class_ids
        never, rejected = [], []
        for class_id in sorted({int(class_ids[i]) for i in usable}):
            index = [i for i in usable if class_ids[i] == class_id]
            tracks = [t for t in self.tracks if t.class_id == class_id]
            boxes = np.array([t.filter.box() for t in tracks]).reshape(-1, 4)
            matches, *unmatched = associate(dets[index, :4], boxes, self.iou_threshold)
            for i, j in matches.items():
                track, track_det = tracks[j], index[i]
                track.filter.update(xyxy_to_uvsr(dets[track_det]))
                track.missed, track.streak, track.det = 0, track.streak + 1, track_det
            never += [index[i] for i in unmatched[0]]
            rejected += [index[i] for i in unmatched[1]]
        for i in sorted(never) + sorted(rejected):
            self.last_id += 1
            self.tracks.append(Track(self.last_id, int(class_ids[i]), i, xyxy_to_uvsr(dets[i])))
        for t in self.tracks:
            t.reported = t.missed == 0 and (t.streak >= self.min_hits or self.frames <= self.min_hits)
        self.tracks = [t for t in self.tracks if t.missed <= self.max_age]
        return self._answer()

    def predict(self):
        for track in self.tracks:
            track.filter.predict()
        return self._answer()

    @property
    def last_matches(self):
        return np.array([t.det for t in reversed(self.tracks) if t.reported], np.intp)

    def _answer(self):
        rows = [np.r_[t.filter.box(), t.id] for t in reversed(self.tracks) if t.reported]
        return np.array(rows).reshape(-1, 5)
