"""yolox: the raw grid of YOLOX, as its own exporter writes it by default."""

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
from engine_ext.decode_heads import decode_yolox


@dataclass(frozen=True, slots=True)
class YoloxLayout:
    name: str = "yolox"
    describe: str = "(batch, anchors, 5 + classes): raw grid x y w h, objectness, class scores; strides 8, 16, 32"
    needs_nms: bool = True
    strides: tuple[int, ...] = (8, 16, 32)

    def fits(self, output_shape: Shape, num_classes: int | None) -> bool:
        if num_classes is None:
            return plausible_features(output_shape, axis=2, least=6)
        return matches(output_shape, ("batch", "anchors", 5 + num_classes))

    def check(self, output_shape: Shape, num_classes: int, input_hw: tuple[int, int] | None = None) -> None:
        check_classes(num_classes)
        anchors: int | str = "anchors"
        condition = f" for {num_classes} classes"
        if input_hw is not None:
            height, width = input_hw
            if any(height % stride or width % stride for stride in self.strides):
                raise ValueError(
                    f"layout {self.name} needs an input whose height and width are multiples of each of the strides "
                    f"{self.strides}. Got {height} x {width}."
                )
            anchors = sum((height // stride) * (width // stride) for stride in self.strides)
            condition += f" and an input of {height} x {width}"
        check_pattern(self.name, output_shape, ("batch", anchors, 5 + num_classes), condition)

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        return decode_yolox(output, input_hw, conf, strides=self.strides, class_mask=class_mask)
