"""yolox: the raw grid of YOLOX, as its own exporter writes it by default.

(batch, anchors, 5 + classes): raw grid x y w h, objectness, class scores; strides 8, 16, 32.
"""

from typing import NamedTuple

from engine.inference.layouts.base import ClassMask, Decoded, Output
from engine_ext.decode_heads import decode_yolox


class YoloxLayout(NamedTuple):
    name: str = "yolox"
    needs_nms: bool = True
    strides: tuple[int, ...] = (8, 16, 32)

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_yolox(output, input_hw, conf, strides=self.strides, class_mask=class_mask)
