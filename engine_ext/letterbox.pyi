"""Letterbox: resizes, pads and converts a decoded frame's own planes directly into a model's input tensor.

    letterbox = Letterbox((1920, 1080), (256, 416), "yuv420p", scale=1 / 255)
    batch = np.empty((8, 3, 256, 416), np.float32)
    letterbox.apply([y, u, v], batch[0])

The computation, with `w`, `h` the frame's size and `rw`, `rh` that of the resized image:

* Output pixel `i` of `rw` samples source column `x = (i + 0.5) * w / rw - 0.5`, clamped to `[0, w - 1]`; rows likewise.
  Each plane is sampled bilinearly, like OpenCV's INTER_LINEAR, without smoothing before a reduction.
* Chroma is assumed at the default position of H.264 and MPEG-2: on the left of each pair of columns, and midway between
  each pair of rows. So it is sampled at `(x / 2, y / 2 - 0.25)`, clamped to the plane. This includes "yuvj420p", the
  decoders' name for full-range H.264, although JPEG itself centres chroma both ways (a quarter of a chroma sample).
* The samples are then converted to R, G, B, clamped to [0, 255], and written as `(pixel - mean) * scale`.

Against the same computation in float64, float32 output is within 0.1 level (of 255), and uint8 within 0.6.
The result does not depend on the processor's vector instructions.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PLANES: dict[str, tuple[int, ...]]
"""Pixel format -> interleaved components in each plane."""

LUMA_WEIGHTS: dict[str, tuple[float, float]]
"""Matrix -> Kr, Kb of Rec. ITU-R BT.601-7, BT.709-6, BT.2020-2 (non-constant luminance)."""

class Letterbox:
    """Resizes and pads frames of one size and format into tensors of one size, in one pass.

    Thread-safe.
    """

    def __init__(
        self,
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
        portable: bool = False,
    ) -> None:
        """
        src_wh         width and height of the frames, in pixels, each in [1, 32768]
        dst_hw         H and W of the tensor
        pix_fmt        "yuv420p", "yuvj420p" (the same, always full range), "nv12", "rgb24", "bgr24" or "gray"
        matrix         "bt601", "bt709" or "bt2020": how YUV was made from RGB. A wrong one tints the image by up to
                       some 30 levels in saturated colours. Ignored for rgb24, bgr24 and gray
        full_range     YUV in 0..255, not luma in 16..235 and chroma in 16..240. Ignored for rgb24, bgr24 and gray,
                       which are full range
        channel_order  "rgb" or "bgr": order of the channels in `out`, of `scale` and of `mean`
        scale, mean    one number, or one per channel: `(pixel - mean) * scale` is written, pixel in 0..255. Numbers in
                       [-1e6, 1e6]; scale not 0
        pad_value      pixel, in [0, 255], that surrounds the image; mean and scale apply to it too
        pad            "center": the image in the middle, an odd pixel of padding on the right and at the bottom
                       (Ultralytics); "topleft": the image at (0, 0) (YOLOX); "stretch": no padding, each axis by a
                       own factor (DETR kinds)
        rounding       of the resized size to whole pixels: "nearest" (Ultralytics), or "down", as `int` does (YOLOX)
        portable       don't use optional processor features. The result is the same

        Raises ValueError for another value, TypeError for another type.
        """

    @property
    def src_wh(self) -> tuple[int, int]: ...
    @property
    def dst_hw(self) -> tuple[int, int]: ...
    @property
    def pix_fmt(self) -> str: ...
    @property
    def ratio(self) -> float:
        """`min(W / w, H / h)`: tensor pixels per frame pixel, before the resized size is rounded to whole pixels."""

    @property
    def ratio_xy(self) -> tuple[float, float]:
        """The same along x and y, for converting boxes back: `ratio` twice, or `(W / w, H / h)` if `pad` is
        "stretch"."""

    @property
    def resized_wh(self) -> tuple[int, int]:
        """Size of the image inside the tensor: `max(1, round(w * ratio)), max(1, round(h * ratio))`, or with `int` if
        rounding is "down"; the whole tensor if `pad` is "stretch"."""

    @property
    def pad_xy(self) -> tuple[int, int]:
        """The position of the image's first pixel in the tensor: columns of padding on its left, rows above it."""

    def apply(
        self,
        planes: Sequence[npt.NDArray[np.uint8]],
        out: npt.NDArray[np.float32] | npt.NDArray[np.float16] | npt.NDArray[np.uint8],
    ) -> None:
        """Write one frame, and its padding, into `out`. Releases the GIL.

        planes  read. The frame's planes, each (rows, line_size) uint8. rows is exact: h, and ceil(h / 2) for chroma.
                line_size is at least the bytes of a row (w; chroma ceil(w / 2), twice that in nv12; rgb24 and bgr24
                3 * w); what lies beyond them is never read. Bytes of a row are contiguous, rows any stride apart.
        out     written in full. (3, H, W) float32, float16 (nearest, ties to even) or uint8 (nearest, ties up; only
                with scale 1 and mean 0), C-contiguous: `batch[i]` of a larger array will do. Must not overlap planes.

        ValueError: an array is not of this form, the number of planes is wrong, or values would not fit float16.
        """
