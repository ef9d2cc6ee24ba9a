"""Boxes and labels, drawn on the planes of a yuv420p frame. The interface is described in overlay.pyi.

All outlines are drawn before the first label, so that no box crosses out another's label. Whatever is drawn comes down
to filled rectangles, each clipped to the frame where it is drawn, and to the rows of a label's text.
"""

import colorsys
import math

import numpy as np

from libc.math cimport floor
from libc.string cimport memcpy, memset

from engine_ext import font
from engine_ext.typedefs cimport f64, i64, u8

cdef enum:
    GLYPH_WIDTH = 5
    GLYPH_HEIGHT = 9
    GLYPH_FIRST = 0x20
    GLYPH_COUNT = 96
    # A label in font pixels. Two rows lie above a capital and two, of the descenders, below; one more row makes the
    # height even at every scale, so that labels end where blocks of chroma do.
    ADVANCE = GLYPH_WIDTH + 1
    MARGIN = 2
    LABEL_HEIGHT = MARGIN + GLYPH_HEIGHT + 1
    SCALE_MAX = 16
    # Track ids that differ by a multiple of this share a colour. A power of two, so that a negative id has one as well.
    COLOURS = 64

cdef struct Colour:
    u8 y
    u8 u
    u8 v
    u8 text_y

# A box in whole pixels, right and bottom exclusive, at most one thickness outside the frame.
cdef struct Box:
    Py_ssize_t left
    Py_ssize_t top
    Py_ssize_t right
    Py_ssize_t bottom

# The size of the frame in pixels of luma.
cdef struct Extent:
    Py_ssize_t width
    Py_ssize_t height

cdef u8[GLYPH_COUNT][GLYPH_HEIGHT] GLYPHS

if (font.GLYPH_WIDTH, font.GLYPH_HEIGHT, font.FIRST) != (GLYPH_WIDTH, GLYPH_HEIGHT, GLYPH_FIRST):
    raise ImportError("engine_ext.font and engine_ext.overlay differ in the size of a glyph.")
