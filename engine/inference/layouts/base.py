"""The interface of output layouts."""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Output: TypeAlias = NDArray[np.float32] | NDArray[np.float16]
ClassMask: TypeAlias = NDArray[np.bool_] | NDArray[np.uint8]
Decoded: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]


class Layout(Protocol):
    """How the numbers of a model's output are arranged, declared by its manifest and never guessed from a shape.

    Implementations are frozen values without state: one object serves every stream and every thread.
    """

    @property
    def name(self) -> str:
        """The name a manifest declares."""

    @property
    def needs_nms(self) -> bool:
        """False if the model itself outputs at most one box per object."""

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        """Decode one image's output (2-D, without the batch): boxes, scores and classes of the anchors that pass.

        Returns ``(boxes_xyxy (K, 4) float32, scores (K,) float32, class_ids (K,) int32)`` in pixels of the model's
        input; engine_ext/decode_heads.pyi explains conf and class_mask. Raises ValueError if the output does not have
        this layout.
        """
