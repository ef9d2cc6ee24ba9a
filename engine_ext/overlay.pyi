"""Overlay: track boxes and their labels, drawn on the planes of a decoded frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

def draw_tracks(
    planes: Sequence[npt.NDArray[np.uint8]],
    frame_wh: tuple[int, int],
    boxes_xyxy: npt.NDArray[np.floating[Any]],
    ids: npt.NDArray[np.int64],
    labels: Sequence[str],
    *,
    matrix: str = "bt601",
    full_range: bool = False,
    thickness: int | None = None,
    font_scale: int | None = None,
) -> None:
    """Draw the tracks' boxes and labels on a yuv420p frame, in place.

    planes (in-out): the frame's Y, U and V, each 2-D uint8 and writable, a row a line of the image. There may be more
        rows, and more bytes in a row, than the image has: they are not touched. From PyAV, after
        `frame.make_writable()`, a plane is `np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)`.
    frame_wh: width and height of the image in pixels, each at least 1. U and V hold half of it, rounded up.
    boxes_xyxy (in): (N, 4) float64 or float32, the columns left, top, right, bottom in pixels of the frame. Edges are
        rounded to the nearest pixel; right and bottom are exclusive. A box that has no area (inverted, NaN) or lies
        outside the frame is left out with its label; one that is partly outside is clipped.
    ids (in): (N,) int64, any values. An id sets the track's colour, the same one in every frame and video. There are
        64; ids that differ by a multiple of 64 share one.
    labels: N texts. "" draws no label. Printable ASCII is drawn; accented Latin letters lose their accents, and each
        other character is drawn as a hollow box. A label wider than the frame is cut off at its right edge.
    matrix: "bt601", "bt709" or "bt2020": how the frame encodes colours (ITU-R BT.601-7, BT.709-6, BT.2020-2).
    full_range: whether luma and chroma use 0 to 255 (JPEG) instead of 16 to 235 and 16 to 240.
    thickness: of the outline, in pixels, [1, 64]. It grows inwards from the box's edges. Thicker lines are seen from
        further away and hide more of what they surround. None: 1/320 of the frame's shorter side, 3 at 1080p.
    font_scale: pixels a font pixel, [1, 16]: capitals are 7 * font_scale high, labels 12 * font_scale. Larger labels
        read better and cover more of the neighbours. None: 1/400 of the frame's shorter side, 3 at 1080p.

    A label stands above its box, or inside the box's top edge where there is no room above, moved left at the frame's
    right edge: it is fully visible unless it is larger than the frame. Its text is black or white, whichever contrasts
    more with the colour. Later tracks are drawn over earlier ones, and all labels over all outlines.

    Chroma has half the resolution: a 2x2 block takes the colour if any of its pixels is drawn on, so that thin lines
    keep their full colour; the colour may reach one pixel past an odd edge. Text has no colour of its own: the chroma
    of a block in a label is the mean of its pixels'.

    Zero tracks: nothing is touched. The same arguments give the same bytes. The GIL is released while drawing.

    ValueError: a shape, a size, a value or the number of planes, ids or labels does not fit; a plane is read-only.
    TypeError: a wrong dtype, or something else than an array or a str. Nothing has been drawn in either case.
    """
