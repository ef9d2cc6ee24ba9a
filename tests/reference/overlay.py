"""engine_ext.overlay in plain NumPy: a mask of the frame a shape. It shares the font's faces, and nothing else."""

import colorsys
import math
from collections.abc import Sequence

import numpy as np

from engine_ext import font

COLOURS, LIGHT, DARK = 64, 64, 65
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
HEAD_COST, PLACE_COST, SHORT_COST, MOVE_COST, PLACES = 4, 3, 8, 24, 10


def colour_yuv(index: int, matrix: str, full_range: bool) -> tuple[int, int, int, int]:
    """Luma, chroma, chroma of a colour, and the luma of text on it."""
    golden = (5**0.5 - 1) / 2
    rgb = {LIGHT: np.ones(3), DARK: np.full(3, 0.08)}.get(
        index, np.array(colorsys.hsv_to_rgb((0.58 + index * golden) % 1, 0.55 if index % 2 else 0.8, 1.0))
    )
    red_weight, blue_weight = LUMA_WEIGHTS[matrix]
    luma = rgb @ [red_weight, 1 - red_weight - blue_weight, blue_weight]
    blue_difference = (rgb[2] - luma) / (2 * (1 - blue_weight))
    red_difference = (rgb[0] - luma) / (2 * (1 - red_weight))

    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = linear @ [0.2126, 0.7152, 0.0722]
    text = 1.0 if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else 0.0

    if full_range:
        levels = [255 * luma, 128 + 255 * blue_difference, 128 + 255 * red_difference, 255 * text]
    else:
        levels = [16 + 219 * luma, 128 + 224 * blue_difference, 128 + 224 * red_difference, 16 + 219 * text]
    y, u, v, text_y = (int(level) for level in np.clip(np.floor(np.array(levels) + 0.5), 0, 255))
    return y, u, v, text_y


