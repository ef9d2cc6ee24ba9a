"""NumPy twin of engine_ext/crop_planes.pyx."""

import numpy as np

BLOCK = 16


def around(left, top, right, bottom, width, height):
    x1, y1, x2, y2 = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    around_x, around_y = 0.08 * (x2 - x1), 0.08 * (y2 - y1)
    across, down = _in_blocks(x1 - around_x, x2 + around_x, width), _in_blocks(y1 - around_y, y2 + around_y, height)
    return across[0], down[0], across[1], down[1]


def _in_blocks(low, high, size):
    first, last = max(0, int(low)), min(size, int(high) + 1)
    length = -(-(last - first) // BLOCK) * BLOCK
    first = max(0, min(first - (length - last + first) // 2, size - length)) // 2 * 2
    return first, min(size, max(last, first + length))


def cut_out(luma, blue, red, box):
    left, top, right, bottom = box
    half = slice(top // 2, -(-bottom // 2)), slice(left // 2, -(-right // 2))
    return luma[top:bottom, left:right].tobytes() + blue[half].tobytes() + red[half].tobytes()


def put_looked_up(part, luma, blue, red, width, height, greys, colours):
    values = np.frombuffer(part, np.uint8)
    half = -(-height // 2), -(-width // 2)
    for plane, shape, table in ((luma, (height, width), greys), (blue, half, colours), (red, half, colours)):
        count = shape[0] * shape[1]
        plane[: shape[0], : shape[1]] = np.frombuffer(table, np.uint8)[values[:count]].reshape(shape)
        values = values[count:]
