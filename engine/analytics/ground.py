"""From the frame to the ground: a homography fitted to points in metres, and speeds along a path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import Floats, Point
from engine.errors import ConfigError

# Depths are shares of the points' own; a share below this is a millionfold distance.
_HORIZON = 1e-6


class Ground(NamedTuple):
    """A plane homography (3, 3) from pixels to metres, and the RMS error of its points in metres."""

    matrix: NDArray[np.float64]
    residual_m: float

    @classmethod
    def fit(cls, image: Sequence[Point], metres: Sequence[Point], size_wh: tuple[int, int] = (1, 1)) -> Ground:
        """Fit by the normalised direct linear transform (Hartley and Zisserman, 2004, algorithm 4.2). Raises
        ConfigError if the points do not determine a map, or one whose horizon runs between them."""
        source = np.array(image, dtype=np.float64) * size_wh
        target = np.array(metres, dtype=np.float64)
        (a, from_source), (b, from_target) = _normalised(source), _normalised(target)
        rows = []
        for (x, y), (u, v) in zip(a, b, strict=True):
            rows += [[-x, -y, -1, 0, 0, 0, u * x, u * y, u], [0, 0, 0, -x, -y, -1, v * x, v * y, v]]
        _, sizes, vectors = np.linalg.svd(np.array(rows))
        matrix = np.linalg.inv(from_target) @ vectors[-1].reshape(3, 3) @ from_source
        depths = source @ matrix[2, :2] + matrix[2, 2]
        if len(sizes) < 8 or sizes[7] < 1e-9 * sizes[0] or depths.min() <= 0 <= depths.max():
            raise ConfigError(
                "no camera sees these points of a plane like this: image and metres need the same order, and four "
                "points of which no three are on one line"
            )
        ground = cls(matrix / depths.mean(), 0.0)
        away = ground.metres(source) - target
        return cls(ground.matrix, float(np.sqrt((away**2).sum(axis=1).mean())))

    def metres(self, points: Floats) -> Floats:
        """Map (N, 2) pixels to (N, 2) metres; NaN for those that are not below the horizon."""
        mapped = np.column_stack((points, np.ones(len(points)))) @ self.matrix.T
        mapped[mapped[:, 2] <= _HORIZON] = np.nan
        return np.asarray(mapped[:, :2] / mapped[:, 2:])


def speed_m_s(times_s: Floats, metres: Floats) -> float | None:
    """Return the speed along a path: the median slope of distance over time (Theil-Sen), which is robust to single
    jumps of a box. None for fewer than three moments."""
    if len(times_s) < 3 or times_s[-1] <= times_s[0]:
        return None
    way = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(metres, axis=0).T))))
    first, second = np.triu_indices(len(times_s), 1)
    spans = times_s[second] - times_s[first]
    return float(np.median((way[second] - way[first])[spans > 0] / spans[spans > 0]))


def _normalised(points: Floats) -> tuple[Floats, Floats]:
    """Shift and scale to centroid 0 and mean distance sqrt(2)."""
    centre = points.mean(axis=0)
    spread = np.hypot(*(points - centre).T).mean()
    if spread == 0:
        raise ConfigError("the points must differ")
    scale = np.sqrt(2) / spread
    matrix = np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])
    return (points - centre) * scale, matrix
