"""Postprocess: raw outputs become detections in pixels of the source frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.layouts import Layout
from engine.layouts.base import Decoded
from engine.plausible import signs_of
from engine.records import Detections, RawOutputs
from engine.specs import Spec
from engine.stage import Stage
from engine_ext.geometry import scale_boxes
from engine_ext.nms import nms


class Postprocess(Stage):
    """RawOutputs -> one Detections a frame. Safe to call from several threads at once."""

    name = "postprocess"
    produces = Spec("Detections")

    def __init__(
        self,
        layout: Layout,
        *,
        conf: float,
        nms_iou: float,
        max_detections: int,
        class_mask: NDArray[np.bool_] | None = None,
        class_agnostic: bool = False,
        class_count: int | None = None,
        look_until: int = 0,
    ) -> None:
        """`class_count` is how many classes have a name; None: any may come. In frames before number `look_until` of
        their stream, signs of a wrong layout are counted."""
        self.accepts = Spec("RawOutputs", layout=layout.name)
        self._layout = layout
        self._conf = conf
        self._nms_iou = nms_iou
        self._max_detections = max_detections
        self._class_mask = class_mask
        self._class_agnostic = class_agnostic
        self._class_count = class_count
        self._look_until = look_until

    def process(self, raw: RawOutputs) -> list[Detections]:
        slots = zip(raw.output, raw.frames, raw.letterboxes, strict=True)
        return [
            self.read(output, raw.tensor_hw, frame.image, letterbox, look=frame.index < self._look_until)
            for output, frame, letterbox in slots
        ]

    def read(
        self,
        output: NDArray[Any] | Decoded,
        tensor_hw: tuple[int, int],
        image: Any,
        letterbox: Any,
        *,
        look: bool = False,
    ) -> Detections:
        """One slot of a batch: decode, NMS, undo the letterbox of `image` and clip to it. Boxes of which nothing lies
        in the frame take no part."""
        boxes, scores, class_ids = output if isinstance(output, tuple) else self._decode(output, tensor_hw)
        self._check_classes(class_ids)
        signs = signs_of(self._layout.name, boxes, scores, tensor_hw) if look else None
        pad_x, pad_y = letterbox.pad_xy
        in_frame = boxes.copy()
        scale_boxes(in_frame, letterbox.ratio, pad_x, pad_y, image.width, image.height)
        has_area = (in_frame[:, 2:] > in_frame[:, :2]).all(axis=1)
        without_area = len(boxes) - int(np.count_nonzero(has_area))
        if without_area:
            in_frame, boxes = in_frame[has_area], boxes[has_area]
            scores, class_ids = scores[has_area], class_ids[has_area]
        if self._layout.needs_nms:
            kept = nms(
                boxes,
                scores,
                class_ids,
                self._nms_iou,
                max_detections=self._max_detections,
                class_agnostic=self._class_agnostic,
            )
        else:
            kept = np.argsort(-scores, kind="stable")[: self._max_detections]
        return Detections(in_frame[kept], scores[kept], class_ids[kept], without_area=without_area, signs=signs)

    def _check_classes(self, class_ids: NDArray[np.int32]) -> None:
        """A class without a name comes from an output that is read in the wrong way, or from a list too short."""
        highest = int(class_ids.max(initial=0))
        if self._class_count is not None and highest >= self._class_count:
            raise BackendError(
                f"the output does not look like layout {self._layout.name}: class {highest} of {self._class_count}. "
                "Correct --layout or --class-names."
            )

    def _decode(self, output: NDArray[Any], tensor_hw: tuple[int, int]) -> Decoded:
        try:
            return self._layout.decode(output, tensor_hw, self._conf, self._class_mask)
        except ValueError as error:
            raise BackendError(f"the model's output does not fit its layout: {error}") from error
