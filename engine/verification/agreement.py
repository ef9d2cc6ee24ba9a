"""How far two ways to compute the same model agree on the same images: what a faster precision costs, in its own terms.

Two boxes agree where they have the same class and overlap by `IOU`, each with one other at most, best scores first. The
figure is F1: twice the agreeing boxes over all boxes of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.records import Detections
from engine_ext.geometry import iou_matrix

IOU = 0.8


@dataclass
class Agreement:
    """Boxes of the one and of the other way so far, and how many of them agree."""

    agreeing: int = 0
    ours: int = 0
    theirs: int = 0

    def add(self, one: Detections, other: Detections) -> None:
        """Compare two answers for the same image, each best score first."""
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
        """In [0, 1]; 1 where neither has a box."""
        boxes = self.ours + self.theirs
        return 2 * self.agreeing / boxes if boxes else 1.0
