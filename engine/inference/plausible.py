"""Checks on the first frames with boxes whether a model's output can be of its declared layout.

Decoding an output with the wrong layout rarely fails: it gives boxes without area, of the whole frame, or hundreds of
times the same one. Such signs are counted in the raw boxes, before NMS. They are unambiguous: no camera's images make a
correctly decoded detector show them in every frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.records import Signs

LOOKED_AT = 600
"""The number of inferred frames, from the beginning of a stream, in which signs are counted."""

_FRAMES = 10  # frames with boxes, after which there is a verdict
_MIN_BOXES = 10  # over these frames: fewer prove nothing
_MIN_SCORE = 0.05
_MAX_SCORE = 1.05  # quantized models slightly exceed 1
_CORNER_PX = 4.0  # normalised or raw numbers taken for pixels are all within this
_EMPTY_PX = 1.0
_VAST = 1.5  # sides of a box, relative to the model's input
_HUNDREDS = 200


def signs_of(
    layout: str, boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], input_hw: tuple[int, int]
) -> Signs:
    """Count the signs in a frame's boxes, (K, 4) and (K,), with a noticeable score: with conf 0, padding rows of a
    fixed-size output pass, too."""
    if scores.min(initial=1) < _MIN_SCORE:
        boxes_xyxy, scores = boxes_xyxy[scores >= _MIN_SCORE], scores[scores >= _MIN_SCORE]
    count = len(scores)
    if not count:
        return Signs(layout, 0, 0.0, 0, 0, 0, 0, 0)
    height, width = input_hw
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    sides, size = high - low, np.array([width, height], np.float32)
    covering = ((low <= 0.01 * size) & (high >= 0.99 * size)).all(axis=1)
    same = 0
    if count >= _HUNDREDS:
        most = int(np.unique(boxes_xyxy, axis=0, return_counts=True)[1].max())
        same = most if most >= _HUNDREDS else 0
    return Signs(
        layout,
        count,
        float(scores.max()),
        int((sides < _EMPTY_PX).any(axis=1).sum()),
        int((np.abs(boxes_xyxy) <= _CORNER_PX).all(axis=1).sum()),
        int((covering & (sides >= _VAST * size).all(axis=1)).sum()),
        int(covering.sum()),
        same,
    )


class FirstLook:
    """The verdict on the first frames of one stream, given in order."""

    def __init__(self) -> None:
        self._seen: list[Signs] = []
        self._done = False

    @property
    def done(self) -> bool:
        """Whether the verdict has been given, so that no more signs are needed."""
        return self._done

    def see(self, signs: Signs | None) -> None:
        """Add the next inferred frame's signs, None if they were not counted. Raises BackendError once enough frames
        show that the layout is wrong."""
        if self._done or signs is None or not signs.boxes:
            return
        self._seen.append(signs)
        if len(self._seen) == _FRAMES:
            self.conclude()

    def conclude(self) -> None:
        """Give the verdict on what was seen, for example at the end of a stream. Raises BackendError, once."""
        seen, self._seen = self._seen, []
        done, self._done = self._done, True
        if done or not seen:
            return
        if (problem := _problem(seen)) is not None:
            where = "the one frame with boxes" if len(seen) == 1 else f"the first {len(seen)} frames with boxes"
            raise BackendError(
                f"the model's output does not look like layout {seen[0].layout}: in {where} {problem}. "
                "Correct --layout, --input-scale or the export of the model."
            )


def _problem(seen: list[Signs]) -> str | None:
    boxes = sum(signs.boxes for signs in seen)
    if (top := max(signs.top for signs in seen)) > _MAX_SCORE:
        return f"scores go up to {top:.4g}, where 0 to 1 is possible"
    if boxes < _MIN_BOXES:
        return None
    if sum(signs.corner for signs in seen) == boxes:
        return f"all {boxes:,} boxes lie within {_CORNER_PX:g} pixels of the input's corner"
    if sum(signs.empty for signs in seen) == boxes:
        return f"all {boxes:,} boxes are empty"
    covering = sum(signs.whole for signs in seen) == boxes
    if sum(signs.vast for signs in seen) == boxes or (covering and boxes >= _HUNDREDS * len(seen)):
        return f"all {boxes:,} boxes cover the whole frame"
    if all(2 * signs.same >= signs.boxes and signs.same for signs in seen):
        return f"at least {min(signs.same for signs in seen)} boxes of each are the very same"
    return None
