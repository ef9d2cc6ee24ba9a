"""What a declared output layout is, and the checks of shapes that all of them share."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Output: TypeAlias = NDArray[np.float32] | NDArray[np.float16]
ClassMask: TypeAlias = NDArray[np.bool_] | NDArray[np.uint8]
Decoded: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]

# Sizes of the dimensions of a whole output, batch first. None: left open by the model, known only when it runs.
Shape: TypeAlias = Sequence[int | None]
# The shape a layout asks for: a number, or the name of a dimension that may have any size.
Pattern: TypeAlias = Sequence[int | str]


class Layout(Protocol):
    """How the numbers of a model's output are arranged, declared by its manifest and never guessed from a shape.

    Implementations are frozen values without state: one object serves every stream and every thread.
    """

    @property
    def name(self) -> str:
        """The name a manifest declares."""

    @property
    def describe(self) -> str:
        """One line for a person: the shape and what the columns or rows are."""

    @property
    def needs_nms(self) -> bool:
        """False if the model itself gives at most one box an object."""

    def fits(self, output_shape: Shape, num_classes: int | None) -> bool:
        """Whether an output of this shape can have this layout. With num_classes None, for any plausible number."""

    def check(self, output_shape: Shape, num_classes: int, input_hw: tuple[int, int] | None = None) -> None:
        """Raise ValueError, in one sentence, unless an output of this shape has this layout.

        output_shape is that of the whole output, batch first, with None where the model leaves a dimension open.
        input_hw is the height and width of the model's input in pixels; None while it is open.
        """

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        """Read one image's output (2-D, without the batch): boxes, scores and classes of the anchors that pass.

        Gives ``(boxes_xyxy (K, 4) float32, scores (K,) float32, class_ids (K,) int32)`` in pixels of the model's
        input; see engine_ext/decode_heads.pyi, which also says what conf and class_mask do.
        """


def format_shape(shape: Sequence[int | str | None]) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def matches(output_shape: Shape, pattern: Pattern) -> bool:
    """Whether each dimension is open, or of the size the pattern asks for."""
    return len(output_shape) == len(pattern) and all(
        size is None or isinstance(wanted, str) or size == wanted
        for size, wanted in zip(output_shape, pattern, strict=True)
    )


def plausible_features(output_shape: Shape, axis: int, least: int) -> bool:
    """Whether `axis` of three can hold the features of an anchor: at least `least`, and fewer than there are anchors.

    For listing candidates while the number of classes is unknown. A real head has hundreds of anchors or more.
    """
    if len(output_shape) != 3:
        return False
    features, anchors = output_shape[axis], output_shape[3 - axis]
    return (features is None or features >= least) and (features is None or anchors is None or features < anchors)


def check_pattern(name: str, output_shape: Shape, pattern: Pattern, condition: str) -> None:
    if not matches(output_shape, pattern):
        raise ValueError(
            f"layout {name} needs an output of shape {format_shape(pattern)}{condition}. "
            f"Got {format_shape(output_shape)}."
        )


def check_classes(num_classes: int) -> None:
    if num_classes < 1:
        raise ValueError(f"num_classes must be an int above 0. Got {num_classes}.")
