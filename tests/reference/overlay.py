"""engine_ext.overlay in plain NumPy: a mask of the frame a shape. It shares the font's table, and nothing else."""

import colorsys
from collections.abc import Sequence

import numpy as np

from engine_ext import font

COLOURS = 64
LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def colour_yuv(track_id: int, matrix: str, full_range: bool) -> tuple[int, int, int, int]:
    """Luma, chroma, chroma of the track's colour, and the luma of text on it."""
    index = track_id % COLOURS
    golden = (5**0.5 - 1) / 2
    rgb = np.array(colorsys.hsv_to_rgb((0.58 + index * golden) % 1, 0.55 if index % 2 else 0.8, 1.0))
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


def label_mask(text: str, scale: int) -> np.ndarray:
    """(12 * scale, even) bool: where a label's pixels are text."""
    codes = font.fold(text)
    width = 2 + 6 * len(codes) - 1 + 2
    small = np.zeros((12, width), bool)
    for i, code in enumerate(codes):
        for row in range(font.GLYPH_HEIGHT):
            bits = f"{font.GLYPH_ROWS[(code - font.FIRST) * font.GLYPH_HEIGHT + row]:05b}"
            small[2 + row, 2 + 6 * i : 2 + 6 * i + 5] = [bit == "1" for bit in bits]
    large = small.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.pad(large, ((0, 0), (0, large.shape[1] % 2)))


def paint(planes: Sequence[np.ndarray], mask: np.ndarray, colour: tuple[int, int, int, int]) -> None:
    """Luma where the (H, W) mask is set, chroma where any pixel of the 2x2 block is."""
    height, width = mask.shape
    planes[0][:height, :width][mask] = colour[0]
    even = np.pad(mask, ((0, height % 2), (0, width % 2)))
    blocks = even[::2, ::2] | even[1::2, ::2] | even[::2, 1::2] | even[1::2, 1::2]
    for plane, level in zip(planes[1:], colour[1:3], strict=True):
        plane[: blocks.shape[0], : blocks.shape[1]][blocks] = level


def rectangle(width: int, height: int, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    x, y = np.arange(width), np.arange(height)[:, None]
    return (x >= left) & (x < right) & (y >= top) & (y < bottom)


def even_up(value: int) -> int:
    return value + value % 2


def even_down(value: int) -> int:
    return value - value % 2


def draw_tracks(
    planes: Sequence[np.ndarray],
    frame_wh: tuple[int, int],
    boxes_xyxy: np.ndarray,
    ids: np.ndarray,
    labels: Sequence[str],
    *,
    matrix: str = "bt601",
    full_range: bool = False,
    thickness: int | None = None,
    font_scale: int | None = None,
) -> None:
    width, height = frame_wh
    line = max(1, (min(frame_wh) + 160) // 320) if thickness is None else thickness
    scale = max(1, (min(frame_wh) + 200) // 400) if font_scale is None else font_scale

    visible = []
    for (x1, y1, x2, y2), track_id, text in zip(boxes_xyxy.astype(np.float64), ids, labels, strict=True):
        if not (x2 > x1 and y2 > y1):
            continue
        left, top, right, bottom = np.floor(np.array([x1, y1, x2, y2]) + 0.5)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        if left < width and top < height and right > 0 and bottom > 0:
            visible.append(((left, top, right, bottom), colour_yuv(int(track_id), matrix, full_range), text))

    for (left, top, right, bottom), colour, _ in visible:
        box = rectangle(width, height, left, top, right, bottom)
        inside = rectangle(width, height, left + line, top + line, right - line, bottom - line)
        paint(planes, box & ~inside, colour)

    for (left, top, _, _), colour, text in visible:
        if not text:
            continue
        is_text = label_mask(text, scale)
        label_height, label_width = is_text.shape
        if top - label_height >= 0:
            label_top = even_up(int(top) - label_height)
        else:
            label_top = even_up(int(max(top, 0)))
        label_top = min(label_top, max(even_down(height - label_height), 0))
        edge = min(int(max(left, 0)), max(even_down(width - label_width), 0))
        label_left = even_up(edge)

        paint(planes, rectangle(width, height, edge, label_top, label_left, label_top + label_height), colour)
        luma = np.where(is_text, colour[3], colour[0])
        covered = is_text[::2, ::2].astype(int) + is_text[1::2, ::2] + is_text[::2, 1::2] + is_text[1::2, 1::2]
        chromas = [(level * (4 - covered) + 128 * covered + 2) // 4 for level in colour[1:3]]
        half = ((height + 1) // 2, (width + 1) // 2)
        y, x = label_top, label_left
        for plane, values, size in zip(planes, [luma, *chromas], [(height, width), half, half], strict=True):
            target = plane[: size[0], : size[1]][y : y + values.shape[0], x : x + values.shape[1]]
            target[:] = values[: target.shape[0], : target.shape[1]]
            y, x = label_top // 2, label_left // 2
