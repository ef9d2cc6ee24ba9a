"""NumPy twin of engine_ext.blur."""

import math

import numpy as np


def areas(boxes_xyxy, width, height):
    for left, top, right, bottom in np.asarray(boxes_xyxy, np.float64).reshape(-1, 4):
        if not (right > left and bottom > top and right > 0 and bottom > 0 and left < width and top < height):
            continue
        left, top = math.floor(max(left, 0)) // 2 * 2, math.floor(max(top, 0)) // 2 * 2
        right, bottom = math.ceil(min(right, width)), math.ceil(min(bottom, height))
        yield left, top, min(-(-right // 2) * 2, width), min(-(-bottom // 2) * 2, height)


def hide_boxes(planes, frame_wh, boxes_xyxy, *, cells=6, fill=False, full_range=False):
    width, height = frame_wh
    for left, top, right, bottom in areas(boxes_xyxy, width, height):
        longer = max(right - left, bottom - top)
        side = max(-(-longer // cells), 8)
        side += side % 2
        if fill:
            side = longer + 1 & ~1
        for y in range(top, bottom, side):
            for x in range(left, right, side):
                ends = min(x + side, right), min(y + side, bottom)
                for number, plane in enumerate(planes):
                    if number:
                        view = plane[y // 2 : (ends[1] + 1) // 2, x // 2 : (ends[0] + 1) // 2]
                    else:
                        view = plane[y : ends[1], x : ends[0]]
                    grey = 128 if number or full_range else 126
                    view[:] = grey if fill else (int(view.astype(np.int64).sum()) + view.size // 2) // view.size
