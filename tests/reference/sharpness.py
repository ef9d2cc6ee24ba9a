"""NumPy twin of engine_ext/sharpness.pyx."""

import numpy as np


def sharpness(plane, boxes_xyxy, size_wh, *, components=1):
    width, height = size_wh
    image = plane[:height, : width * components].reshape(height, width, components)[..., components // 2].astype(int)
    found = np.zeros(len(boxes_xyxy))
    for number, (left, top, right, bottom) in enumerate(boxes_xyxy):
        x1, x2 = (int(min(max(at, 1), width - 1)) for at in (left, right))
        y1, y2 = (int(min(max(at, 1), height - 1)) for at in (top, bottom))
        if x2 <= x1 or y2 <= y1 or width < 3 or height < 3:
            continue
        nx, ny = min(x2 - x1, 16), min(y2 - y1, 16)
        x = x1 + (2 * np.arange(nx) + 1) * (x2 - x1) // (2 * nx)
        y = (y1 + (2 * np.arange(ny) + 1) * (y2 - y1) // (2 * ny))[:, None]
        laplacian = 4 * image[y, x] - image[y, x - 1] - image[y, x + 1] - image[y - 1, x] - image[y + 1, x]
        found[number] = np.abs(laplacian).sum() / (nx * ny)
    return found


def better(plane, boxes_xyxy, scores, rows, least, size_wh, *, components=1):
    found = []
    for row, bound in zip(rows, least, strict=True):
        x1, y1, x2, y2 = boxes_xyxy[row]
        left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, size_wh[0]), min(y2, size_wh[1])
        if left >= right or top >= bottom:
            continue
        worth = float(scores[row]) * (right - left) * (bottom - top)
        if min(left, top) <= 1 or right >= size_wh[0] - 1 or bottom >= size_wh[1] - 1:
            worth *= 0.25
        inside = np.array([(left, top, right, bottom)])
        sharp = sharpness(plane, inside, size_wh, components=components)[0]
        worth *= (sharp + 1) / (sharp + 1 + 16)
        if worth > bound:
            found.append((row, worth))
    return found
