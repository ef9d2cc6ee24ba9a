"""The geometry and the colours of a letterbox as tables, in NumPy: what letterbox.pyx walks through, and what any other
implementation of it has to read to give the same bits. Computed in float64."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Format -> components in each of its planes. The first plane has the frame's size, any other half of it, rounded up.
PLANES: dict[str, tuple[int, ...]] = {
    "yuv420p": (1, 1, 1),
    "yuvj420p": (1, 1, 1),
    "nv12": (1, 2),
    "rgb24": (3,),
    "bgr24": (3,),
    "gray": (1,),
}
# Kr and Kb of Rec. ITU-R BT.601-7, BT.709-6 and BT.2020-2 (non-constant luminance).
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}

ONE = 32768  # a weight of 1 in 15 fractional bits

At = NDArray[np.int32]
Weight = NDArray[np.int16]
Row = tuple[float, float, float]


def tables(
    src_wh: tuple[int, int], resized_wh: tuple[int, int], components: Sequence[int]
) -> tuple[At, At, Weight, Weight]:
    """Return where each output column and row is blended from: x_at (2, w), y_at (2, h), x_weight (2, w), y_weight (2,
    h).

    Row 0 is for planes of the frame's own size, row 1 for chroma; without a second plane it is not used. Of each
    column: the byte offset of its first neighbour, and the second's weight, in [-ONE, 0]. Of each row: the same,
    counted in rows. `components` is the format's entry in PLANES.
    """
    (src_w, src_h), (width, height) = src_wh, resized_wh
    # Luma at its own positions; chroma on the left of each pair of columns and between each pair of rows.
    x, y = _positions(src_w, width), _positions(src_h, height)
    chroma_w, chroma_h = (src_w + 1) // 2, (src_h + 1) // 2
    x_at, x_weight = _columns(x, src_w, components[0])
    chroma_x_at, chroma_x_weight = _columns(np.clip(x / 2, 0, chroma_w - 1), chroma_w, chroma_components(components))
    y_at, y_weight = _taps(y)
    chroma_y_at, chroma_y_weight = _taps(np.clip(y / 2 - 0.25, 0, chroma_h - 1))
    return (
        np.stack([x_at, chroma_x_at]),
        np.stack([y_at, chroma_y_at]),
        np.stack([x_weight, chroma_x_weight]),
        np.stack([y_weight, chroma_y_weight]),
    )


def chroma_components(components: Sequence[int]) -> int:
    """Return the components of the second plane, which is the first of chroma, if any."""
    return components[1] if len(components) > 1 else 1


def sample_to_rgb(pix_fmt: str, matrix: str, full_range: bool) -> tuple[tuple[int, int, int], tuple[Row, Row, Row]]:
    """Return the three samples' zero levels, and the rows of the matrix from them to R, G and B in 0..255."""
    if pix_fmt == "gray":
        return (0, 0, 0), ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    if pix_fmt == "rgb24":
        return (0, 0, 0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    if pix_fmt == "bgr24":
        return (0, 0, 0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    kr, kb = LUMA_WEIGHTS[matrix]
    kg = 1.0 - kr - kb
    full = full_range or pix_fmt == "yuvj420p"
    luma = 1.0 if full else 255.0 / 219.0
    red = 2.0 * (1.0 - kr) * (1.0 if full else 255.0 / 224.0)
    blue = 2.0 * (1.0 - kb) * (1.0 if full else 255.0 / 224.0)
    return (0 if full else 16, 128, 128), (
        (luma, 0.0, red),
        (luma, -blue * kb / kg, -red * kr / kg),
        (luma, blue, 0.0),
    )


def _positions(source: int, resized: int) -> NDArray[np.float64]:
    """Return where each output pixel's centre falls in the source, in source pixels from the first one's centre."""
    return np.clip((np.arange(resized) + 0.5) * (source / resized) - 0.5, 0.0, source - 1.0)


def _taps(positions: NDArray[np.float64]) -> tuple[At, Weight]:
    """Return first of the two neighbours of each position, and the second's weight, negative in 15 fractional bits.

    Where the weight is 0 there need be no second.
    """
    at = np.floor(positions).astype(np.int32)
    return at, np.rint((positions - at) * -ONE).astype(np.int16)


def _columns(positions: NDArray[np.float64], width: int, components: int) -> tuple[At, Weight]:
    """Return taps as byte offsets, of positions in [0, width - 1].

    The last pixel has no right neighbour to be fetched with: it is reached as the neighbour of the one before it.
    """
    at, weight = _taps(positions)
    if width > 1:
        weight[at == width - 1] = -ONE
        at = np.minimum(at, width - 2)
    return (at * components).astype(np.int32), weight
