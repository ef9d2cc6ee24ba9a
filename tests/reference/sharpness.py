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
