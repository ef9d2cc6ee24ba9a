"""SORT written from the paper (Bewley et al. 2016, arXiv 1602.00763) with filterpy and SciPy.

The state is (centre x, centre y, area, aspect, and the speeds of the first three); the noise is that of the authors'
program. Boxes of different classes are never matched, as in the engine.
"""

import numpy as np
from filterpy.kalman import KalmanFilter
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]


def measured(box: Array) -> Array:
    """x1 y1 x2 y2 -> (4, 1) centre x, centre y, area, aspect."""
    width, height = box[2] - box[0], box[3] - box[1]
    return np.array([[box[0] + width / 2], [box[1] + height / 2], [width * height], [width / height]])


def box_of(state: Array) -> Array:
    """Return the state's x1 y1 x2 y2."""
    x, y, area, aspect = state[:4, 0]
    width = np.sqrt(area * aspect)
    height = area / width
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


class _Track:
    def __init__(self, number: int, box: Array, class_id: int) -> None:
        self.number = number
        self.class_id = class_id
        self.unseen = 0
        self.hits_in_a_row = 0
        self._filter = KalmanFilter(dim_x=7, dim_z=4)
        self._filter.F = np.eye(7) + np.eye(7, k=4)
        self._filter.H = np.eye(4, 7)
        self._filter.R = np.diag([1.0, 1.0, 10.0, 10.0])
        self._filter.P = np.diag([10.0, 10.0, 10.0, 10.0, 1e4, 1e4, 1e4])
        self._filter.Q = np.diag([1.0, 1.0, 1.0, 1.0, 1e-2, 1e-2, 1e-4])
        self._filter.x[:4] = measured(box)

    def predict(self) -> Array:
        state = self._filter.x
        if state[2, 0] + state[6, 0] <= 0:
            state[6, 0] = 0.0
        self._filter.predict()
        if self.unseen:
            self.hits_in_a_row = 0
        self.unseen += 1
        return self.box()

    def update(self, box: Array) -> None:
        self.unseen = 0
        self.hits_in_a_row += 1
        self._filter.update(measured(box))

    def box(self) -> Array:
        return box_of(self._filter.x)


class ReferenceSort:
    """The parameters are those of the engine's configuration, with the same defaults."""

    def __init__(self, max_age: int = 10, min_hits: int = 3, iou_threshold: float = 0.3) -> None:
        self.max_age, self.min_hits, self.iou_threshold = max_age, min_hits, iou_threshold
        self._tracks: list[_Track] = []
        self._frames = 0
        self._numbers = 0

    def update(self, boxes: Array, class_ids: NDArray[np.int64]) -> list[tuple[int, Array]]:
        """One frame's boxes (N, 4) xyxy and classes (N,) -> (track id, its box) of every track to report."""
        self._frames += 1
        expected = np.array([track.predict() for track in self._tracks]).reshape(-1, 4)
        good = np.isfinite(expected).all(axis=1)
        self._tracks = [track for track, keep in zip(self._tracks, good, strict=True) if keep]
        overlaps = iou(boxes, expected[good])
        overlaps[class_ids[:, None] != np.array([track.class_id for track in self._tracks], int)[None, :]] = 0
        matched = set()
        for i, j in zip(*linear_sum_assignment(-overlaps), strict=True):
            if overlaps[i, j] >= self.iou_threshold and overlaps[i, j] > 0:
                self._tracks[j].update(boxes[i])
                matched.add(i)
        for i in range(len(boxes)):
            if i not in matched:
                self._numbers += 1
                self._tracks.append(_Track(self._numbers, boxes[i], int(class_ids[i])))
        reported = [(track.number, track.box()) for track in self._tracks if self._counts(track)]
        self._tracks = [track for track in self._tracks if track.unseen <= self.max_age]
        return reported

    def _counts(self, track: _Track) -> bool:
        return track.unseen == 0 and (track.hits_in_a_row >= self.min_hits or self._frames <= self.min_hits)


def iou(a: Array, b: Array) -> Array:
    """(N, 4), (M, 4) xyxy -> (N, M)."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.clip(np.minimum(a[:, None, 2:], b[None, :, 2:]) - corner, 0, None).prod(axis=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    return np.asarray(shared / (area_a[:, None] + area_b[None, :] - shared))
