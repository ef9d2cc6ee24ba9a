"""Draws boxes, labels and lines on the planes of a yuv420p frame. The interface is described in overlay.pyi.

All outlines are drawn before the first label, so that no box crosses another's label. Boxes and the backgrounds of
labels are filled rectangles, clipped to the frame when they are drawn; text and lines are blended by coverage.
"""

import colorsys
import math

import numpy as np

from libc.math cimport ceil, floor, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from engine_ext import font
from engine_ext.letterbox_tables import LUMA_WEIGHTS
from engine_ext.typedefs cimport f64, i32, i64, u8

cdef extern from "overlay_blend.h" nogil:
    enum:
        BLEND_CHUNK
    u8 blend_one(u8 ground, u8 ink, u8 share)
    void blend_luma(
        u8* out, Py_ssize_t stride, const u8* mask, Py_ssize_t mask_stride, Py_ssize_t rows, Py_ssize_t width,
        u8 ground, u8 ink
    )
    void blend_chroma(
        u8* out_u, Py_ssize_t stride_u, u8* out_v, Py_ssize_t stride_v, const u8* mask, Py_ssize_t mask_stride,
        Py_ssize_t rows, Py_ssize_t width, u8 u, u8 v
    )
    void blend_glyph(
        u8* mask, Py_ssize_t mask_stride, const u8* glyph, Py_ssize_t stride, Py_ssize_t rows, Py_ssize_t chunks
    )
    unsigned long long blend_cells(const u8* cells, Py_ssize_t count, Py_ssize_t* heads)

cdef enum:
    GLYPH_FIRST = 0x20
    # Track ids that differ by a multiple of this share a colour. A power of two, so that negative ids have one, too.
    COLOURS = 64
    # The content of a cell of the grid on which labels are placed.
    HEAD = 1
    LABEL = 2
    LABELS = 0x02020202
    # The costs of a place: a cell with the head of a box, a step down the list of places, the short text; and how much
    # more the label's place in the previous frame may cost than another one.
    HEAD_COST = 4
    PLACE_COST = 3
    SHORT_COST = 8
    MOVE_COST = 24
    PLACES = 10

if font.CHUNK != BLEND_CHUNK or font.FIRST != GLYPH_FIRST:
    raise ImportError("engine_ext.font and engine_ext.overlay differ in how glyphs are stored.")

# Points of lines beyond it are invalid.
cdef f64 FAR = 1e7

cdef struct Colour:
    u8 y
    u8 u
    u8 v
    u8 text_y

# A box in whole pixels, at most one thickness outside the frame; right and bottom are exclusive.
cdef struct Box:
    Py_ssize_t left
    Py_ssize_t top
    Py_ssize_t right
    Py_ssize_t bottom

# The size of the frame in luma pixels.
cdef struct Extent:
    Py_ssize_t width
    Py_ssize_t height

# The font in one size, and the dimensions of its labels.
cdef struct Face:
    const u8* glyphs
    const i32* advances
    const i32* chunks
    Py_ssize_t rows
    Py_ssize_t stride
    Py_ssize_t left
    Py_ssize_t margin_x
    Py_ssize_t margin_y
    Py_ssize_t height

# A label's text, and its width in pixels.
cdef struct Words:
    const u8* text
    Py_ssize_t length
    Py_ssize_t width

# A possible position of a label: one of the places beside its box, and the pixels it covers there.
cdef struct Spot:
    Py_ssize_t place
    Py_ssize_t left
    Py_ssize_t top
    Py_ssize_t right
    Py_ssize_t bottom

# `columns` by `rows` cells of `size` pixels, row by row.
cdef struct Grid:
    u8* cells
    Py_ssize_t size
    Py_ssize_t columns
    Py_ssize_t rows


def track_colour(index):
    """Return red, green and blue in [0, 1]. Steps of the golden ratio keep the hues of successive ids far apart."""
    hue = math.fmod(0.58 + index * (math.sqrt(5.0) - 1.0) / 2.0, 1.0)
    return colorsys.hsv_to_rgb(hue, 0.8 if index % 2 == 0 else 0.55, 1.0)


