"""The heads of a model: its output for one image, decoded by its layout."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, NotFinite
from engine.inference.layouts import Decoded, Layout
from engine.records import Anchors, Head
from engine_ext.decode_heads import all_finite


class HeadReader:
    """Decodes anchors with a score of at least `conf` and a class in `class_mask` (C,), None for all."""

    def __init__(self, layout: Layout, conf: float, class_mask: NDArray[np.bool_] | None = None) -> None:
        self.layout = layout
        self.conf = conf
        self.class_mask = class_mask

    def head(self, answer: NDArray[Any] | Decoded, input_hw: tuple[int, int]) -> Head:
        """Return the head of one image, decoded lazily: from its whole 2-D output, or from the result of a backend that
        filters heads."""
        if isinstance(answer, tuple):
            return partial(Anchors, *answer)
        return partial(self.read, answer, input_hw)

    def read(self, output: NDArray[Any], input_hw: tuple[int, int]) -> Anchors:
        """Decode one image's 2-D output. Raises NotFinite if none of its numbers is usable, and BackendError if it does
        not have the layout."""
        non_finite = count_non_finite(output)
        try:
            boxes, scores, class_ids = self.layout.decode(output, input_hw, self.conf, self.class_mask)
        except ValueError as error:
            raise BackendError(f"the model's output does not fit its layout: {error}") from error
        if non_finite:
            whole = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
            boxes, scores, class_ids = boxes[whole], scores[whole], class_ids[whole]
        return Anchors(boxes, scores, class_ids, non_finite)


def count_non_finite(output: NDArray[Any]) -> int:
    """Return how many values of one image's 2-D output are NaN or infinite. Raises NotFinite if no anchor is finite.

    A kernel checks whether all values are finite; only other outputs are examined in detail.
    """
    if output.dtype not in (np.float32, np.float16) or not output.flags.c_contiguous:  # no layout accepts it
        return 0
    if all_finite(output):
        return 0
    finite = np.isfinite(output)
    non_finite = int(finite.size - np.count_nonzero(finite))
    features = int(np.argmin(output.shape))  # an output has more anchors than features, whichever comes first
    if non_finite and not finite.all(axis=features).any():
        raise NotFinite(
            f"the model gives no usable numbers: {non_finite:,} of {finite.size:,} values are NaN or infinite. "
            "Its file may be damaged, or made for another precision or scaling of the input."
        )
    return non_finite