def label_mask(text: str, size: int, frame_width: int) -> np.ndarray:
    """(height, even) uint8: how much of each of a label's pixels is text."""
    face = font.face(size)
    codes = font.fold(text)[: frame_width // int(face.advances.min()) + 1]
    margin_x, margin_y = max(face.left, face.size // 4), max(1, face.size // 8)
    advances = [int(face.advances[code - font.FIRST]) for code in codes]
    width = even_up(2 * margin_x + sum(advances))
    rows, stride = face.glyphs.shape[1:]
    mask = np.zeros((even_up(rows + 2 * margin_y), width + 2 * stride), np.uint8)
    pen = margin_x - face.left
    for code, advance in zip(codes, advances, strict=True):
        place = mask[margin_y : margin_y + rows, pen : pen + stride]
        place[:] = np.maximum(place, face.glyphs[code - font.FIRST])
        pen += advance
    return mask[:, :width]


def mix(ground: int | np.ndarray, ink: int, share: np.ndarray) -> np.ndarray:
    share = share.astype(np.int64)
    return (ground * (255 - share) + ink * share + 127) // 255


def paint(planes: Sequence[np.ndarray], mask: np.ndarray, colour: tuple[int, int, int, int]) -> None:
    """Luma where the (H, W) mask is set, chroma where any pixel of the 2x2 block is."""
    height, width = mask.shape
    planes[0][:height, :width][mask] = colour[0]
    even = np.pad(mask, ((0, height % 2), (0, width % 2)))
    blocks = even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]
    for plane, level in zip(planes[1:], colour[1:3], strict=True):
        plane[: blocks.shape[0], : blocks.shape[1]][blocks] = level


def paint_text(planes, frame_wh, left: int, top: int, mask: np.ndarray, colour: tuple[int, int, int, int]) -> None:
    width, height = frame_wh
    quarters = mask[::2, ::2].astype(int) + mask[1::2, ::2] + mask[::2, 1::2] + mask[1::2, 1::2]
    covered = (quarters + 2) // 4
    parts = [mix(colour[0], colour[3], mask), *(mix(level, 128, covered) for level in colour[1:3])]
    half = ((height + 1) // 2, (width + 1) // 2)
    y, x = top, left
    for plane, values, size in zip(planes, parts, [(height, width), half, half], strict=True):
        target = plane[: size[0], : size[1]][y : y + values.shape[0], x : x + values.shape[1]]
        target[:] = values[: target.shape[0], : target.shape[1]]
        y, x = top // 2, left // 2


def rectangle(width: int, height: int, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    x, y = np.arange(width), np.arange(height)[:, None]
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def even_up(value: int) -> int:
    return value + value % 2


def even_down(value: int) -> int:
    return value - value % 2


def places(frame_wh, box, size_wh):
    """Left and top of each place beside a box, the better ones first; None where there is no room."""
    (width, height), (w, h) = frame_wh, size_wh
    left, top, right, bottom = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    above, beside, below, inside = "above beside below inside".split()
    for kind, x, y in (
        (above, left, box[1] - h),
        (above, right - w, box[1] - h),
        (beside, right, top),
        (beside, left - w, top),
        (below, left, bottom),
        (below, right - w, bottom),
        (inside, left, bottom - h),
        (beside, right, bottom - h),
        (beside, left - w, bottom - h),
        (inside, left, top),
    ):
        x, y = even_up(x), even_up(y)
        if (kind == beside and not 0 <= x <= width - w) or (kind in (above, below) and not 0 <= y <= height - h):
            yield None
            continue
        x = x if kind == beside else min(max(x, 0), max(even_down(width - w), 0))
        y = y if kind in (above, below) else min(max(y, 0), max(even_down(height - h), 0))
        yield x, y


class Cells:
    """Which cells of the frame have a head in them, or a label."""

    def __init__(self, frame_wh, size):
        self.frame_wh, self.size = frame_wh, size
        shape = (-(-frame_wh[1] // size), -(-frame_wh[0] // size))
        self.heads, self.labels = np.zeros(shape, bool), np.zeros(shape, bool)

    def of(self, left, top, right, bottom):
        left, top = max(left, 0) // self.size, max(top, 0) // self.size
        return np.s_[top : max(top, -(-bottom // self.size)), left : max(left, -(-right // self.size))]

    def cost(self, at, size_wh):
        """How much a label there would cover; None where it can't stand there."""
        if at is None:
            return None
        cells = self.label(at, size_wh)
        return None if self.labels[cells].any() else HEAD_COST * int(self.heads[cells].sum())

    def find(self, box, size_wh, last=None):
        """(cost, place, left and top) of the best place."""
        options = list(places(self.frame_wh, box, size_wh))
        best = None
        if last is not None and (cost := self.cost(options[last], size_wh)) is not None:
            best = max(cost - MOVE_COST, 0), last, options[last]
        for place, at in enumerate(options):
            if best is not None and PLACE_COST * place >= best[0]:
                break
            cost = self.cost(at, size_wh)
            if cost is None or place == last:
                continue
            if best is None or cost + PLACE_COST * place < best[0]:
                best = cost + PLACE_COST * place, place, at
        return best

    def label(self, at, size_wh):
        (x, y), (w, h), (width, height) = at, size_wh, self.frame_wh
        return self.of(x, y, min(x + w, width), min(y + h, height))


def draw_tracks(
    planes: Sequence[np.ndarray],
    frame_wh: tuple[int, int],
    boxes_xyxy: np.ndarray,
    ids: np.ndarray,
    labels: Sequence[str],
    *,
    short_labels: Sequence[str] | None = None,
    colours: np.ndarray | None = None,
    matrix: str = "bt601",
    full_range: bool = False,
    thickness: int | None = None,
    font_size: int | None = None,
    taken: np.ndarray | None = None,
    slots: np.ndarray | None = None,
) -> None:
    width, height = frame_wh
    line = max(1, (min(frame_wh) + 160) // 320) if thickness is None else thickness
    size = 5 + min(frame_wh) // 75 if font_size is None else font_size
    label_height = label_mask("", size, width).shape[0]
    cells = Cells(frame_wh, max(2, label_height // 3))
    shorter = short_labels if short_labels is not None else [""] * len(ids)
    which = (ids if colours is None else colours) % COLOURS

    visible = []
    for row, (x1, y1, x2, y2) in enumerate(boxes_xyxy.astype(np.float64)):
        if not (x2 > x1 and y2 > y1):
            continue
        left, top, right, bottom = np.floor(np.array([x1, y1, x2, y2]) + 0.5)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        if left < width and top < height and right > 0 and bottom > 0:
            # An edge further out than this is as invisible.
            left, top = max(left, -line), max(top, -line)
            right, bottom = min(right, width + line), min(bottom, height + line)
            box = int(left), int(top), int(right), int(bottom)
            visible.append((int(ids[row]), row, box, colour_yuv(int(which[row]), matrix, full_range)))

    for _, _, (left, top, right, bottom), colour in visible:
        box = rectangle(width, height, left, top, right, bottom)
        inside = rectangle(width, height, left + line, top + line, right - line, bottom - line)
        paint(planes, box & ~inside, colour)
        aside = (right - left) // 4
        head = max((bottom - top) // 5, cells.size)
        cells.heads[cells.of(left + aside, top + cells.size - 1, right - aside, top + head)] = True

    for each in taken if taken is not None else ():
        cells.labels[cells.of(*each)] = True
    texts = {}
    for _, row, _, _ in visible:
        for brief, text in enumerate((labels[row], shorter[row])):
            if font.fold(labels[row]) and font.fold(text):
                texts[row, brief] = label_mask(text, size, width)
    ordered = sorted(visible, key=lambda each: each[0])
    before = [-1] * len(ids) if slots is None else [slot if 0 <= slot < 2 * PLACES else -1 for slot in slots.tolist()]
    kept = {}
    for _, row, box, _ in ordered:
        brief, place = divmod(before[row], PLACES)
        if before[row] < 0 or (row, brief) not in texts:
            before[row] = -1
            continue
        size_wh = texts[row, brief].shape[::-1]
        at = list(places(frame_wh, box, size_wh))[place]
        cost = cells.cost(at, size_wh)
        if cost is not None and cost <= MOVE_COST:
            kept[row] = place, brief, at
            cells.labels[cells.label(at, size_wh)] = True
    now = [-1] * len(ids)
    for _, row, box, colour in ordered:
        if (row, 0) not in texts:
            continue
        whole, short = texts[row, 0], texts.get((row, 1))
        if row in kept:
            place, brief, at = kept[row]
            if brief:
                cells.labels[cells.label(at, short.shape[::-1])] = False
                instead = list(places(frame_wh, box, whole.shape[::-1]))[place]
                if cells.cost(instead, whole.shape[::-1]) == 0:
                    brief, at = 0, instead
        else:
            was_brief, was = divmod(before[row], PLACES)
            found = cells.find(box, whole.shape[::-1], was if was_brief == 0 else None)
            brief = 0
            if (found is None or found[0]) and short is not None:
                other = cells.find(box, short.shape[::-1], was if was_brief == 1 else None)
                if other is not None and (found is None or other[0] + SHORT_COST < found[0]):
                    brief, found = 1, other
            if found is None:
                continue
            _, place, at = found
        mask = short if brief else whole
        now[row] = place + PLACES * brief
        cells.labels[cells.label(at, mask.shape[::-1])] = True
        paint_text(planes, frame_wh, *at, mask, colour)
    if slots is not None:
        slots[:] = now


def text_sizes(texts, frame_wh, *, font_size=None):
    size = 5 + min(frame_wh) // 75 if font_size is None else font_size
    return np.array(
        [label_mask(text, size, frame_wh[0]).shape[::-1] if font.fold(text) else (0, 0) for text in texts], np.int64
    ).reshape(-1, 2)


def cover(shape, a, b, radius):
    """(H, W) int: of 255, how much of each pixel a line with round ends covers, by its centre's distance."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    dx, dy = b[0] - a[0], b[1] - a[1]
    length2 = dx * dx + dy * dy
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) * (1 / length2), 0, 1) if length2 > 0 else np.zeros(shape)
    distance = np.hypot(x - a[0] - t * dx, y - a[1] - t * dy)
    return (np.clip(radius + 0.5 - distance, 0, 1) * 255 + 0.5).astype(int)


def draw_lines(planes, frame_wh, points, ends, colours, *, matrix="bt601", full_range=False, thickness=None):
    width, height = frame_wh
    radius = (max(1, (min(frame_wh) + 160) // 320) if thickness is None else thickness) / 2
    start = 0
    for end, index in zip(ends.tolist(), colours.tolist(), strict=True):
        colour = colour_yuv(index if index in (LIGHT, DARK) else index % COLOURS, matrix, full_range)
        for a, b in zip(points[start : end - 1], points[start + 1 : end], strict=True):
            if not all(math.isfinite(value) and abs(value) <= 1e7 for value in (*a, *b)):
                continue
            for plane, level, by in zip(planes, colour, (1, 2, 2), strict=False):
                part = plane[: -(-height // by), : -(-width // by)]
                wide = radius if by == 1 else radius / 2 + 0.25
                part[:] = mix(part.astype(int), level, cover(part.shape, a / by, b / by, wide))
        start = end


def draw_text(planes, frame_wh, place_xy, index, text, *, matrix="bt601", full_range=False, font_size=None):
    width, height = frame_wh
    size = 5 + min(frame_wh) // 75 if font_size is None else font_size
    if not font.fold(text):
        return
    mask = label_mask(text, size, width)
    x, y = place_xy
    left = min(even_up(max(x, 0)), max(even_down(width - mask.shape[1]), 0))
    top = min(even_up(max(y, 0)), max(even_down(height - mask.shape[0]), 0))
    colour = colour_yuv(index if index in (LIGHT, DARK) else index % COLOURS, matrix, full_range)
    paint_text(planes, frame_wh, left, top, mask, colour)
