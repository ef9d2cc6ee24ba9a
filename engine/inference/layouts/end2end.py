"""end2end: finished detections in rows, one per object, no NMS needed. YOLOv10, YOLO26.

(batch, detections, 6): x1 y1 x2 y2 in pixels, score, class.
"""

from typing import NamedTuple

from engine.inference.layouts.base import ClassMask, Decoded, Output
from engine_ext.decode_heads import decode_end2end


class End2endLayout(NamedTuple):
    name: str = "end2end"
    needs_nms: bool = False

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_end2end(output, conf, class_mask=class_mask)
