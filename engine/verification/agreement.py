"""How far two ways to compute the same model agree on the same images: the cost of a faster precision, in its own
terms.

Two boxes agree if they have the same class and an IoU of at least `IOU`; boxes are matched one to one, best scores
first. The figure is F1: twice the number of matches over the number of boxes of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.records import Detections
from engine_ext.geometry import iou_matrix

IOU = 0.8


@dataclass
class Agreement:
    """Counts so far: boxes of either side, and how many agree."""

    agreeing: int = 0
    ours: int = 0
    theirs: int = 0

    def add(self, one: Detections, other: Detections) -> None:
        """Compare two sets of detections of the same image, each sorted by score, best first."""
        self.ours += len(one)
        self.theirs += len(other)
        if not len(one) or not len(other):
            return
        overlaps = iou_matrix(one.boxes_xyxy.astype(np.float64), other.boxes_xyxy.astype(np.float64))
        overlaps[one.class_ids[:, None] != other.class_ids[None, :]] = 0.0
        for row in overlaps:
            best = int(np.argmax(row))
            if row[best] >= IOU:
                overlaps[:, best] = 0.0
                self.agreeing += 1

    @property
    def f1(self) -> float:
        """F1 in [0, 1]; 1 if neither side has a box."""
        boxes = self.ours + self.theirs
        return 2 * self.agreeing / boxes if boxes else 1.0
