"""Postprocess: raw outputs become detections in pixels of the source frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, NotFinite
from engine.inference.layouts import Layout
from engine.inference.layouts.base import Decoded
from engine.inference.plausible import signs_of
from engine.records import Detections, RawOutputs
from engine.specs import Spec
from engine.stage import Stage
from engine_ext.geometry import scale_boxes
from engine_ext.nms import nms

# Bytes of a floating-point number -> an integer of as many, and infinity's bits: NaN has more, every other number less.
_BITS: dict[int, tuple[Any, int]] = {2: (np.uint16, 0x7C00), 4: (np.uint32, 0x7F80_0000)}


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
        reported: float = 0.0,
        groups: tuple[int, ...] | None = None,
    ) -> None:
        """`class_count` is how many classes have a name; None: any may come. In frames before number `look_until` of
        their stream, signs of a wrong layout are counted. Only detections with a score of `reported` and above count in
        them, and as without area; `conf` may be lower. `groups` has for each class the number under which boxes
        suppress each other."""
        self.accepts = Spec("RawOutputs", layout=layout.name)
        self._layout = layout
        self._conf = conf
        self._nms_iou = nms_iou
        self._max_detections = max_detections
        self._class_mask = class_mask
        self._class_agnostic = class_agnostic
        self._class_count = class_count
        self._look_until = look_until
        self._reported = np.float32(reported)
        self._groups = None if groups is None else np.array(groups, np.int32)

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
        in the frame take no part. Raises NotFinite."""
        non_finite = 0 if isinstance(output, tuple) else count_non_finite(output)
        boxes, scores, class_ids = output if isinstance(output, tuple) else self._decode(output, tensor_hw)
        if non_finite:
            whole = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
            boxes, scores, class_ids = boxes[whole], scores[whole], class_ids[whole]
        self._check_classes(class_ids)
        counted = scores >= self._reported
        signs = signs_of(self._layout.name, boxes[counted], scores[counted], tensor_hw) if look else None
        pad_x, pad_y = letterbox.pad_xy
        in_frame = boxes.copy()
        scale_boxes(in_frame, letterbox.ratio, pad_x, pad_y, image.width, image.height)
        has_area = (in_frame[:, 2:] > in_frame[:, :2]).all(axis=1)
        without_area = int(np.count_nonzero(counted & ~has_area))
        if not has_area.all():
            in_frame, boxes = in_frame[has_area], boxes[has_area]
            scores, class_ids = scores[has_area], class_ids[has_area]
        if self._layout.needs_nms:
            kept = nms(
                boxes,
                scores,
                class_ids if self._groups is None else self._groups[class_ids],
                self._nms_iou,
                max_detections=self._max_detections,
                class_agnostic=self._class_agnostic,
            )
        else:
            kept = np.argsort(-scores, kind="stable")[: self._max_detections]
        counts = {"non_finite": non_finite, "without_area": without_area}
        return Detections(in_frame[kept], scores[kept], class_ids[kept], signs=signs, **counts)

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


def count_non_finite(output: NDArray[Any]) -> int:
    """Return how many values of one image's output, 2-D, are NaN or infinite. Raise NotFinite where no anchor is whole.

    The bits without their sign tell that all are finite (30 us for the 182,000 values of YOLOX-nano at 416x256, under a
    hundredth of its inference); only another output is looked at closely.
    """
    if output.dtype.kind != "f" or output.dtype.itemsize not in _BITS:  # no layout takes it
        return 0
    bits, infinity = _BITS[output.dtype.itemsize]
    if not output.size or int((output.view(bits) & bits(np.iinfo(bits).max >> 1)).max()) < infinity:
        return 0
    finite = np.isfinite(output)
    non_finite = int(finite.size - np.count_nonzero(finite))
    features = int(np.argmin(output.shape))  # an output has more anchors than features, whichever comes first
    if non_finite and not finite.all(axis=features).any():
        raise NotFinite(
            f"the model gives no usable numbers: {non_finite:,} of {finite.size:,} values are NaN or infinite. "
            "Its file may be damaged, or made for another precision or scaling of the input."
        )
    return non_finite
