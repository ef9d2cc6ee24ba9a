"""yolov5: anchors in rows, boxes in pixels, an objectness. YOLOv5, YOLOv7, and YOLOX exported with its decoder."""

from dataclasses import dataclass

from engine.inference.layouts.base import (
    ClassMask,
    Decoded,
    Output,
    Shape,
    check_classes,
    check_pattern,
    matches,
    plausible_features,
)
from engine_ext.decode_heads import decode_yolov5


@dataclass(frozen=True, slots=True)
class Yolov5Layout:
    name: str = "yolov5"
    describe: str = "(batch, anchors, 5 + classes): cx cy w h in pixels, objectness, class scores"
    needs_nms: bool = True

    def fits(self, output_shape: Shape, num_classes: int | None) -> bool:
        if num_classes is None:
            return plausible_features(output_shape, axis=2, least=6)
        return matches(output_shape, ("batch", "anchors", 5 + num_classes))

    def check(self, output_shape: Shape, num_classes: int, input_hw: tuple[int, int] | None = None) -> None:
        """The number of anchors is not checked: it differs between models with three and with four levels."""
        check_classes(num_classes)
        pattern = ("batch", "anchors", 5 + num_classes)
        check_pattern(self.name, output_shape, pattern, f" for {num_classes} classes")

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_yolov5(output, conf, class_mask=class_mask)
