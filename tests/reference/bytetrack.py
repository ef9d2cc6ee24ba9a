"""NumPy twin of ByteTrack, as its paper and the behaviour of its authors' program describe it."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from tests.reference.kalman import NoisyFilter


def noise(x):
    """Everything grows with the height but the aspect, which is nearly still."""
    h = x[3]
    return (
        np.array([h / 20, h / 20, 1e-2, h / 20]),
        np.array([h / 160, h / 160, 1e-5, h / 160]),
        np.array([h / 20, h / 20, 1e-1, h / 20]),
    )


def centre_aspect_height(box):
    w, h = box[2] - box[0], box[3] - box[1]
    return np.array([box[0] + w / 2, box[1] + h / 2, w / h, h])


def iou_of_pixels(a, b):
    """IoU of boxes whose last column and row belong to them."""
    a, b = a[:, None], b[None]
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    overlap = np.where((size > 0).all(-1), size.prod(-1), 0.0)
    areas = (a[..., 2:4] - a[..., :2] + 1).prod(-1) + (b[..., 2:4] - b[..., :2] + 1).prod(-1)
    return overlap / (areas - overlap)


def gated_assignment(cost, limit):
    """Pairs of the least sum, in which a row or a column without a partner costs half of the limit."""
    n, m = cost.shape
    whole = np.full((n + m, n + m), limit / 2)
    whole[:n, :m] = cost
    whole[n:, m:] = 0.0
    return [(i, j) for i, j in zip(*linear_sum_assignment(whole), strict=True) if i < n and j < m]


@dataclass(eq=False)
class Track:
    filter: NoisyFilter
    id: int
    start: float
    last: float
    confirmed: bool
    det: int
    lost: bool = False

    def box(self):
        u, v, a, h = self.filter.x[:4]
        return np.array([u - a * h / 2, v - h / 2, u + a * h / 2, v + h / 2])


class ByteTracker:
    def __init__(self, track_thresh=0.5, match_thresh=0.8, track_buffer=30, frame_rate=30, mot20=False):
        self.track_thresh, self.match_thresh, self.fused = track_thresh, match_thresh, not mot20
        self.max_lost = int(frame_rate / 30 * track_buffer)
        self.tracked, self.lost = [], []
        self.expired = set()  # ids of tracks that were lost for too long
        self.updates = self.last_id = 0
        self.now = 0.0

    def update(self, dets, dt=1):
        self.updates += 1
        self.now += dt
        self.dets = np.asarray(dets, float).reshape(-1, 5)
        scores = self.dets[:, 4]
        high = np.flatnonzero(scores > self.track_thresh).tolist()
        low = np.flatnonzero((scores > 0.1) & (scores < self.track_thresh)).tolist()
        confirmed = [t for t in self.tracked if t.confirmed]
        unconfirmed = [t for t in self.tracked if not t.confirmed]
        for track in confirmed + self.lost:
            if track.lost:
                track.filter.x[7] = 0.0
            track.filter.predict(dt)

        refound = []
        left, high = self._match(confirmed + self.lost, high, self.fused, self.match_thresh, refound)
        left, _ = self._match([t for t in left if not t.lost], low, False, 0.5, refound)
        gone, high = self._match(unconfirmed, high, self.fused, 0.7, refound)

        for track in left:
            track.lost = True
        self.tracked = [t for t in self.tracked if not t.lost and t not in gone]
        for i in high:
            if scores[i] >= self.track_thresh + 0.1:
                self.last_id += 1
                new = NoisyFilter(centre_aspect_height(self.dets[i]), noise, (2, 10))
                new.p[[2, 6], [2, 6]] = 1e-4, 1e-10
                self.tracked.append(Track(new, self.last_id, self.now, self.now, self.updates == 1, i))
        still_lost = [t for t in self.lost if t.lost]
        self.tracked += refound
        self.lost = [t for t in still_lost + left if t.id not in self.expired]
        self.expired |= {t.id for t in still_lost if self.now - t.last > self.max_lost}
        self._drop_duplicates()
        reported = [t for t in self.tracked if t.confirmed]
        self.last_matches = np.array([t.det for t in reported], np.intp)
        return np.array([np.r_[t.box(), t.id] for t in reported]).reshape(-1, 5)

    def _match(self, tracks, dets, fused, limit, refound):
        """Tracks and detections that one stage leaves over."""
        if not tracks or not dets:
            return tracks, dets
        similarity = iou_of_pixels(np.array([t.box() for t in tracks]), self.dets[dets, :4])
        if fused:
            similarity = similarity * self.dets[dets, 4]
        pairs = gated_assignment(1 - similarity, limit)
        for i, j in pairs:
            track = tracks[i]
            track.filter.update(centre_aspect_height(self.dets[dets[j]]))
            track.last, track.det, track.confirmed = self.now, dets[j], True
            if track.lost:
                refound.append(track)
                track.lost = False
        rows, columns = {i for i, _ in pairs}, {j for _, j in pairs}
        return (
            [t for i, t in enumerate(tracks) if i not in rows],
            [d for j, d in enumerate(dets) if j not in columns],
        )

    def _drop_duplicates(self):
        if not self.tracked or not self.lost:
            return
        distance = 1 - iou_of_pixels(np.array([t.box() for t in self.tracked]), np.array([t.box() for t in self.lost]))
        drop = set()
        for i, j in zip(*np.where(distance < 0.15), strict=True):
            tracked, lost = self.tracked[i], self.lost[j]
            drop.add(lost if tracked.last - tracked.start > lost.last - lost.start else tracked)
        self.tracked = [t for t in self.tracked if t not in drop]
        self.lost = [t for t in self.lost if t not in drop]
