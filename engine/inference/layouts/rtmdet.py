"""rtmdet: RTMDet as MMDeploy exports it, with its own NMS: `dets` and `labels`.

Joined as (batch, detections, 6): x1 y1 x2 y2 in pixels, score, class; no NMS needed.
"""

from typing import NamedTuple

from engine.inference.layouts.base import ClassMask, Decoded, Output
from engine_ext.decode_heads import decode_end2end


class RtmdetLayout(NamedTuple):
    name: str = "rtmdet"
    needs_nms: bool = False

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_end2end(output, conf, class_mask=class_mask)
