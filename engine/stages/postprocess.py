"""Postprocess: raw outputs become detections in pixels of the source frame."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.inference.layouts import Layout
from engine.inference.plausible import signs_of
from engine.records import Anchors, Detections, Frame, RawOutputs
from engine.stages.parts import in_whole
from engine_ext.geometry import scale_boxes
from engine_ext.letterbox import Letterbox
from engine_ext.nms import nms


class Postprocess:
    """RawOutputs -> one Detections per frame. Safe to call from several threads at once."""

    def __init__(
        self,
        layout: Layout,
        *,
        nms_iou: float,
        max_detections: int,
        class_agnostic: bool = False,
        class_count: int | None = None,
        look_until: int = 0,
        reported: float = 0.0,
        groups: tuple[int, ...] | None = None,
    ) -> None:
        """`class_count` is the number of named classes; None: any class may occur. Signs of a wrong layout are counted
        in frames before number `look_until` of their stream, until that is decided. Only detections with a score of at
        least `reported` count there and as boxes without area; the anchors may include lower ones. `groups` has, for
        each class, the number of the group within which boxes suppress each other."""
        self._layout = layout
        self._nms_iou = nms_iou
        self._max_detections = max_detections
        self._class_agnostic = class_agnostic
        self._class_count = class_count
        self._look_until = look_until
        self._reported = np.float32(reported)
        self._groups = None if groups is None else np.array(groups, np.int32)

    def process(self, raw: RawOutputs) -> list[Detections]:
        """Raise NotFinite and BackendError, as engine.inference.heads does."""
        slots = zip(raw.heads, raw.frames, raw.letterboxes, strict=True)
        return [
            self.read(
                head() if not parts else in_whole(head(), parts.parts, parts.whole_hw),
                raw.tensor_hw,
                frame.image,
                letterbox,
                look=self.looks_at(frame) and not parts,
            )
            for head, frame, letterbox in slots
            for parts in [frame.plan if frame.plan is not None and frame.plan.parts else None]
        ]

    def looks_at(self, frame: Frame) -> bool:
        """Return whether signs of a wrong layout are counted in a frame that is inferred whole."""
        return frame.look and frame.index < self._look_until

    def read(
        self,
        anchors: Anchors,
        tensor_hw: tuple[int, int],
        image: av.VideoFrame | None,
        letterbox: Letterbox,
        *,
        look: bool = False,
    ) -> Detections:
        """Read one slot of a batch: NMS, undo the letterbox of `image` and clip to it. Boxes entirely outside the frame
        are ignored."""
        assert image is not None, "a dropped frame is never inferred"
        boxes, scores, class_ids = anchors.boxes_xyxy, anchors.scores, anchors.class_ids
        self._check_classes(class_ids)
        signs = None
        if look:
            counted = scores >= self._reported
            signs = signs_of(self._layout.name, boxes[counted], scores[counted], tensor_hw)
        pad_x, pad_y = letterbox.pad_xy
        in_frame = boxes.copy()
        without_area = scale_boxes(in_frame, letterbox.ratio_xy, pad_x, pad_y, image.width, image.height)
        if without_area:
            has_area = (in_frame[:, 2] > in_frame[:, 0]) & (in_frame[:, 3] > in_frame[:, 1])
            without_area = int(np.count_nonzero((scores >= self._reported) & ~has_area))
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
        return Detections(in_frame[kept], scores[kept], class_ids[kept], anchors.non_finite, without_area, signs)

    def _check_classes(self, class_ids: NDArray[np.int32]) -> None:
        """Refuse a class without a name: the output is misread, or the list of names is too short."""
        highest = int(class_ids.max(initial=0))
        if self._class_count is not None and highest >= self._class_count:
            raise BackendError(
                f"the output does not look like layout {self._layout.name}: class {highest} of {self._class_count}. "
                "Correct --layout or --class-names."
            )
