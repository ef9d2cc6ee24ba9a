"""The planes of a decoded frame, and its colour matrix and range."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

# ITU-T H.273 matrix coefficients -> the kernels' names.
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_FULL_RANGE = 2


def planes_of(image: av.VideoFrame) -> list[NDArray[np.uint8]]:
    """Return the planes of a frame as (rows, line_size) uint8 views, without a copy; writable if the frame is."""
    return [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in image.planes]


def luma_of(image: av.VideoFrame) -> NDArray[np.uint8]:
    """Return the luma (height, width) of an image in one of the formats that preprocessing reads; of RGB, its green."""
    plane = planes_of(image)[0][: image.height]
    if image.format.name in ("rgb24", "bgr24"):
        return np.ascontiguousarray(plane[:, 1 : 3 * image.width : 3])
    return plane[:, : image.width]


def colour_of(image: av.VideoFrame) -> tuple[str, bool]:
    """Return (matrix, full_range) of a frame. An unspecified matrix is taken as BT.709 from 720 rows on, as players
    do."""
    matrix = _MATRICES.get(int(image.colorspace)) or ("bt709" if image.height >= 720 else "bt601")
    return matrix, int(image.color_range) == _FULL_RANGE or image.format.name.startswith("yuvj")
