"""yolov8: anchors in columns, boxes in pixels, no objectness. YOLOv8, YOLOv9, YOLO11."""

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
from engine_ext.decode_heads import decode_yolov8


@dataclass(frozen=True, slots=True)
class Yolov8Layout:
    name: str = "yolov8"
    describe: str = "(batch, 4 + classes, anchors): cx cy w h in pixels, class scores"
    needs_nms: bool = True

    def fits(self, output_shape: Shape, num_classes: int | None) -> bool:
        if num_classes is None:
            return plausible_features(output_shape, axis=1, least=5)
        return matches(output_shape, ("batch", 4 + num_classes, "anchors"))

    def check(self, output_shape: Shape, num_classes: int, input_hw: tuple[int, int] | None = None) -> None:
        check_classes(num_classes)
        pattern = ("batch", 4 + num_classes, "anchors")
        check_pattern(self.name, output_shape, pattern, f" for {num_classes} classes")

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_yolov8(output, conf, class_mask=class_mask)
