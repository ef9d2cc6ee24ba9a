"""Raw detection outputs -> boxes, scores and classes: one function for each declared output layout.

Common to all of them:

* ``output`` is the raw output of ONE image: 2-D, C-contiguous, float32 or float16, only read. float16 is widened number
  by number; the result is the same as for ``output.astype(float32)``.
* The result is ``(boxes_xyxy (K, 4) float32, scores (K,) float32, class_ids (K,) int32)``, new arrays in the order of
  the anchors. Boxes are ``x1 y1 x2 y2`` in pixels of the model's input (of the letterboxed image, not of the source
  frame); they are neither clipped to the image nor reordered if ``x2 < x1``. Overlapping boxes are not removed: see
  ``nms``. Zero anchors, or none that passes, give zero rows.
* ``conf`` is a number in [0, 1], rounded to float32. An anchor passes if its score >= conf. A higher value saves time
  and removes false boxes, but loses small, hidden and blurred objects; a tracker can use boxes down to about 0.1.
* The class is the one with the highest class score, the lower id in a tie. A NaN class score never wins.
* ``class_mask`` is None (all classes) or a ``(C,)`` bool or uint8 array, nonzero for wanted classes. It is applied to
  the best class: if that is unwanted, the anchor is dropped, and the second best class is not used instead.
* Anchors with a NaN or infinite score or box side are dropped silently.
* Raises TypeError if ``output`` or ``class_mask`` is not an array or has another dtype; ValueError if a shape, ``conf``
  or another value is not as described, or ``output`` is not C-contiguous (copies of megabytes per frame must be
  explicit).
* The interpreter lock is released during the scan.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Output: TypeAlias = NDArray[np.float32] | NDArray[np.float16]
ClassMask: TypeAlias = NDArray[np.bool_] | NDArray[np.uint8]
Decoded: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]

def decode_yolox(
    output: Output,
    input_hw: Sequence[int],
    conf: float,
    *,
    strides: Sequence[int] = (8, 16, 32),
    class_mask: ClassMask | None = None,
) -> Decoded:
    """Decode a raw YOLOX grid ``(A, 5 + C)``: x, y, w, h, objectness, C class scores (arXiv 2107.08430).

    For the cell ``(grid_x, grid_y)`` of the level with stride s: ``cx = (x + grid_x) s``, ``cy = (y + grid_y) s``,
    ``w = exp(w) s``, ``h = exp(h) s``, in pixels. Score = objectness * class score, both already in [0, 1]; an anchor
    whose objectness is below conf is skipped before its class scores are read.

    ``input_hw`` is the height and width of the model's input in pixels, multiples of each stride. A must be the sum
    of ``(H / s) (W / s)`` over the strides, levels in the order given, each row by row: else ValueError.

    exp is the C library's expf: widths and heights may differ in the last bits between C libraries.
    """

def decode_yolov5(output: Output, conf: float, *, class_mask: ClassMask | None = None) -> Decoded:
    """Decode a YOLOv5 output ``(A, 5 + C)``: cx, cy, w, h in pixels, objectness in [0, 1], C class scores in [0, 1].

    Score = objectness * class score; an anchor whose objectness is below conf is skipped before its class scores are
    read. Also the layout of YOLOv7, and of YOLOX exported with its decoder.
    """

def all_finite(output: Output) -> bool:
    """Return whether no value of `output`, of any shape, is NaN or infinite. It is read once, without a copy: 182,000
    values of YOLOX-nano at 416x256 take under 15 us. Raises as the decoders do.
    """

def decode_yolov8(output: Output, conf: float, *, class_mask: ClassMask | None = None) -> Decoded:
    """Decode a YOLOv8 output ``(4 + C, A)``: rows cx, cy, w, h in pixels, then C rows of class scores in [0, 1].

    There is no objectness: score = class score. Also the layout of YOLOv9 and YOLO11.
    """

def decode_end2end(output: Output, conf: float, *, class_mask: ClassMask | None = None) -> Decoded:
    """Decode an NMS-free output ``(N, 6)``: x1, y1, x2, y2 in pixels, score in [0, 1], class (YOLOv10, YOLO26).

    Rows that pass keep their order. A row with a class below zero is an empty row of a fixed-size output and is
    dropped. ValueError if a row that passes has a class that is not a whole number, or is not below C where a mask of
    C classes is given (2**24 where none is): then the output is of another layout, or the mask of another model.
    """
