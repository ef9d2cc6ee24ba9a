"""Overlay: boxes and their labels, lines and texts, drawn on the planes of a decoded frame."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LIGHT: int
"""White, as a colour of lines and texts."""
DARK: int
"""Nearly black, as a colour of lines and texts."""

def line_thickness(frame_wh: tuple[int, int]) -> int:
    """Return the thickness in pixels of outlines and lines where none is given."""

def draw_tracks(
    planes: Sequence[npt.NDArray[np.uint8]],
    frame_wh: tuple[int, int],
    boxes_xyxy: npt.NDArray[np.floating[Any]],
    ids: npt.NDArray[np.int64],
    labels: Sequence[str],
    *,
    short_labels: Sequence[str] | None = None,
    colours: npt.NDArray[np.int64] | None = None,
    matrix: str = "bt601",
    full_range: bool = False,
    thickness: int | None = None,
    font_size: int | None = None,
    taken: npt.NDArray[np.int64] | None = None,
    slots: npt.NDArray[np.int64] | None = None,
) -> None:
    """Draw the tracks' boxes and labels on a yuv420p frame, in place.

    planes (in-out): the frame's Y, U and V, each 2-D uint8 and writable, one row per line of the image. There may be
        more rows, and more bytes in a row, than the image has: they are not touched. From PyAV, after
        `frame.make_writable()`, a plane is `np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)`.
    frame_wh: width and height of the image in pixels, each at least 1. U and V hold half of it, rounded up.
    boxes_xyxy (in): (N, 4) float64 or float32, the columns left, top, right, bottom in pixels of the frame. Edges are
        rounded to the nearest pixel; right and bottom are exclusive. A box that has no area (inverted, NaN) or lies
        outside the frame is left out with its label; one that is partly outside is clipped.
    ids (in): (N,) int64, any values. Labels of smaller ones have the choice of places.
    labels: N texts. "" draws no label. Printable ASCII is drawn; accented Latin letters lose their accents, and each
        other character is drawn as a hollow box. A label wider than the frame is cut off at its right edge.
    short_labels: N texts, each for where its label can't be placed without covering a head or another label.
    colours (in): (N,) int64, any values; None: the ids. There are 64 colours, each the same in every frame and video;
        values that differ by a multiple of 64 share one.
    matrix: "bt601", "bt709" or "bt2020": how the frame encodes colours (ITU-R BT.601-7, BT.709-6, BT.2020-2).
    full_range: whether luma and chroma use 0 to 255 (JPEG) instead of 16 to 235 and 16 to 240.
    thickness: of the outline, in pixels, [1, 64]. It grows inwards from the box's edges. Thicker lines are seen from
        further away and hide more of what they surround. None: 1/320 of the frame's shorter side, 3 at 1080p.
    font_size: pixels per em, [1, 200]; the largest of font.SIZES that is no larger is taken. None: 5 and 1/75 of the
        frame's shorter side, 19 at 1080p.
    taken (in): (K, 4) int64, left, top, right and bottom of rectangles in pixels on which no label may stand.
    slots (in-out): (N,) int64, for each track the value left here when it was last drawn, -1 if it was not yet. Its
        label stays where it was as long as it covers no other label and hardly more of heads than elsewhere; labels
        that can stay are placed before those that need a new place. None: all need one.

    A label stands above its box where that covers nothing, else beside, below or inside it: where it covers fewest
    cells of a grid in which the upper middle of a box lies (a head, of people), the nearer places first. No label lies
    on another one: one for which there is no place is left out. It is fully visible unless it is larger than the frame.
    Its text is black or white, whichever contrasts more with the colour, and anti-aliased. Later tracks are drawn over
    earlier ones, and all labels over all outlines.

    Chroma has half the resolution: a 2x2 block takes the colour if any of its pixels is drawn on, so that thin lines
    keep their full colour; the colour may reach one pixel past an odd edge. Text has no colour of its own: the chroma
    of a block in a label is the mean of its pixels'.

    Zero tracks: nothing is touched. The same arguments give the same bytes. The GIL is released while drawing.

    ValueError: a shape, a size, a value or the number of planes, ids or labels does not fit; a plane is read-only.
    TypeError: a wrong dtype, or anything other than an array or a str. Nothing has been drawn in either case.
    """

def draw_lines(
    planes: Sequence[npt.NDArray[np.uint8]],
    frame_wh: tuple[int, int],
    points: npt.NDArray[np.float64],
    ends: npt.NDArray[np.int64],
    colours: npt.NDArray[np.int64],
    *,
    matrix: str = "bt601",
    full_range: bool = False,
    thickness: int | None = None,
) -> None:
    """Draw lines through points on a yuv420p frame, in place: anti-aliased, with round ends.

    points (in): (P, 2) float64, x and y in pixels of the frame, the points of all lines one after the other. A piece
        between two of them is left out where one is not finite or beyond 1e7.
    ends (in): (K,) int64, where in `points` each line ends, exclusive, never descending. A line of one point is not
        drawn.
    colours (in): (K,) int64, as those of `draw_tracks`, or LIGHT or DARK.

    All else as in `draw_tracks`.
    """

class Layer:
    """Lines or a text, ready to be drawn on many frames of one size: what `lines_layer` and `text_layer` return."""

    def draw(self, planes: Sequence[npt.NDArray[np.uint8]]) -> None:
        """Draw on the planes of a yuv420p frame, in place. `planes` and errors as those of `draw_tracks`. The GIL is
        released while drawing."""

def draw_layers(planes: Sequence[npt.NDArray[np.uint8]], layers: Iterable[Layer]) -> None:
    """Draw layers one after the other, as their `draw` does, in less time if they are small: texts. The GIL is held."""

def lines_layer(
    frame_wh: tuple[int, int],
    strokes: Iterable[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64], int | None]],
    *,
    matrix: str = "bt601",
    full_range: bool = False,
) -> Layer:
    """Return what one call of `draw_lines` after the other would draw, byte by byte: each has its points, ends, colours
    and thickness. Drawing it takes a fraction of their time."""

def text_layer(
    frame_wh: tuple[int, int],
    place_xy: tuple[int, int],
    colour: int,
    text: str,
    *,
    matrix: str = "bt601",
    full_range: bool = False,
    font_size: int | None = None,
) -> Layer:
    """Return a text on a ground of its colour.

    place_xy: its left and top in pixels of the frame, moved into the frame and to an even column and row.
    colour: as those of `draw_tracks`, or LIGHT or DARK.

    All else as in `draw_tracks`.
    """

def text_sizes(
    texts: Sequence[str], frame_wh: tuple[int, int], *, font_size: int | None = None
) -> npt.NDArray[np.int64]:
    """Return the (N, 2) width and height in pixels of texts as `text_layer` draws them; 0, 0 for an empty one. For a
    text wider than the frame, what is beyond its right edge may be left out."""
