"""yolov8: anchors in columns, boxes in pixels, no objectness. YOLOv8, YOLOv9, YOLO11.

(batch, 4 + classes, anchors): cx cy w h in pixels, class scores.
"""

from typing import NamedTuple

from engine.inference.layouts.base import ClassMask, Decoded, Output
from engine_ext.decode_heads import decode_yolov8


class Yolov8Layout(NamedTuple):
    name: str = "yolov8"
    needs_nms: bool = True

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_yolov8(output, conf, class_mask=class_mask)
