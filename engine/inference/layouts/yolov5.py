"""yolov5: anchors in rows, boxes in pixels, an objectness. YOLOv5, YOLOv7, and YOLOX exported with its decoder.

(batch, anchors, 5 + classes): cx cy w h in pixels, objectness, class scores.
"""

from typing import NamedTuple

from engine.inference.layouts.base import ClassMask, Decoded, Output
from engine_ext.decode_heads import decode_yolov5


class Yolov5Layout(NamedTuple):
    name: str = "yolov5"
    needs_nms: bool = True

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_yolov5(output, conf, class_mask=class_mask)
