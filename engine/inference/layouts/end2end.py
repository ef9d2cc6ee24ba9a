"""end2end: finished detections in rows, one an object, no NMS needed. YOLOv10, YOLO26."""

from dataclasses import dataclass

from engine.inference.layouts.base import ClassMask, Decoded, Output, Shape, check_classes, check_pattern, matches
from engine_ext.decode_heads import decode_end2end

PATTERN = ("batch", "detections", 6)


@dataclass(frozen=True, slots=True)
class End2endLayout:
    name: str = "end2end"
    describe: str = "(batch, detections, 6): x1 y1 x2 y2 in pixels, score, class; no NMS needed"
    needs_nms: bool = False

    def fits(self, output_shape: Shape, num_classes: int | None) -> bool:
        return matches(output_shape, PATTERN)

    def check(self, output_shape: Shape, num_classes: int, input_hw: tuple[int, int] | None = None) -> None:
        """The shape does not depend on the number of classes. decode refuses a class the mask has no entry for."""
        check_classes(num_classes)
        check_pattern(self.name, output_shape, PATTERN, "")

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_end2end(output, conf, class_mask=class_mask)
