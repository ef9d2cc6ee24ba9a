"""NumPy twin of engine_ext.letterbox, in float64: the definition, with no regard to speed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def positions(source: int, resized: int) -> F64:
    """Source coordinate of each output pixel's centre."""
    return np.clip((np.arange(resized) + 0.5) * source / resized - 0.5, 0, source - 1)


def sample(plane: npt.NDArray[Any], x: F64, y: F64) -> F64:
    """(h, w) plane -> (len(y), len(x)), bilinear, its edge repeated outwards."""
    height, width = plane.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    fx, fy = x - x0, (y - y0)[:, None]
    values = plane.astype(np.float64)
    rows = values[:, x0] * (1 - fx) + values[:, x1] * fx
    return rows[y0] * (1 - fy) + rows[y1] * fy


def yuv_to_rgb(yuv: Sequence[F64], matrix: str, full_range: bool) -> F64:
    """Y, U, V in 0..255 -> (3, ...) R, G, B, not yet held to 0..255."""
    kr, kb = LUMA_WEIGHTS[matrix]
    luma = yuv[0] / 255 if full_range else (yuv[0] - 16) / 219
    pb, pr = ((chroma - 128) / (255 if full_range else 224) for chroma in yuv[1:])
    red = luma + 2 * (1 - kr) * pr
    blue = luma + 2 * (1 - kb) * pb
    green = (luma - kr * red - kb * blue) / (1 - kr - kb)
    return np.stack([red, green, blue]) * 255


def letterbox(
    planes: Sequence[npt.NDArray[np.uint8]],
    src_wh: tuple[int, int],
    dst_hw: tuple[int, int],
    pix_fmt: str,
    *,
    matrix: str = "bt601",
    full_range: bool = False,
    channel_order: str = "rgb",
    scale: float | Sequence[float] = 1.0,
    mean: float | Sequence[float] = 0.0,
    pad_value: float = 114.0,
    pad: str = "center",
    rounding: str = "nearest",
) -> F64:
    """(3, H, W) float64, arguments as of engine_ext.letterbox.Letterbox and its apply()."""
    (w, h), (dst_h, dst_w) = src_wh, dst_hw
    ratio = min(dst_w / w, dst_h / h)
    whole = int if rounding == "down" else round
    rw, rh = max(1, whole(w * ratio)), max(1, whole(h * ratio))
    if pad == "stretch":
        rw, rh = dst_w, dst_h
    left = top = 0
    if pad == "center":
        left, top = round((dst_w - rw) / 2 - 0.1), round((dst_h - rh) / 2 - 0.1)

    x, y = positions(w, rw), positions(h, rh)
    cx, cy = x / 2, y / 2 - 0.25
    cw = (w + 1) // 2
    if pix_fmt == "gray":
        rgb = np.stack([sample(planes[0][:, :w], x, y)] * 3)
    elif pix_fmt in ("rgb24", "bgr24"):
        pixels = planes[0][:, : 3 * w].reshape(h, w, 3)
        rgb = np.stack([sample(pixels[..., c], x, y) for c in range(3)])
        if pix_fmt == "bgr24":
            rgb = rgb[::-1]
    else:
        if pix_fmt == "nv12":
            u, v = planes[1][:, 0 : 2 * cw : 2], planes[1][:, 1 : 2 * cw : 2]
        else:
            u, v = planes[1][:, :cw], planes[2][:, :cw]
        yuv = [sample(planes[0][:, :w], x, y), sample(u, cx, cy), sample(v, cx, cy)]
        rgb = yuv_to_rgb(yuv, matrix, full_range or pix_fmt == "yuvj420p")

    out = np.full((3, dst_h, dst_w), pad_value, np.float64)
    out[:, top : top + rh, left : left + rw] = np.clip(rgb if channel_order == "rgb" else rgb[::-1], 0, 255)
    return (out - np.reshape(np.broadcast_to(mean, 3), (3, 1, 1))) * np.reshape(np.broadcast_to(scale, 3), (3, 1, 1))
