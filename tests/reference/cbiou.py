"""NumPy twin of C-BIoU, as its paper and the behaviour of the package trackers 2.6.1 describe it."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.reference.kalman import NoisyFilter
from tests.reference.sort import iou_matrix


def noise(x):
    """Along x it grows with the width, along y with the height."""
    size = np.tile(x[2:4], 2)
    return size / 20, size / 160, size / 20


def centre_size(box):
    size = box[2:4] - box[:2]
    return np.r_[box[:2] + size / 2, size]


def buffered(boxes, ratio):
    margin = ratio * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)


@dataclass(eq=False)
class Track:
    filter: NoisyFilter
    id: int | None
    last: np.ndarray
    det: int
    hits: int = 1
    missed: float = 0.0
    found: bool = True

    def keep_positive(self):
        self.filter.x[2:4] = np.maximum(self.filter.x[2:4], 1e-3)

    def box(self):
        centre, size = self.filter.x[:2], self.filter.x[2:4]
        return np.r_[centre - size / 2, centre + size / 2]


class CBIoUTracker:
    def __init__(
        self,
        lost=30,
        fps=30.0,
        start=0.7,
        hits=2,
        least_first=0.2,
        least_second=0.5,
        least_unconfirmed=0.3,
        high=0.6,
        instant=True,
        ratio_first=0.3,
        ratio_second=0.5,
    ):
        self.max_lost = max(1, math.ceil(fps / 30 * lost))
        self.start, self.hits, self.high, self.instant = start, hits, high, instant
        self.least, self.ratio = (least_first, least_second, least_unconfirmed), (ratio_first, ratio_second)
        self.tracks, self.updates, self.last_id = [], 0, 0

    def update(self, dets, dt=1):
        self.updates += 1
        self.dets = np.asarray(dets, float).reshape(-1, 5)
        scores = self.dets[:, 4]
        high = np.flatnonzero(scores >= self.high).tolist()
        low = np.flatnonzero((scores > 0.1) & (scores < self.high)).tolist()
        confirmed, unconfirmed = [], []
        for track in self.tracks:
            track.filter.predict(dt)
            track.keep_positive()
            track.missed += dt
            (confirmed if track.id is not None or track.hits >= self.hits else unconfirmed).append(track)
        recent = {id(t) for t in confirmed if t.found}
        for track in self.tracks:
            track.found = False

        left, high = self._match(confirmed, high, self.ratio[0], True, self.least[0])
        self._match([t for t in left if id(t) in recent], low, self.ratio[1], False, self.least[1])
        gone, high = self._match(unconfirmed, high, self.ratio[0], True, self.least[2])
        self.tracks = [t for t in self.tracks if t not in gone and t.missed <= self.max_lost]
        for i in high:
            if scores[i] >= self.start:
                new = NoisyFilter(centre_size(self.dets[i]), noise, (2, 10))
                first = self._next_id() if self.instant and self.updates == 1 else None
                self.tracks.append(Track(new, first, self.dets[i, :4], i))
        reported = [t for t in self.tracks if t.found and t.id is not None]
        self.last_matches = np.array([t.det for t in reported], np.intp)
        return np.array([np.r_[t.last, t.id] for t in reported]).reshape(-1, 5)

    def _match(self, tracks, dets, ratio, fused, least):
        """Tracks and detections that one stage leaves over."""
        if not tracks or not dets:
            return tracks, dets
        boxes = np.array([t.box() for t in tracks])
        similarity = iou_matrix(buffered(boxes, ratio), buffered(self.dets[dets, :4], ratio)).astype(np.float32)
        if fused:
            similarity = similarity * self.dets[dets, 4]
        else:
            least = np.float32(least)
        pairs = [
            p
            for p in zip(*linear_sum_assignment(similarity, maximize=True), strict=True)
            if similarity[p] >= least and similarity[p] > 0
        ]
        for i, j in pairs:
            track = tracks[i]
            track.filter.update(centre_size(self.dets[dets[j]]))
            track.keep_positive()
            track.last, track.det = self.dets[dets[j], :4], dets[j]
            track.hits, track.missed, track.found = track.hits + 1, 0.0, True
            if track.id is None and track.hits >= self.hits:
                track.id = self._next_id()
        rows, columns = {i for i, _ in pairs}, {j for _, j in pairs}
        return (
            [t for i, t in enumerate(tracks) if i not in rows],
            [d for j, d in enumerate(dets) if j not in columns],
        )

    def _next_id(self):
        self.last_id += 1
        return self.last_id