def relative_luminance(rgb):
    """Return the relative luminance of a colour as in WCAG 2.2, in [0, 1]."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def make_palette(matrix, full_range):
    """Return (COLOURS + 2, 4) uint8: luma, two chromas, and the luma of the text, black or white, whichever has more
    contrast. The last two colours are LIGHT and DARK."""
    weight_red, weight_blue = LUMA_WEIGHTS[matrix]
    black, luma_range, chroma_range = (0.0, 255.0, 255.0) if full_range else (16.0, 219.0, 224.0)
    colours = [*map(track_colour, range(COLOURS)), (1.0, 1.0, 1.0), (0.08, 0.08, 0.08)]
    palette = np.empty((len(colours), 4), np.uint8)
    for index, rgb in enumerate(colours):
        red, green, blue = rgb
        luma = weight_red * red + (1.0 - weight_red - weight_blue) * green + weight_blue * blue
        # The contrast with black equals that with white at sqrt(1.05 * 0.05) - 0.05.
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
LIGHT, DARK = COLOURS, COLOURS + 1
NOTHING_TAKEN = np.empty((0, 4), np.int64)


cdef int fill(u8[:, :] plane, Py_ssize_t left, Py_ssize_t top, Py_ssize_t right, Py_ssize_t bottom,
              u8 value) except -1 nogil:
    """Fill a rectangle within the plane."""
    cdef Py_ssize_t width = right - left, stride = plane.strides[0], rows = bottom - top, row
    cdef u8* at
    cdef u8[8] eight
    if width <= 0 or rows <= 0:
        return 0
    at = &plane[top, left]
    # Access the last element, so that a build with bounds checks notices.
    cdef u8* last = &plane[bottom - 1, right - 1]
    if last == NULL:
        return 0
    # The sides of a box, a few bytes per row: calls of memset would dominate the time. Two stores that may overlap
    # suffice for widths from 4 to 8, and from 2 to 3.
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
    """Fill the part of a rectangle within the frame, and the chroma of every 2x2 block that it touches."""
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
    """Round a box to whole pixels, at least 1 x 1. Return False if it has no area or lies outside the frame."""
    cdef f64 left = floor(boxes[row, 0] + 0.5), top = floor(boxes[row, 1] + 0.5)
    cdef f64 right = floor(boxes[row, 2] + 0.5), bottom = floor(boxes[row, 3] + 0.5)
    # Negated so that NaN fails.
    if not (boxes[row, 2] > boxes[row, 0] and boxes[row, 3] > boxes[row, 1]):
        return False
    right, bottom = max(right, left + 1.0), max(bottom, top + 1.0)
    if not (right > 0.0 and bottom > 0.0 and left < frame.width and top < frame.height):
        return False
    # Beyond one thickness outside the frame, an edge is invisible anyway; clipped to there, it fits an integer.
    box.left, box.top = <Py_ssize_t> max(left, <f64> -thickness), <Py_ssize_t> max(top, <f64> -thickness)
    box.right = <Py_ssize_t> min(right, <f64> (frame.width + thickness))
    box.bottom = <Py_ssize_t> min(bottom, <f64> (frame.height + thickness))
    return True


cdef int draw_outline(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, Box box, Py_ssize_t thickness,
                      Colour colour) except -1 nogil:
    """Draw four bars along the inner edges of a box, which may fill a small one."""
    cdef Py_ssize_t inner_left = min(box.left + thickness, box.right)
    cdef Py_ssize_t inner_top = min(box.top + thickness, box.bottom)
    cdef Py_ssize_t inner_right = max(box.right - thickness, inner_left)
    cdef Py_ssize_t inner_bottom = max(box.bottom - thickness, inner_top)
    fill_rectangle(y, u, v, frame, box.left, box.top, box.right, inner_top, colour)
    fill_rectangle(y, u, v, frame, box.left, inner_bottom, box.right, box.bottom, colour)
    fill_rectangle(y, u, v, frame, box.left, inner_top, inner_left, inner_bottom, colour)
    fill_rectangle(y, u, v, frame, inner_right, inner_top, box.right, inner_bottom, colour)
    return 0


# --- placing labels

cdef Py_ssize_t text_width(const Face* face, const u8* text, Py_ssize_t length) noexcept nogil:
    """Return the width of a label in pixels, rounded up to even, so that it consists of whole chroma blocks."""
    cdef Py_ssize_t i, width = 2 * face.margin_x
    for i in range(length):
        width += face.advances[text[i] - GLYPH_FIRST]
    return (width + 1) & ~1


cdef void mark(const Grid* grid, Py_ssize_t left, Py_ssize_t top, Py_ssize_t right, Py_ssize_t bottom,
               u8 what) noexcept nogil:
    """Mark the cells that a rectangle, clipped to the frame, touches."""
    cdef Py_ssize_t row, column
    left, top = max(left, 0) // grid.size, max(top, 0) // grid.size
    right, bottom = max(right, 0) + grid.size - 1, max(bottom, 0) + grid.size - 1
    right, bottom = min(right // grid.size, grid.columns), min(bottom // grid.size, grid.rows)
    for row in range(top, bottom):
        for column in range(left, right):
            grid.cells[row * grid.columns + column] |= what


cdef void unmark(const Grid* grid, Spot spot) noexcept nogil:
    """Remove a label from the cells that it touches. No other label touches them."""
    cdef Py_ssize_t row, column
    for row in range(spot.top // grid.size, min((spot.bottom - 1) // grid.size + 1, grid.rows)):
        for column in range(spot.left // grid.size, min((spot.right - 1) // grid.size + 1, grid.columns)):
            grid.cells[row * grid.columns + column] &= ~LABEL


cdef Py_ssize_t cost_of(const Grid* grid, Py_ssize_t left, Py_ssize_t top, Py_ssize_t right,
                        Py_ssize_t bottom) noexcept nogil:
    """Return the cost of what a label would cover; -1 if it would overlap another label."""
    cdef Py_ssize_t row, heads = 0
    cdef unsigned long long there = 0
    left, top = left // grid.size, top // grid.size
    right, bottom = min((right - 1) // grid.size + 1, grid.columns), min((bottom - 1) // grid.size + 1, grid.rows)
    for row in range(top, bottom):
        there |= blend_cells(grid.cells + row * grid.columns + left, right - left, &heads)
        if (there | there >> 32) & LABELS:
            return -1
    return HEAD_COST * heads


cdef bint place_at(Py_ssize_t place, Extent frame, Box box, Py_ssize_t width, Py_ssize_t height, Py_ssize_t* left,
                   Py_ssize_t* top) noexcept nogil:
    """Set the position of a label at one of the places beside a box, the better ones first: even, and moved along the
    box into the frame. Return False if the frame has no room there."""
    cdef Py_ssize_t box_left = max(box.left, 0), box_top = max(box.top, 0)
    cdef Py_ssize_t box_right = min(box.right, frame.width), box_bottom = min(box.bottom, frame.height)
    cdef Py_ssize_t x, y
    if place == 0:      # above
        x, y = box_left, box.top - height
    elif place == 1:
        x, y = box_right - width, box.top - height
    elif place == 2:    # beside its top
        x, y = box_right, box_top
    elif place == 3:
        x, y = box_left - width, box_top
    elif place == 4:    # below
        x, y = box_left, box_bottom
    elif place == 5:
        x, y = box_right - width, box_bottom
    elif place == 6:    # inside, at its bottom
        x, y = box_left, box_bottom - height
    elif place == 7:    # beside its bottom
        x, y = box_right, box_bottom - height
    elif place == 8:
        x, y = box_left - width, box_bottom - height
    else:               # inside, at its top
        x, y = box_left, box_top
    # Above a box, an odd row is rounded into the outline, which has the label's colour.
    x, y = (x + 1) & ~1, (y + 1) & ~1
    if place == 2 or place == 3 or place == 7 or place == 8:
        if x < 0 or x + width > frame.width:
            return False
        y = min(max(y, 0), max((frame.height - height) & ~1, 0))
    elif place <= 5:
        if y < 0 or y + height > frame.height:
            return False
        x = min(max(x, 0), max((frame.width - width) & ~1, 0))
    else:
        x = min(max(x, 0), max((frame.width - width) & ~1, 0))
        y = min(max(y, 0), max((frame.height - height) & ~1, 0))
    left[0], top[0] = x, y
    return True


cdef Py_ssize_t cost_at(const Grid* grid, Extent frame, Box box, Py_ssize_t width, Py_ssize_t height,
                        Py_ssize_t place, Spot* spot) noexcept nogil:
    """Return the cost of a label at one of the places; -1 if it is impossible. Sets `spot` if the frame has room."""
    if not place_at(place, frame, box, width, height, &spot.left, &spot.top):
        return -1
    spot.right, spot.bottom = min(spot.left + width, frame.width), min(spot.top + height, frame.height)
    spot.place = place
    return cost_of(grid, spot.left, spot.top, spot.right, spot.bottom)


cdef Py_ssize_t find_place(const Grid* grid, Extent frame, Box box, Py_ssize_t width, Py_ssize_t height,
                           Py_ssize_t last, Spot* best_spot) noexcept nogil:
    """Find the cheapest place for a label, and return its cost; -1 if each would cover another label. The previous
    place, `last` (-1: none), has a discount."""
    cdef Spot spot
    cdef Py_ssize_t place, cost, best = -1
    if last >= 0:
        cost = cost_at(grid, frame, box, width, height, last, &spot)
        if cost >= 0:
            best, best_spot[0] = max(cost - MOVE_COST, 0), spot
    for place in range(PLACES):
        if best >= 0 and PLACE_COST * place >= best:
            break
        if place == last:
            continue
        cost = cost_at(grid, frame, box, width, height, place, &spot)
        if cost < 0:
            continue
        cost += PLACE_COST * place
        if best < 0 or cost < best:
            best, best_spot[0] = cost, spot
    return best


# --- text

cdef void spread_text(u8* mask, Py_ssize_t stride, const Face* face, const u8* text, Py_ssize_t length) noexcept nogil:
    """Write the text's coverage of each pixel of a label into the mask, whose rows are wider than the label by a
    glyph's stride."""
    cdef Py_ssize_t i, which
    cdef u8* pen = mask + face.margin_y * stride + face.margin_x - face.left
    memset(mask, 0, <size_t> (face.height * stride))
    for i in range(length):
        which = text[i] - GLYPH_FIRST
        blend_glyph(
            pen, stride, face.glyphs + which * face.rows * face.stride, face.stride, face.rows, face.chunks[which]
        )
        pen += face.advances[which]


