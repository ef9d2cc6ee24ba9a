"""Planes with the colours of a JPEG: the kernel is its twin, byte by byte."""

import numpy as np
import pytest

from engine_ext.jpeg_planes import jpeg_planes
from tests.reference import jpeg_planes as reference

# BT.709 in limited range, and what takes every level beyond its ends.
BT709 = [[1.164, 0.1186, 0.2255], [0, 1.126, -0.1256], [0, -0.0826, 1.1203]]
HALVES = [[0.5, 0.25, -0.25], [0, 0.5, 0.5], [0, -1.5, 2.5]]


def planes(height, width, seed=0):
    at = np.random.default_rng(seed)
    half = -(-height // 2), -(-width // 2)
    return [at.integers(0, 256, shape, np.uint8) for shape in ((height, width), half, half)]


@pytest.mark.parametrize("black", [0, 16])
@pytest.mark.parametrize("weights", [BT709, HALVES], ids=["bt709", "ties"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 7), (96, 160), (131, 67)], ids=str)
def test_the_kernel_is_its_twin(size, weights, black):
    given = *planes(*size), np.array(weights, np.float32), black
    for found, expected in zip(jpeg_planes(*given), reference.jpeg_planes(*given), strict=True):
        assert found.tolist() == expected.tolist()


def test_nothing_gives_nothing():
    assert [plane.shape for plane in jpeg_planes(*planes(0, 4), np.eye(3, dtype=np.float32), 0)] == [
        (0, 4),
        (0, 2),
        (0, 2),
    ]


def test_refusals():
    luma, blue, red = planes(6, 8)
    weights = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"chroma must be \(3, 4\)"):
        jpeg_planes(luma, blue, red[:2], weights, 0)
    with pytest.raises(ValueError, match=r"weights must be \(3, 3\)"):
        jpeg_planes(luma, blue, red, weights[:2], 0)