for _at, _row in enumerate(font.GLYPH_ROWS):
    GLYPHS[_at // GLYPH_HEIGHT][_at % GLYPH_HEIGHT] = _row

# The weights of red and blue in luma: ITU-R BT.601-7, BT.709-6, BT.2020-2.
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def track_colour(index):
    """Red, green and blue in [0, 1]. Steps of the golden ratio keep the hues of any few successive ids far apart."""
    hue = math.fmod(0.58 + index * (math.sqrt(5.0) - 1.0) / 2.0, 1.0)
    return colorsys.hsv_to_rgb(hue, 0.8 if index % 2 == 0 else 0.55, 1.0)


def relative_luminance(rgb):
    """How light a colour looks, in [0, 1]: WCAG 2.2, "relative luminance"."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def make_palette(matrix, full_range):
    """(COLOURS, 4) uint8: luma, two chromas, and the luma of the text, black or white, that contrasts more."""
    weight_red, weight_blue = LUMA_WEIGHTS[matrix]
    black, luma_range, chroma_range = (0.0, 255.0, 255.0) if full_range else (16.0, 219.0, 224.0)
    palette = np.empty((COLOURS, 4), np.uint8)
    for index in range(COLOURS):
        red, green, blue = rgb = track_colour(index)
        luma = weight_red * red + (1.0 - weight_red - weight_blue) * green + weight_blue * blue
        # Contrast with black and with white is equal at sqrt(1.05 * 0.05) - 0.05.
        text = 0.0 if relative_luminance(rgb) > 0.179 else 1.0
        exact = (
            black + luma_range * luma,
            128.0 + chroma_range * (blue - luma) / (2.0 * (1.0 - weight_blue)),
            128.0 + chroma_range * (red - luma) / (2.0 * (1.0 - weight_red)),
            black + luma_range * text,
        )
        palette[index] = [min(max(int(math.floor(value + 0.5)), 0), 255) for value in exact]
    return palette


PALETTES = {(matrix, full): make_palette(matrix, full) for matrix in LUMA_WEIGHTS for full in (False, True)}


cdef int fill(u8[:, :] plane, Py_ssize_t left, Py_ssize_t top, Py_ssize_t right, Py_ssize_t bottom,
              u8 value) except -1 nogil:
    """Fill a rectangle that lies within the plane."""
    cdef Py_ssize_t width = right - left, stride = plane.strides[0], rows = bottom - top, row
    cdef u8* at
    cdef u8[8] eight
    if width <= 0 or rows <= 0:
        return 0
    at = &plane[top, left]
    # The far corner, for the build that checks bounds.
    cdef u8* last = &plane[bottom - 1, right - 1]
    if last == NULL:
        return 0
    # The sides of a box: a call of memset for a few bytes a row would take longer than all the rest. Two stores that
    # may overlap do for any width from 4 to 8, and from 2 to 3.
    if width > 8:
        for row in range(rows):
            memset(at + row * stride, value, <size_t> width)
        return 0
    memset(eight, value, 8)
    if width >= 4:
        for row in range(rows):
            memcpy(at + row * stride, eight, 4)
            memcpy(at + row * stride + width - 4, eight, 4)
    elif width >= 2:
        for row in range(rows):
            memcpy(at + row * stride, eight, 2)
            memcpy(at + row * stride + width - 2, eight, 2)
    else:
        for row in range(rows):
            (at + row * stride)[0] = value
    return 0


cdef int fill_rectangle(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, Py_ssize_t left, Py_ssize_t top,
                        Py_ssize_t right, Py_ssize_t bottom, Colour colour) except -1 nogil:
    """Fill the part of a rectangle that lies in the frame, and the chroma of every 2x2 block it touches."""
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, frame.width), min(bottom, frame.height)
    if left >= right or top >= bottom:
        return 0
    fill(y, left, top, right, bottom, colour.y)
    left, top, right, bottom = left >> 1, top >> 1, (right + 1) >> 1, (bottom + 1) >> 1
    fill(u, left, top, right, bottom, colour.u)
    fill(v, left, top, right, bottom, colour.v)
    return 0


cdef bint place_box(const f64[:, ::1] boxes, Py_ssize_t row, Extent frame, Py_ssize_t thickness,
                    Box* box) noexcept nogil:
    """Round a box to whole pixels, at least one a side; False if it has no area or none of it is in the frame."""
    cdef f64 left = floor(boxes[row, 0] + 0.5), top = floor(boxes[row, 1] + 0.5)
    cdef f64 right = floor(boxes[row, 2] + 0.5), bottom = floor(boxes[row, 3] + 0.5)
    # Written so that NaN fails.
    if not (boxes[row, 2] > boxes[row, 0] and boxes[row, 3] > boxes[row, 1]):
        return False
    right, bottom = max(right, left + 1.0), max(bottom, top + 1.0)
    if not (right > 0.0 and bottom > 0.0 and left < frame.width and top < frame.height):
        return False
    # An edge that is further out than its thickness is as invisible at that distance, and fits an integer there.
    box.left, box.top = <Py_ssize_t> max(left, <f64> -thickness), <Py_ssize_t> max(top, <f64> -thickness)
    box.right = <Py_ssize_t> min(right, <f64> (frame.width + thickness))
    box.bottom = <Py_ssize_t> min(bottom, <f64> (frame.height + thickness))
    return True


cdef int draw_outline(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, Box box, Py_ssize_t thickness,
                      Colour colour) except -1 nogil:
    """Four bars inside the box's edges; together they are the whole box if it is that small."""
    cdef Py_ssize_t inner_left = min(box.left + thickness, box.right)
    cdef Py_ssize_t inner_top = min(box.top + thickness, box.bottom)
    cdef Py_ssize_t inner_right = max(box.right - thickness, inner_left)
    cdef Py_ssize_t inner_bottom = max(box.bottom - thickness, inner_top)
    fill_rectangle(y, u, v, frame, box.left, box.top, box.right, inner_top, colour)
    fill_rectangle(y, u, v, frame, box.left, inner_bottom, box.right, box.bottom, colour)
    fill_rectangle(y, u, v, frame, box.left, inner_top, inner_left, inner_bottom, colour)
    fill_rectangle(y, u, v, frame, inner_right, inner_top, box.right, inner_bottom, colour)
    return 0


cdef Py_ssize_t label_width(Py_ssize_t length, Py_ssize_t scale) noexcept nogil:
    """In pixels, rounded up to even: a label consists of whole blocks of chroma."""
    return ((ADVANCE * length - 1 + 2 * MARGIN) * scale + 1) & ~1


cdef int spread_text(u8[:, ::1] mask, const u8[::1] text, Py_ssize_t scale) except -1 nogil:
    """Write a label's font rows into the mask's columns, `scale` columns a font pixel: 255 is text, 0 is not.

    A font pixel is written as SCALE_MAX columns, whatever the scale, and the next one over the rest of them: stores of
    a fixed size are several times as fast as calls of memset. The mask is that much wider than the label.
    """
    cdef Py_ssize_t width = label_width(text.shape[0], scale), i, row, column
    cdef u8[2][SCALE_MAX] pixels
    cdef u8* at
    cdef u8 bits
    memset(pixels[0], 0, SCALE_MAX)
    memset(pixels[1], 255, SCALE_MAX)
    for row in range(LABEL_HEIGHT):
        memset(&mask[row, 0], 0, <size_t> width)
    for row in range(GLYPH_HEIGHT):
        for i in range(text.shape[0]):
            at = &mask[MARGIN + row, (MARGIN + ADVANCE * i) * scale]
            bits = GLYPHS[text[i] - GLYPH_FIRST][row]
            for column in range(GLYPH_WIDTH):
                memcpy(at + column * scale, pixels[bits >> (GLYPH_WIDTH - 1 - column) & 1], SCALE_MAX)
            memcpy(at + GLYPH_WIDTH * scale, pixels[0], SCALE_MAX)
    return 0


cdef void blend_luma(u8* out, const u8* mask, Py_ssize_t width, u8 ground, u8 text) noexcept nogil:
    cdef u8 difference = ground ^ text
    cdef Py_ssize_t x
    for x in range(width):
        out[x] = ground ^ (mask[x] & difference)


cdef void blend_chroma(u8* out, const u8* upper, const u8* lower, Py_ssize_t width, u8 ground) noexcept nogil:
    """A block's chroma is the mean of its four pixels', so that text stays without colour where it fills the block."""
    cdef Py_ssize_t x
    cdef int covered
    for x in range(width):
        covered = (upper[2 * x] & 1) + (upper[2 * x + 1] & 1) + (lower[2 * x] & 1) + (lower[2 * x + 1] & 1)
        out[x] = <u8> ((ground * (4 - covered) + 128 * covered + 2) >> 2)


cdef int draw_label(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, Box box, const u8[::1] text, u8[:, ::1] mask,
                    Py_ssize_t scale, Colour colour) except -1 nogil:
    """The text on a ground of the track's colour: above the box, or inside its top edge if there is no room above."""
    cdef Py_ssize_t width = label_width(text.shape[0], scale), height = LABEL_HEIGHT * scale
    cdef Py_ssize_t left, top, edge, row, upper, lower, luma_width, chroma_width
    # The text starts on an even row and column. Above the box this puts it up to one row into the outline, which has
    # its colour; the column that is left free at the box's own edge is filled.
    top = (box.top - height + 1) & ~1
    if box.top < height:
        top = (max(box.top, 0) + 1) & ~1
    top = min(top, max((frame.height - height) & ~1, 0))
    edge = min(max(box.left, 0), max((frame.width - width) & ~1, 0))
    left = (edge + 1) & ~1
    fill_rectangle(y, u, v, frame, edge, top, left, top + height, colour)

    spread_text(mask, text, scale)
    luma_width = min(width, frame.width - left)
    for row in range(min(height, frame.height - top)):
        if row % scale == 0:
            blend_luma(&y[top + row, left], &mask[row // scale, 0], luma_width, colour.y, colour.text_y)
        else:
            memcpy(&y[top + row, left], &y[top + row - 1, left], <size_t> luma_width)
    chroma_width = (luma_width + 1) >> 1
    for row in range(min(height >> 1, ((frame.height + 1) >> 1) - (top >> 1))):
        upper, lower = 2 * row // scale, (2 * row + 1) // scale
        blend_chroma(&u[(top >> 1) + row, left >> 1], &mask[upper, 0], &mask[lower, 0], chroma_width, colour.u)
        blend_chroma(&v[(top >> 1) + row, left >> 1], &mask[upper, 0], &mask[lower, 0], chroma_width, colour.v)
    return 0


cdef int draw_all(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, const f64[:, ::1] boxes, const i64[::1] ids,
                  const u8[::1] text, const i64[::1] ends, u8[:, ::1] mask, const u8[:, ::1] palette,
                  Py_ssize_t thickness, Py_ssize_t scale) except -1 nogil:
    cdef Py_ssize_t row, start = 0
    cdef Box box
    for row in range(boxes.shape[0]):
        if place_box(boxes, row, frame, thickness, &box):
            draw_outline(y, u, v, frame, box, thickness, colour_of(palette, ids[row]))
    for row in range(boxes.shape[0]):
        if ends[row] > start and place_box(boxes, row, frame, thickness, &box):
            draw_label(y, u, v, frame, box, text[start:ends[row]], mask, scale, colour_of(palette, ids[row]))
        start = ends[row]
    return 0


cdef Colour colour_of(const u8[:, ::1] palette, i64 track_id) noexcept nogil:
    cdef Colour colour
    cdef Py_ssize_t index = track_id & (COLOURS - 1)
    colour.y, colour.u = palette[index, 0], palette[index, 1]
    colour.v, colour.text_y = palette[index, 2], palette[index, 3]
    return colour


def is_int(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_planes(planes, width, height):
    if len(planes) != 3:
        raise ValueError(f"planes must be three 2-D writable uint8 arrays. Got {len(planes)}.")
    for index, plane in enumerate(planes):
        name = f"planes[{index}]"
        if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8:
            found = plane.dtype if isinstance(plane, np.ndarray) else type(plane).__name__
            raise TypeError(f"{name} must be a 2-D writable uint8 array. Got {found}.")
        if plane.ndim != 2 or not plane.flags.writeable:
            found = f"shape {plane.shape}" if plane.ndim != 2 else "a read-only one"
            raise ValueError(f"{name} must be a 2-D writable uint8 array. Got {found}.")
        rows, columns = (height, width) if index == 0 else ((height + 1) // 2, (width + 1) // 2)
        if plane.shape[0] < rows or plane.shape[1] < columns:
            raise ValueError(f"{name} must have at least {rows} rows of {columns} bytes. Got shape {plane.shape}.")
        if plane.shape[1] > 1 and plane.strides[1] != 1:
            raise ValueError(f"{name} must have rows without gaps. Got strides {plane.strides}.")


def check_tracks(boxes_xyxy, ids, labels):
    if not isinstance(boxes_xyxy, np.ndarray) or boxes_xyxy.dtype not in (np.float32, np.float64):
        found = boxes_xyxy.dtype if isinstance(boxes_xyxy, np.ndarray) else type(boxes_xyxy).__name__
        raise TypeError(f"boxes_xyxy must be a float64 or float32 array. Got {found}.")
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must have the shape (N, 4). Got {boxes_xyxy.shape}.")
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64:
        found = ids.dtype if isinstance(ids, np.ndarray) else type(ids).__name__
        raise TypeError(f"ids must be an int64 array. Got {found}.")
    if ids.shape != (len(boxes_xyxy),):
        raise ValueError(f"ids must have the shape ({len(boxes_xyxy)},), one a box. Got {ids.shape}.")
    if isinstance(labels, (str, bytes)):
        raise TypeError(f"labels must be a sequence of str, one a box. Got {type(labels).__name__}.")
    if len(labels) != len(boxes_xyxy):
        raise ValueError(f"labels must be {len(boxes_xyxy)} str, one a box. Got {len(labels)}.")
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise TypeError(f"labels[{index}] must be a str. Got {type(label).__name__}.")


def draw_tracks(planes, frame_wh, boxes_xyxy, ids, labels, *, matrix="bt601", full_range=False, thickness=None,
                font_scale=None):
    if not (isinstance(frame_wh, tuple) and len(frame_wh) == 2 and all(is_int(n) and n >= 1 for n in frame_wh)):
        raise ValueError(f"frame_wh must be two ints of at least 1. Got {frame_wh!r}.")
    check_planes(planes, *frame_wh)
    check_tracks(boxes_xyxy, ids, labels)
    if matrix not in LUMA_WEIGHTS:
        raise ValueError(f"matrix must be one of {', '.join(LUMA_WEIGHTS)}. Got {matrix!r}.")
    if thickness is not None and not (is_int(thickness) and 1 <= thickness <= 64):
        raise ValueError(f"thickness must be None or an int in [1, 64]. Got {thickness!r}.")
    if font_scale is not None and not (is_int(font_scale) and 1 <= font_scale <= SCALE_MAX):
        raise ValueError(f"font_scale must be None or an int in [1, {SCALE_MAX}]. Got {font_scale!r}.")
    if len(boxes_xyxy) == 0:
        return

    cdef Extent frame
    frame.width, frame.height = frame_wh
    cdef Py_ssize_t side = min(frame.width, frame.height)
    cdef Py_ssize_t line = max(1, (side + 160) // 320) if thickness is None else thickness
    cdef Py_ssize_t scale = max(1, (side + 200) // 400) if font_scale is None else font_scale

    # One buffer of text. What lies beyond the frame's width is cut off here, which bounds the mask as well.
    most = frame.width // (ADVANCE * scale) + 1
    texts = [font.fold(label)[:most] for label in labels]
    lengths = [len(text) for text in texts]
    cdef const i64[::1] ends = np.cumsum(lengths, dtype=np.int64)
    cdef const u8[::1] text = b"".join(texts)
    cdef u8[:, ::1] mask = np.empty((LABEL_HEIGHT, label_width(max(lengths), scale) + SCALE_MAX), np.uint8)

    cdef const f64[:, ::1] boxes = np.array(boxes_xyxy, np.float64, order="C")
    cdef const i64[::1] track_ids = np.array(ids, order="C")
    cdef const u8[:, ::1] palette = PALETTES[matrix, bool(full_range)]
    cdef u8[:, :] y = planes[0], u = planes[1], v = planes[2]
    with nogil:
        draw_all(y, u, v, frame, boxes, track_ids, text, ends, mask, palette, line, scale)
