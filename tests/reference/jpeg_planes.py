"""NumPy twin of engine_ext/jpeg_planes.pyx."""

import numpy as np


def jpeg_planes(luma, blue, red, weights, black):
    blues, reds = blue.astype(np.float32) - 128, red.astype(np.float32) - 128
    around = (blues * weights[0, 1] + reds * weights[0, 2]).repeat(2, 0).repeat(2, 1)
    greys = (luma.astype(np.float32) - black) * weights[0, 0] + around[: luma.shape[0], : luma.shape[1]]
    return levels(greys), *(levels(blues * by[1] + reds * by[2] + 128) for by in weights[1:])


def levels(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
