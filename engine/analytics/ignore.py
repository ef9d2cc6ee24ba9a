"""Regions to ignore: boxes whose centre is in one are dropped before tracking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import Point, Polygon
from engine.records import Detections

if TYPE_CHECKING:
    from engine.analytics.scene import Scene


class IgnoreRegions:
    """The regions to ignore in one video. Thread-safe."""

    def __init__(self, polygons: Sequence[tuple[Point, ...]]) -> None:
        self._polygons = tuple(polygons)
        self._shapes: dict[tuple[int, int], list[Polygon]] = {}

    @classmethod
    def of(cls, scene: Scene | None) -> IgnoreRegions | None:
        """Build from a scene; None if it has no such regions."""
        return cls([region.polygon for region in scene.ignore]) if scene is not None and scene.ignore else None

    def filtered(self, found: Detections, size_wh: tuple[int, int]) -> Detections:
        """Return the detections of an upright frame whose centres are outside all regions."""
        if not len(found):
            return found
        kept = ~self.cover(found.boxes_xyxy.astype(np.float64), size_wh)
        if kept.all():
            return found
        return replace(
            found,
            boxes_xyxy=found.boxes_xyxy[kept],
            scores=found.scores[kept],
            class_ids=found.class_ids[kept],
        )

    def cover(self, boxes_xyxy: NDArray[np.float64], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (N,) bool: which of the (N, 4) boxes in an upright frame have their centre in a region."""
        if (shapes := self._shapes.get(size_wh)) is None:
            shapes = self._shapes[size_wh] = [Polygon(points, size_wh, "centre", 0.0) for points in self._polygons]
        covered: NDArray[np.bool_] = np.logical_or.reduce([shape.inside(boxes_xyxy)[0] for shape in shapes])
        return covered