cdef int draw_text(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, Py_ssize_t left, Py_ssize_t top, const Face* face,
                   const u8* text, Py_ssize_t length, u8[::1] mask, Colour colour) except -1 nogil:
    """Draw a text on a background, clipped to the frame, from an even column and row."""
    cdef Py_ssize_t width = text_width(face, text, length), stride = width + face.stride
    cdef Py_ssize_t luma_width = min(width, frame.width - left), chroma_width = (luma_width + 1) >> 1
    cdef Py_ssize_t rows = min(face.height, frame.height - top)
    cdef Py_ssize_t chroma_rows = min(face.height >> 1, ((frame.height + 1) >> 1) - (top >> 1))
    if luma_width <= 0 or rows <= 0:
        return 0
    # Access the last elements, so that a build with bounds checks notices.
    cdef u8* last = &mask[face.height * stride - 1]
    last = &y[top + rows - 1, left + luma_width - 1]
    last = &u[(top >> 1) + chroma_rows - 1, (left >> 1) + chroma_width - 1]
    last = &v[(top >> 1) + chroma_rows - 1, (left >> 1) + chroma_width - 1]
    if last == NULL:
        return 0
    spread_text(&mask[0], stride, face, text, length)
    blend_luma(&y[top, left], y.strides[0], &mask[0], stride, rows, luma_width, colour.y, colour.text_y)
    blend_chroma(
        &u[top >> 1, left >> 1], u.strides[0], &v[top >> 1, left >> 1], v.strides[0], &mask[0], stride, chroma_rows,
        chroma_width, colour.u, colour.v,
    )
    return 0


cdef bint words(const u8[::1] text, const i64[::1] ends, Py_ssize_t row, const Face* face, Words* found) noexcept nogil:
    """Set `found` to the text of a row. Return False if it has none."""
    cdef Py_ssize_t start = ends[row - 1] if row > 0 else 0
    if ends[row] == start:
        return False
    found.text, found.length = &text[start], ends[row] - start
    found.width = text_width(face, found.text, found.length)
    return True


