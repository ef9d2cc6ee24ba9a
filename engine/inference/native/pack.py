"""Weights in the order in which kernels read them, packed once per model and shared by all sizes and threads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.inference.native.layout import BLOCK, PART
from engine.inference.native.ops import Floats
from engine_ext.convnet import aligned


class WeightStore:
    """Packed arrays, each aligned to a cache line. Arrays with the same content are packed only once."""

    def __init__(self) -> None:
        self._at: dict[bytes, int] = {}
        self._arrays: list[Floats] = []
        self._size = 0
        self._whole = aligned(0)

    def place(self, key: tuple[object, ...], arrays: tuple[Floats, ...], pack: Callable[[], Floats]) -> int:
        """Return the position of the result of `pack`, which must only depend on `key` and `arrays`."""
        digest = hashlib.blake2b(repr((key, [array.shape for array in arrays])).encode(), digest_size=16)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        found = self._at.get(digest.digest())
        if found is None:
            packed = pack().reshape(-1)
            found = self._at[digest.digest()] = self._size
            self._arrays.append(packed)
            self._size += -(-packed.size // BLOCK) * BLOCK
        return found

    def whole(self) -> Floats:
        """Return the whole store: the same array as before unless something was added."""
        if self._whole.size != self._size:
            whole, at = aligned(self._size), 0
            for array in [self._whole, *self._arrays]:
                whole[at : at + array.size] = array
                at += -(-array.size // BLOCK) * BLOCK
            self._whole, self._arrays = whole, []
        return self._whole


def pack_bias(bias: Floats) -> Floats:
    """Pad (C,) with zeros to whole blocks."""
    return np.pad(bias, (0, -len(bias) % BLOCK))


def pack_depthwise(weight: Floats) -> Floats:
    """Reorder (C, 1, KH, KW) to (blocks, KH, KW, 16)."""
    channels, _, height, width = weight.shape
    padded = np.zeros((-(-channels // BLOCK) * BLOCK, height, width), np.float32)
    padded[:channels] = weight[:, 0]
    return np.ascontiguousarray(padded.reshape(-1, BLOCK, height, width).transpose(0, 2, 3, 1))


def pack_bf16(weight: Floats) -> Floats:
    """(O, I, KH, KW) -> for each output block (KH, parts of 32 input channels, KW, 16 pairs of those, 16, 2) bfloat16,
    rounded to the nearest even, two in each float32 of what is returned."""
    out, channels, height, width = weight.shape
    padded = np.zeros((-(-out // BLOCK) * BLOCK, -(-channels // PART) * PART, height, width), np.float32)
    padded[:out, :channels] = weight
    split = padded.reshape(-1, BLOCK, padded.shape[1] // PART, PART // 2, 2, height, width)
    return _rounded(split.transpose(0, 5, 2, 6, 3, 1, 4))


def pack_bf16_planar(weight: Floats) -> Floats:
    """Do the same for a planar input: for each output block (KH, I, pairs of columns, 16, 2)."""
    out, channels, height, width = weight.shape
    padded = np.zeros((-(-out // BLOCK) * BLOCK, channels, height, width + width % 2), np.float32)
    padded[:out, ..., :width] = weight
    return _rounded(padded.reshape(-1, BLOCK, channels, height, padded.shape[3] // 2, 2).transpose(0, 3, 2, 4, 1, 5))


def _rounded(numbers: Floats) -> Floats:
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    nearest = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return nearest.astype(np.uint16).reshape(-1).view(np.float32)


def pack_winograd(weight: Floats, group: int) -> Floats:
    """Reorder (O, I, 3, 3) to the weights of Winograd's F(2x2, 3x3): 16 times what `pack_conv` gives for one pixel."""
    return np.concatenate([pack_conv(each, group, planar=False) for each in _winograd_weights(weight)])


def pack_winograd_bf16(weight: Floats) -> Floats:
    """Do the same in bfloat16: 16 times what `pack_bf16` gives for one pixel."""
    return np.concatenate([pack_bf16(each) for each in _winograd_weights(weight)])


def _winograd_weights(weight: Floats) -> Floats:
    """(O, I, 3, 3) -> (16, O, I, 1, 1)"""
    rows = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    numbers: NDArray[np.float64] = np.einsum("ay,oiyx,bx->aboi", rows, weight.astype(np.float64), rows)
    return numbers.reshape(16, *weight.shape[:2], 1, 1).astype(np.float32)


def pack_conv(weight: Floats, group: int, *, planar: bool) -> Floats:
    """Reorder (O, I, KH, KW): for each group of `group` output blocks (the last may be smaller), (KH, I, KW, 16 *
    group) if the input is planar, otherwise (KH, input block, KW, channel of the block, 16 * group)."""
    out, channels, height, width = weight.shape
    padded = np.zeros((-(-out // BLOCK) * BLOCK, channels, height, width), np.float32)
    padded[:out] = weight
    packed = []
    for start in range(0, len(padded), group * BLOCK):
        part = padded[start : start + group * BLOCK]
        if planar:
            packed.append(part.transpose(2, 1, 3, 0).reshape(-1))
            continue
        whole = channels // BLOCK * BLOCK
        rows = []
        for piece, size in ((part[:, :whole], BLOCK), (part[:, whole:], channels - whole)):
            if piece.shape[1]:
                split = piece.reshape(len(part), -1, size, height, width)
                rows.append(split.transpose(3, 1, 4, 2, 0).reshape(height, -1))
        packed.append(np.concatenate(rows, axis=1).reshape(-1))
    return np.concatenate(packed)
