"""The kernels of engine_ext.convnet in NumPy, on (C, H, W) arrays and in float64."""

import numpy as np


def conv(picture, weight, bias, strides, pads, size):
    """(C, H, W), (O, C, KH, KW) -> (O, *size). Outside the picture there are zeros."""
    out = np.zeros((len(weight), *size)) + np.asarray(bias, np.float64)[:, None, None]
    for ky, kx, values in windows(picture, weight.shape[2:], strides, pads, size, 0.0):
        out += np.einsum("oc,chw->ohw", weight[:, :, ky, kx].astype(np.float64), values)
    return out


def winograd(picture, weight, bias, pads, size, rounded):
    """A 3x3 `conv` by Winograd's F(2x2, 3x3), whose 16 numbers of each tile and of the weights are `rounded`."""
    before, last = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]), [[1, 1, 1, 0], [0, 1, -1, -1]]
    rows = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    weights = rounded(np.einsum("ay,oiyx,bx->oiab", rows, weight.astype(np.float64), rows).astype(np.float32))
    tiles = [(n + 1) // 2 for n in size]
    padded = np.zeros((len(picture), *(2 * n + 2 for n in tiles)), np.float32)
    room = padded[:, pads[0] :, pads[1] :]
    height, width = (min(have, fits) for have, fits in zip(picture.shape[1:], room.shape[1:], strict=True))
    room[:, :height, :width] = picture[:, :height, :width]
    out = np.zeros((len(weight), *(2 * n for n in tiles)))
    for y, x in np.ndindex(*tiles):
        tile = padded[:, 2 * y : 2 * y + 4, 2 * x : 2 * x + 4]
        # In float32 and in the kernel's order: each number is a sum of two, twice, so that it is rounded alike.
        numbers = np.einsum("iab,cb->iac", np.einsum("ab,ibc->iac", before, tile).astype(np.float32), before)
        sums = np.einsum("oiab,iab->oab", weights.astype(np.float64), rounded(numbers.astype(np.float32)))
        out[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = np.einsum("ra,oab,sb->ors", last, sums, last)
    return out[:, : size[0], : size[1]] + np.asarray(bias, np.float64)[:, None, None]


def depthwise(picture, weight, bias, strides, pads, size):
    """(C, H, W), (C, 1, KH, KW) -> (C, *size)."""
    out = np.zeros((len(weight), *size)) + np.asarray(bias, np.float64)[:, None, None]
    for ky, kx, values in windows(picture, weight.shape[2:], strides, pads, size, 0.0):
        out += weight[:, 0, ky, kx].astype(np.float64)[:, None, None] * values
    return out


def max_pool(picture, kernel, strides, pads, size):
    """(C, H, W) -> (C, *size)."""
    return np.max([v for _, _, v in windows(picture, kernel, strides, pads, size, -np.inf)], axis=0)


def attention(queries, keys, values, heads, factor):
    """(heads * depth, H, W) twice, (heads * width, H, W) -> (heads * width, H, W)."""
    query, key, value = (
        each.astype(np.float64).reshape(heads, len(each) // heads, -1) for each in (queries, keys, values)
    )
    scores = factor * query.transpose(0, 2, 1) @ key
    chances = np.exp(scores - scores.max(axis=2, keepdims=True))
    chances /= chances.sum(axis=2, keepdims=True)
    return (value @ chances.transpose(0, 2, 1)).reshape(values.shape)


def windows(picture, kernel, strides, pads, size, outside):
    """For each place in the kernel: its row, its column, and the (C, *size) input that meets it."""
    channels, height, width = picture.shape
    full = [(n - 1) * stride + k for n, stride, k in zip(size, strides, kernel, strict=True)]
    padded = np.full((channels, *(max(n, p + m) for n, p, m in zip(full, pads, (height, width), strict=True))), outside)
    padded[:, pads[0] : pads[0] + height, pads[1] : pads[1] + width] = picture
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            rows = slice(ky, ky + (size[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(kx, kx + (size[1] - 1) * strides[1] + 1, strides[1])
            yield ky, kx, padded[:, rows, columns]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "nothing": lambda x, a, b: x,
    "silu": lambda x, a, b: x * sigmoid(x),
    "sigmoid": lambda x, a, b: sigmoid(x),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "clip": lambda x, a, b: np.minimum(np.maximum(x, a), b),
    "hard_sigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hard_swish": lambda x, a, b: x * np.clip(a * x + b, 0, 1),
}


def to_blocks(tensor, block):
    """(C, H, W) -> the floats of its blocks, `block` apart; lanes above the last channel are NaN."""
    channels, height, width = tensor.shape
    count = -(-channels // 16)
    lanes = np.full((count * 16, height * width), np.nan, np.float32)
    lanes[:channels] = tensor.reshape(channels, -1)
    out = np.full((count, block), np.nan, np.float32)
    out[:, : height * width * 16] = lanes.reshape(count, 16, -1).transpose(0, 2, 1).reshape(count, -1)
    return out.reshape(-1)


def from_blocks(floats, channels, height, width, block):
    count = -(-channels // 16)
    blocks = floats[: count * block].reshape(count, block)[:, : height * width * 16]
    return blocks.reshape(count, height * width, 16).transpose(0, 2, 1).reshape(-1, height, width)[:channels]