cdef int draw_all(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, const f64[:, ::1] boxes, const i64[:] colours,
                  const i64[::1] order, const u8[::1] text, const i64[::1] ends, const u8[::1] short,
                  const i64[::1] short_ends, u8[::1] mask, const u8[:, ::1] palette, Py_ssize_t thickness,
                  const Face* face, Grid* grid, const i64[:, ::1] taken, i64[::1] slots) except -1 nogil:
    """Draw all boxes and labels. `slots` are the places of labels in the previous frame, plus PLACES for the short
    text; -1: none."""
    cdef Py_ssize_t row, at, cost, other, width, last
    cdef Words whole, brief, shown
    cdef Spot spot, other_spot
    cdef bint is_brief
    cdef Box box
    for row in range(boxes.shape[0]):
        if place_box(boxes, row, frame, thickness, &box):
            draw_outline(y, u, v, frame, box, thickness, colour_of(palette, colours[row] & (COLOURS - 1)))
            width = box.right - box.left
            # From the first whole cell on, so that a label that ends where the box begins covers nothing of it.
            mark(grid, box.left + width // 4, box.top + grid.size - 1, box.right - width // 4,
                 box.top + max((box.bottom - box.top) // 5, grid.size), HEAD)
    for row in range(taken.shape[0]):
        mark(grid, taken[row, 0], taken[row, 1], min(taken[row, 2], frame.width), min(taken[row, 3], frame.height),
             LABEL)
    # First those that can keep their place, so that new ones don't displace them.
    for at in range(boxes.shape[0]):
        row = order[at]
        last = slots[row]
        if not 0 <= last < 2 * PLACES:
            slots[row] = -1
            continue
        is_brief = last >= PLACES
        if not place_box(boxes, row, frame, thickness, &box) or not (
            words(short, short_ends, row, face, &shown) if is_brief else words(text, ends, row, face, &shown)
        ):
            slots[row] = -1
            continue
        cost = cost_at(grid, frame, box, shown.width, face.height, last - PLACES if is_brief else last, &spot)
        if 0 <= cost <= MOVE_COST:
            mark(grid, spot.left, spot.top, spot.right, spot.bottom, LABEL)
        else:
            slots[row] = -2 - last
    for at in range(boxes.shape[0]):
        row = order[at]
        if not place_box(boxes, row, frame, thickness, &box) or not words(text, ends, row, face, &whole):
            slots[row] = -1
            continue
        brief = whole
        if slots[row] >= 0:
            is_brief = slots[row] >= PLACES
            if is_brief:
                words(short, short_ends, row, face, &brief)
                last = slots[row] - PLACES
                cost_at(grid, frame, box, brief.width, face.height, last, &spot)
                unmark(grid, spot)
                # There is room for the long text again.
                if cost_at(grid, frame, box, whole.width, face.height, last, &other_spot) == 0:
                    is_brief, spot = False, other_spot
            else:
                cost_at(grid, frame, box, whole.width, face.height, slots[row], &spot)
        else:
            last = -2 - slots[row]
            is_brief = False
            cost = find_place(grid, frame, box, whole.width, face.height, last if last < PLACES else -1, &spot)
            if cost != 0 and words(short, short_ends, row, face, &brief):
                other = find_place(grid, frame, box, brief.width, face.height,
                                   last - PLACES if last >= PLACES else -1, &other_spot)
                if other >= 0 and (cost < 0 or other + SHORT_COST < cost):
                    is_brief, cost, spot = True, other, other_spot
            if cost < 0:
                slots[row] = -1
                continue
        shown = brief if is_brief else whole
        slots[row] = spot.place + PLACES if is_brief else spot.place
        mark(grid, spot.left, spot.top, spot.right, spot.bottom, LABEL)
        draw_text(y, u, v, frame, spot.left, spot.top, face, shown.text, shown.length, mask,
                  colour_of(palette, colours[row] & (COLOURS - 1)))
    return 0


cdef Colour colour_of(const u8[:, ::1] palette, i64 which) noexcept nogil:
    cdef Colour colour
    cdef Py_ssize_t index = which if which == COLOURS or which == COLOURS + 1 else which & (COLOURS - 1)
    colour.y, colour.u = palette[index, 0], palette[index, 1]
    colour.v, colour.text_y = palette[index, 2], palette[index, 3]
    return colour


# --- lines

cdef struct Segment:
    f64 x0
    f64 y0
    f64 dx
    f64 dy
    f64 radius
    f64 inverse    # of the square of its length
    f64 outer      # squares of distances: from here on nothing is covered, up to there all of a pixel
    f64 inner
    f64 most_left
    f64 most_right
    f64 slant      # how far from its middle a row's columns reach; 0: all of them
    Py_ssize_t top
    Py_ssize_t bottom


cdef Segment segment_of(f64 x0, f64 y0, f64 x1, f64 y1, f64 radius, Py_ssize_t height) noexcept nogil:
    """A line with round ends, and the rows that it can reach."""
    cdef Segment line
    cdef f64 reach = radius + 1.0, length2, dy = y1 - y0
    line.x0, line.y0, line.dx, line.dy, line.radius = x0, y0, x1 - x0, dy, radius
    length2 = line.dx * line.dx + dy * dy
    line.inverse = 1.0 / length2 if length2 > 0.0 else 0.0
    # Only at the line's edges is a root needed.
    line.outer, line.inner = (radius + 0.5) * (radius + 0.5), max(radius - 0.5, 0.0) * max(radius - 0.5, 0.0)
    line.most_left, line.most_right = min(x0, x1) - reach, max(x0, x1) + reach
    line.slant = reach * sqrt(length2) / abs(dy) if abs(dy) > 1e-3 else 0.0
    line.top = <Py_ssize_t> max(floor(min(y0, y1) - reach), 0.0)
    line.bottom = <Py_ssize_t> max(min(ceil(max(y0, y1) + reach), <f64> height), 0.0)
    return line


cdef bint columns_of(const Segment* line, Py_ssize_t row, Py_ssize_t width, Py_ssize_t* left,
                     Py_ssize_t* right) noexcept nogil:
    """The columns of a row that a line can reach; False if there are none."""
    cdef f64 centre = 0.5 * (line.x0 + line.x0 + line.dx), half = line.most_right - line.most_left
    if line.slant > 0.0:
        centre, half = line.x0 + (row + 0.5 - line.y0) * line.dx / line.dy, line.slant
    left[0] = <Py_ssize_t> max(floor(max(line.most_left, centre - half)), 0.0)
    right[0] = <Py_ssize_t> max(min(ceil(min(line.most_right, centre + half)), <f64> width), 0.0)
    return left[0] < right[0]


cdef inline u8 share_of(const Segment* line, f64 across, f64 down) noexcept nogil:
    """How much of a pixel a line covers, of 255: by the distance of its centre, given from the line's beginning."""
    cdef f64 t = min(max((across * line.dx + down * line.dy) * line.inverse, 0.0), 1.0)
    cdef f64 ex = across - t * line.dx, ey = down - t * line.dy, distance2 = ex * ex + ey * ey
    if distance2 >= line.outer:
        return 0
    if distance2 <= line.inner:
        return 255
    return <u8> (min(max(line.radius + 0.5 - sqrt(distance2), 0.0), 1.0) * 255.0 + 0.5)


cdef void draw_segment(u8[:, :] plane, u8[:, :] other, Py_ssize_t width, Py_ssize_t height, f64 x0, f64 y0, f64 x1,
                       f64 y1, f64 radius, u8 value, u8 other_value, bint both) noexcept nogil:
    """Blend a line by how much of a pixel it covers. `both`: on two planes of one size at once."""
    cdef Segment line = segment_of(x0, y0, x1, y1, radius, height)
    cdef Py_ssize_t row, column, left, right
    cdef f64 down
    cdef u8 share
    cdef u8* at
    cdef u8* other_at
    for row in range(line.top, line.bottom):
        if not columns_of(&line, row, width, &left, &right):
            continue
        at, other_at, down = &plane[row, 0], &other[row, 0], row + 0.5 - line.y0
        for column in range(left, right):
            share = share_of(&line, column + 0.5 - line.x0, down)
            if share == 255:
                at[column] = value
                if both:
                    other_at[column] = other_value
            elif share:
                at[column] = blend_one(at[column], value, share)
                if both:
                    other_at[column] = blend_one(other_at[column], other_value, share)


cdef void draw_all_lines(u8[:, :] y, u8[:, :] u, u8[:, :] v, Extent frame, const f64[:, ::1] points,
                         const i64[::1] ends, const i64[::1] colours, f64 radius,
                         const u8[:, ::1] palette) noexcept nogil:
    cdef Py_ssize_t which, at, start = 0
    cdef Colour colour
    cdef f64 x0, y0, x1, y1
    for which in range(ends.shape[0]):
        colour = colour_of(palette, colours[which])
        for at in range(start, ends[which] - 1):
            x0, y0, x1, y1 = points[at, 0], points[at, 1], points[at + 1, 0], points[at + 1, 1]
            # Negated so that NaN fails.
            if not (max(abs(x0), abs(y0)) <= FAR and max(abs(x1), abs(y1)) <= FAR):
                continue
            draw_segment(y, y, frame.width, frame.height, x0, y0, x1, y1, radius, colour.y, 0, False)
            # Chroma is a little wider, so that a thin line keeps its colour.
            draw_segment(u, v, (frame.width + 1) >> 1, (frame.height + 1) >> 1, x0 / 2, y0 / 2, x1 / 2, y1 / 2,
                         radius / 2 + 0.25, colour.u, colour.v, True)
        start = ends[which]


# --- what is drawn on many frames

cdef class Coat:
    """What is put on the planes of one size: bytes, and then pixels that are blended."""

    cdef const i32[:, ::1] spans    # row, first column and length of each
    cdef const u8[:, ::1] solid     # by plane, the bytes of all spans
    cdef const i32[:, ::1] pixels   # row and column of each
    cdef const u8[::1] shares       # of each pixel, how much is covered
    cdef const u8[:, ::1] inks      # by plane, what it is blended with

    def __init__(self, spans, solid, pixels, shares, inks):
        self.spans, self.solid, self.pixels, self.shares, self.inks = spans, solid, pixels, shares, inks

    cdef int put(self, u8[:, :] plane, Py_ssize_t which) except -1 nogil:
        cdef Py_ssize_t i, column, length, start = 0
        cdef u8* at
        for i in range(self.spans.shape[0]):
            column, length = self.spans[i, 1], self.spans[i, 2]
            # The far end, for the build that checks bounds.
            at = &plane[self.spans[i, 0], column + length - 1]
            memcpy(at - length + 1, &self.solid[which, start], <size_t> length)
            start += length
        for i in range(self.pixels.shape[0]):
            at = &plane[self.pixels[i, 0], self.pixels[i, 1]]
            at[0] = blend_one(at[0], self.inks[which, i], self.shares[i])
        return 0


cdef class Layer:
    """Lines or texts, ready to be drawn on frames of one size. See overlay.pyi."""

    cdef Coat luma, chroma
    cdef tuple frame_wh

    def __init__(self, Coat luma, Coat chroma, frame_wh):
        self.luma, self.chroma, self.frame_wh = luma, chroma, frame_wh

    def draw(self, planes):
        check_planes(planes, *self.frame_wh)
        cdef u8[:, :] y = planes[0], u = planes[1], v = planes[2]
        with nogil:
            self.luma.put(y, 0)
            self.chroma.put(u, 0)
            self.chroma.put(v, 1)


def draw_layers(planes, layers):
    """Draw small layers. See overlay.pyi."""
    cdef Layer layer
    cdef tuple checked = None
    cdef u8[:, :] y, u, v
    # Each is a few hundred short copies: to let others have the interpreter meanwhile would take longer.
    for layer in layers:
        if layer.frame_wh != checked:
            check_planes(planes, *layer.frame_wh)
            y, u, v = planes
            checked = layer.frame_wh
        layer.luma.put(y, 0)
        layer.chroma.put(u, 0)
        layer.chroma.put(v, 1)


cdef Coat coat_of_lines(const f64[:, ::1] pieces, const u8[:, ::1] inks, Py_ssize_t width, Py_ssize_t height):
    """Lines of x0, y0, x1, y1 and a radius each, and their values by plane, drawn one after the other: pixels that the
    last of them cover whole are known, and what was drawn there before is not done at all."""
    cdef Py_ssize_t i, plane, row, column, left, right, place, count = 0, whole = 0, blended = 0, spans = 0
    cdef Py_ssize_t planes = inks.shape[1], before = -2
    cdef Segment line
    cdef u8 share
    for i in range(pieces.shape[0]):
        line = segment_of(pieces[i, 0], pieces[i, 1], pieces[i, 2], pieces[i, 3], pieces[i, 4], height)
        for row in range(line.top, line.bottom):
            if columns_of(&line, row, width, &left, &right):
                count += right - left
    cdef i32[::1] places = np.empty(count, np.int32), of = np.empty(count, np.int32)
    cdef u8[::1] shares = np.empty(count, np.uint8)
    count = 0
    for i in range(pieces.shape[0]):
        line = segment_of(pieces[i, 0], pieces[i, 1], pieces[i, 2], pieces[i, 3], pieces[i, 4], height)
        for row in range(line.top, line.bottom):
            if not columns_of(&line, row, width, &left, &right):
                continue
            for column in range(left, right):
                share = share_of(&line, column + 0.5 - line.x0, row + 0.5 - line.y0)
                if share:
                    places[count], of[count], shares[count] = row * width + column, i, share
                    count += 1
    # Of each pixel, one more than what covers it whole last.
    cdef i32[::1] last = np.zeros(width * height, np.int32)
    cdef u8[:, ::1] image = np.empty((planes, width * height), np.uint8)
    mixed = np.empty((count, 2), np.int32)
    cdef i32[:, ::1] pixels = mixed
    mixed_shares, mixed_inks = np.empty(count, np.uint8), np.empty((planes, count), np.uint8)
    cdef u8[::1] parts = mixed_shares
    cdef u8[:, ::1] values = mixed_inks
    for i in range(count):
        if shares[i] == 255:
            last[places[i]] = i + 1
    for i in range(count):
        place = places[i]
        if last[place] > i + 1:
            continue
        if last[place]:
            for plane in range(planes):
                image[plane, place] = blend_one(image[plane, place], inks[of[i], plane], shares[i])
            whole += last[place] == i + 1
            continue
        pixels[blended, 0], pixels[blended, 1] = place // width, place % width
        parts[blended] = shares[i]
        for plane in range(planes):
            values[plane, blended] = inks[of[i], plane]
        blended += 1
    runs, solid = np.empty((whole, 3), np.int32), np.empty((planes, whole), np.uint8)
    cdef i32[:, ::1] run = runs
    cdef u8[:, ::1] bytes_of = solid
    whole = 0
    for i in range(count):
        place = places[i]
        if last[place] != i + 1:
            continue
        if place != before + 1 or place % width == 0:
            run[spans, 0], run[spans, 1], run[spans, 2] = place // width, place % width, 0
            spans += 1
        run[spans - 1, 2] += 1
        for plane in range(planes):
            bytes_of[plane, whole] = image[plane, place]
        whole += 1
        before = place
    return Coat(
        runs[:spans].copy(), solid, mixed[:blended].copy(), mixed_shares[:blended].copy(),
        np.ascontiguousarray(mixed_inks[:, :blended]),
    )


cdef Coat coat_of_image(image, Py_ssize_t left, Py_ssize_t top):
    """Put an image on planes of one size: its (planes, rows, columns), from a column and row on."""
    count, rows, columns = image.shape
    spans = np.empty((rows, 3), np.int32)
    spans[:, 0], spans[:, 1], spans[:, 2] = np.arange(top, top + rows), left, columns
    return Coat(
        spans, image.reshape(count, -1), np.empty((0, 2), np.int32), np.empty(0, np.uint8),
        np.empty((count, 0), np.uint8),
    )


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


def check_frame(frame_wh, matrix, font_size=None, thickness=None):
    if not (isinstance(frame_wh, tuple) and len(frame_wh) == 2 and all(is_int(n) and n >= 1 for n in frame_wh)):
        raise ValueError(f"frame_wh must be two ints of at least 1. Got {frame_wh!r}.")
    if matrix not in LUMA_WEIGHTS:
        raise ValueError(f"matrix must be one of {', '.join(LUMA_WEIGHTS)}. Got {matrix!r}.")
    if thickness is not None and not (is_int(thickness) and 1 <= thickness <= 64):
        raise ValueError(f"thickness must be None or an int in [1, 64]. Got {thickness!r}.")
    check_font_size(font_size)


def check_font_size(font_size):
    if font_size is not None and not (is_int(font_size) and 1 <= font_size <= 200):
        raise ValueError(f"font_size must be None or an int in [1, 200]. Got {font_size!r}.")


def check_ids(name, ids, count):
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64:
        found = ids.dtype if isinstance(ids, np.ndarray) else type(ids).__name__
        raise TypeError(f"{name} must be an int64 array. Got {found}.")
    if ids.shape != (count,):
        raise ValueError(f"{name} must have the shape ({count},), one a box. Got {ids.shape}.")


def check_labels(name, labels, count):
    if isinstance(labels, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of str, one a box. Got {type(labels).__name__}.")
    if len(labels) != count:
        raise ValueError(f"{name} must be {count} str, one a box. Got {len(labels)}.")
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise TypeError(f"{name}[{index}] must be a str. Got {type(label).__name__}.")


def check_points(name, points):
    if not isinstance(points, np.ndarray) or points.dtype != np.float64 or points.ndim != 2 or points.shape[1] != 2:
        found = f"{points.dtype} {points.shape}" if isinstance(points, np.ndarray) else type(points).__name__
        raise ValueError(f"{name} must be a float64 array of shape (N, 2). Got {found}.")


def check_taken(taken):
    if not isinstance(taken, np.ndarray) or taken.dtype != np.int64 or taken.ndim != 2 or taken.shape[1] != 4:
        found = f"{taken.dtype} {taken.shape}" if isinstance(taken, np.ndarray) else type(taken).__name__
        raise ValueError(f"taken must be an int64 array of shape (K, 4). Got {found}.")


def check_boxes(boxes_xyxy):
    if not isinstance(boxes_xyxy, np.ndarray) or boxes_xyxy.dtype not in (np.float32, np.float64):
        found = boxes_xyxy.dtype if isinstance(boxes_xyxy, np.ndarray) else type(boxes_xyxy).__name__
        raise TypeError(f"boxes_xyxy must be a float64 or float32 array. Got {found}.")
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must have the shape (N, 4). Got {boxes_xyxy.shape}.")


def line_thickness(frame_wh):
    """Return the default thickness of outlines and lines in pixels."""
    return max(1, (min(frame_wh) + 160) // 320)


def default_font_size(frame_wh):
    """Return the default size of the font in pixels per em."""
    return 5 + min(frame_wh) // 75


cdef class Measured:
    """The font in one size, with pointers to its arrays."""

    cdef Face face
    cdef Py_ssize_t narrowest, broadest
    cdef const u8[:, :, ::1] glyphs
    cdef const i32[::1] advances, chunks

    def __init__(self, found):
        self.glyphs, self.advances, self.chunks = found.glyphs, found.advances, found.chunks
        self.narrowest, self.broadest = found.narrowest, found.broadest
        self.face.glyphs, self.face.advances = &self.glyphs[0, 0, 0], &self.advances[0]
        self.face.chunks = &self.chunks[0]
        self.face.rows, self.face.stride, self.face.left = self.glyphs.shape[1], self.glyphs.shape[2], found.left
        self.face.margin_x, self.face.margin_y = max(found.left, found.size // 4), max(1, found.size // 8)
        self.face.height = (self.face.rows + 2 * self.face.margin_y + 1) & ~1


# By pixels per em, of which 200 exist.
MEASURED = {}


cdef class Text:
    """Texts in one size of the font: their characters, concatenated, and where each text ends."""

    cdef Face face
    cdef Measured kept
    cdef const u8[::1] codes
    cdef const i64[::1] ends
    cdef Py_ssize_t widest

    def __init__(self, labels, Py_ssize_t frame_width, size):
        cdef Measured found = MEASURED.get(size)
        if found is None:
            found = MEASURED[size] = Measured(font.face(size))
        self.kept, self.face = found, found.face
        # Cut to the width of the frame, which also bounds the mask.
        cdef Py_ssize_t most = frame_width // found.narrowest + 1, at = 0, end = 0, length
        cdef i64[::1] ends = np.empty(len(labels), np.int64)
        whole = "".join(labels)
        # Most are plain ASCII, tested all at once: one by one, it takes as long as drawing small boxes.
        plain = whole.isascii() and whole.isprintable()
        texts = labels
        if not plain or len(max(labels, key=len, default="")) > most:
            texts, plain = [font.fold(label)[:most] for label in labels], False
        for text in texts:
            length = len(text)
            end += length
            ends[at] = end
            at += 1
            self.widest = max(self.widest, length)
        self.codes, self.ends = (whole.encode() if plain else b"".join(texts)) or b" ", ends

    cdef mask(self):
        """Return a mask for the widest text, with a spare row for a glyph that is wider than its advance."""
        columns = self.widest * self.kept.broadest + 2 * self.face.margin_x + 2 + self.face.stride
        return np.empty((self.face.height + 1) * columns, np.uint8)


def draw_tracks(planes, frame_wh, boxes_xyxy, ids, labels, *, short_labels=None, colours=None, matrix="bt601",
                full_range=False, thickness=None, font_size=None, taken=None, slots=None):
    check_frame(frame_wh, matrix, font_size, thickness)
    check_planes(planes, *frame_wh)
    check_boxes(boxes_xyxy)
    count = len(boxes_xyxy)
    check_ids("ids", ids, count)
    check_labels("labels", labels, count)
    if short_labels is not None:
        check_labels("short_labels", short_labels, count)
    if colours is not None:
        check_ids("colours", colours, count)
    if taken is not None:
        check_taken(taken)
    if slots is not None:
        check_ids("slots", slots, count)
        if not slots.flags.writeable:
            raise ValueError("slots must be writable.")
    if count == 0:
        return

    cdef Extent frame
    frame.width, frame.height = frame_wh
    cdef Py_ssize_t line = line_thickness(frame_wh) if thickness is None else thickness
    size = default_font_size(frame_wh) if font_size is None else font_size
    cdef Text text = Text(labels, frame.width, size)
    cdef Text short = text if short_labels is None else Text(short_labels, frame.width, size)
    cdef const i64[::1] short_ends = np.zeros(count, np.int64) if short_labels is None else short.ends
    cdef Face face = text.face
    cdef u8[::1] mask = (text if text.widest >= short.widest else short).mask()
    cdef Grid grid
    grid.size = max(2, face.height // 3)
    grid.columns, grid.rows = (frame.width - 1) // grid.size + 1, (frame.height - 1) // grid.size + 1

    cdef const f64[:, ::1] boxes = np.array(boxes_xyxy, np.float64, order="C")
    cdef const i64[:] which = ids if colours is None else colours
    # Older objects choose their places first, so that their labels move less.
    cdef const i64[::1] order = ids.argsort(kind="stable")
    cdef const u8[:, ::1] palette = PALETTES[matrix, bool(full_range)]
    cdef u8[:, :] y = planes[0], u = planes[1], v = planes[2]
    cdef const i64[:, ::1] occupied = NOTHING_TAKEN if taken is None else np.ascontiguousarray(taken)
    stood = np.empty(count, np.int64) if slots is None else np.ascontiguousarray(slots)
    cdef i64[::1] places = stood
    cdef Py_ssize_t row
    if slots is None:
        for row in range(places.shape[0]):
            places[row] = -1
    grid.cells = <u8*> calloc(grid.columns * grid.rows, 1)
    if grid.cells == NULL:
        raise MemoryError
    try:
        with nogil:
            draw_all(y, u, v, frame, boxes, which, order, text.codes, text.ends, short.codes, short_ends, mask, palette,
                     line, &face, &grid, occupied, places)
    finally:
        free(grid.cells)
    if slots is not None and stood is not slots:
        slots[:] = stood


def check_lines(points, ends, colours):
    check_points("points", points)
    check_ids("ends", ends, len(ends))
    check_ids("colours", colours, len(ends))
    if len(ends) and (np.any(np.diff(ends, prepend=0) < 0) or ends.max() > len(points)):
        raise ValueError(f"ends must not fall, and end at {len(points)} at most. Got {ends.tolist()[:8]}.")


def draw_lines(planes, frame_wh, points, ends, colours, *, matrix="bt601", full_range=False, thickness=None):
    check_frame(frame_wh, matrix, thickness=thickness)
    check_planes(planes, *frame_wh)
    check_lines(points, ends, colours)
    if len(ends) == 0:
        return
    cdef Extent frame
    frame.width, frame.height = frame_wh
    cdef f64 radius = 0.5 * (line_thickness(frame_wh) if thickness is None else thickness)
    cdef const f64[:, ::1] at = np.ascontiguousarray(points)
    cdef const i64[::1] stops = np.ascontiguousarray(ends), which = np.ascontiguousarray(colours)
    cdef const u8[:, ::1] palette = PALETTES[matrix, bool(full_range)]
    cdef u8[:, :] y = planes[0], u = planes[1], v = planes[2]
    with nogil:
        draw_all_lines(y, u, v, frame, at, stops, which, radius, palette)


def lines_layer(frame_wh, strokes, *, matrix="bt601", full_range=False):
    check_frame(frame_wh, matrix)
    cdef const u8[:, ::1] palette = PALETTES[matrix, bool(full_range)]
    cdef Colour colour
    pieces, inks = [np.empty((0, 5))], []
    for points, ends, colours, thickness in strokes:
        check_frame(frame_wh, matrix, thickness=thickness)
        check_lines(points, ends, colours)
        radius, start = 0.5 * (line_thickness(frame_wh) if thickness is None else thickness), 0
        for end, which in zip(ends.tolist(), colours.tolist()):
            stops = points[start + 1 : end]
            found = np.hstack((points[start : start + len(stops)], stops, np.full((len(stops), 1), radius)))
            found = found[(np.abs(found) <= FAR).all(axis=1)]
            colour = colour_of(palette, which)
            pieces.append(found)
            inks += [(colour.y, colour.u, colour.v)] * len(found)
            start = end
    luma, values = np.concatenate(pieces), np.array(inks, np.uint8).reshape(-1, 3)
    chroma = luma / 2
    chroma[:, 4] += 0.25
    width, height = frame_wh
    return Layer(
        coat_of_lines(luma, values[:, :1].copy(), width, height),
        coat_of_lines(chroma, values[:, 1:].copy(), (width + 1) >> 1, (height + 1) >> 1),
        frame_wh,
    )


def text_layer(frame_wh, place_xy, colour, text, *, matrix="bt601", full_range=False, font_size=None):
    check_frame(frame_wh, matrix, font_size)
    check_labels("text", [text], 1)
    cdef Text words = Text([text], frame_wh[0], default_font_size(frame_wh) if font_size is None else font_size)
    cdef Face face = words.face
    cdef Py_ssize_t width = text_width(&face, &words.codes[0], words.ends[0]) if words.ends[0] else 0
    cdef Py_ssize_t height = face.height if words.ends[0] else 0
    left, top = ((max(place, 0) + 1) & ~1 for place in place_xy)
    left = min(left, max((frame_wh[0] - width) & ~1, 0))
    top = min(top, max((frame_wh[1] - height) & ~1, 0))
    cdef Extent room
    room.width, room.height = min(width, frame_wh[0] - left), min(height, frame_wh[1] - top)
    luma = np.empty((1, room.height, room.width), np.uint8)
    chroma = np.empty((2, (room.height + 1) >> 1, (room.width + 1) >> 1), np.uint8)
    cdef u8[:, :] y = luma[0], u = chroma[0], v = chroma[1]
    draw_text(y, u, v, room, 0, 0, &face, &words.codes[0], words.ends[0], words.mask(),
              colour_of(PALETTES[matrix, bool(full_range)], colour))
    return Layer(coat_of_image(luma, left, top), coat_of_image(chroma, left >> 1, top >> 1), frame_wh)


def text_sizes(texts, frame_wh, *, font_size=None):
    if not (isinstance(frame_wh, tuple) and len(frame_wh) == 2 and all(is_int(n) and n >= 1 for n in frame_wh)):
        raise ValueError(f"frame_wh must be two ints of at least 1. Got {frame_wh!r}.")
    check_font_size(font_size)
    check_labels("texts", texts, len(texts))
    cdef Text text = Text(texts, frame_wh[0], default_font_size(frame_wh) if font_size is None else font_size)
    cdef Py_ssize_t row, start = 0
    sizes = np.zeros((len(texts), 2), np.int64)
    for row in range(len(texts)):
        if text.ends[row] > start:
            sizes[row] = text_width(&text.face, &text.codes[start], text.ends[row] - start), text.face.height
        start = text.ends[row]
    return sizes
