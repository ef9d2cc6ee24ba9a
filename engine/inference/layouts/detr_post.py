"""detr-post: a DETR kind of detector with its own post-processing. RT-DETR, D-FINE and DEIM as their programs export.

Labels, boxes and scores, joined as (batch, detections, 6): x1 y1 x2 y2 in pixels, score, class; no NMS needed.
"""

from typing import NamedTuple

from engine.inference.layouts.base import ClassMask, Decoded, Output
from engine_ext.decode_heads import decode_end2end


class DetrPostLayout(NamedTuple):
    name: str = "detr-post"
    needs_nms: bool = False

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_end2end(output, conf, class_mask=class_mask)
