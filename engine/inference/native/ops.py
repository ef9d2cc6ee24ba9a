"""The operations of a network, between the ONNX graph and the table of steps, for one image of one size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Unsupported(Exception):
    """The model contains something that this executor does not support; says what."""


@contextmanager
def refusing() -> Iterator[None]:
    """Convert any failure inside, caused by an invalid graph, to Unsupported."""
    try:
        yield
    except MemoryError as error:
        raise Unsupported("it needs more memory than there is") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Unsupported(f"its graph is not sound ({type(error).__name__}: {error})") from error


class Activation(NamedTuple):
    """A name in engine_ext.convnet.ACTIVATIONS, and its two parameters."""

    name: str
    first: float = 0.0
    second: float = 0.0


NOTHING = Activation("nothing")


@dataclass(eq=False)
class Tensor:
    """The result of an operation: (1, channels, height, width)."""

    channels: int
    height: int
    width: int

    @property
    def dims(self) -> tuple[int, ...]:
        return (1, self.channels, self.height, self.width)


class Sample(NamedTuple):
    """A channel of a view: every step-th pixel of one of the image's channels, starting at a row and a column."""

    channel: int
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class PictureView:
    """The image before the first convolution: sampled, scaled and shifted, but not computed yet.

    size     height and width of the image itself
    steps    rows and columns from one sample to the next
    factor   (channels,) float32, then `summand`: value = pixel * factor + summand
    """

    size: tuple[int, int]
    samples: tuple[Sample, ...]
    steps: tuple[int, int]
    factor: Floats
    summand: Floats

    @property
    def dims(self) -> tuple[int, ...]:
        height, width = (-(-n // step) for n, step in zip(self.size, self.steps, strict=True))
        return (1, len(self.samples), height, width)


@dataclass(eq=False)
class Conv:
    """weight (O, I, KH, KW), or (O, 1, KH, KW) where `depthwise`. `picture_channels` > 0: the source is the image.

    affine   a factor and a summand per channel of the image, applied before zero padding; None for none
    other    a tensor of the output's size, joined as specified by `when` (engine_ext.convnet.WHENS)
    """

    source: Tensor | None
    out: Tensor
    weight: Floats
    bias: Floats
    strides: tuple[int, int]
    pads: tuple[int, int]
    depthwise: bool = False
    picture: tuple[int, int, int] | None = None
    affine: tuple[Floats, Floats] | None = None
    activation: Activation = NOTHING
    other: Tensor | None = None
    when: str = "no"


@dataclass(eq=False)
class MaxPool:
    source: Tensor
    out: Tensor
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]


@dataclass(eq=False)
class Upsample:
    """Repeats each pixel `factors` times, vertically and horizontally."""

    source: Tensor
    out: Tensor
    factors: tuple[int, int]


@dataclass(eq=False)
class Elementwise:
    """out = activation(source), with `other` joined as specified by `when`."""

    source: Tensor
    out: Tensor
    activation: Activation = NOTHING
    other: Tensor | None = None
    when: str = "no"


@dataclass(eq=False)
class Concat:
    """Concatenates the channels of several tensors."""

    sources: list[Tensor]
    out: Tensor


@dataclass(eq=False)
class Attention:
    """softmax(factor * queries^T keys) applied to values, over the pixels of each of `areas` equal parts of the image,
    one below the other, in each of `heads` parts of the channels."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    out: Tensor
    heads: int
    factor: float
    areas: int = 1

    @property
    def pixels(self) -> int:
        """The pixels of an area."""
        return self.out.height * self.out.width // self.areas


Op = Conv | MaxPool | Upsample | Elementwise | Concat | Attention


@dataclass(eq=False)
class Patch:
    """Part of the result: channels of a tensor, one pixel per row, starting at a row and a column of the result."""

    tensor: Tensor
    first: int
    channels: int
    row: int
    column: int
    activation: Activation = NOTHING

    @property
    def rows(self) -> int:
        return self.tensor.height * self.tensor.width


@dataclass(frozen=True, eq=False)
class Cells:
    """Patches side by side: (1, rows, columns), or (1, columns, rows) where `turned`."""

    rows: int
    columns: int
    patches: tuple[Patch, ...]
    turned: bool

    @property
    def dims(self) -> tuple[int, ...]:
        return (1, self.columns, self.rows) if self.turned else (1, self.rows, self.columns)


@dataclass(frozen=True, eq=False)
class Pixels:
    """A tensor's numbers, pixel by pixel, each with all its channels, in any dimensions."""

    tensor: Tensor
    dims: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Heads:
    """`factor` times `count` channels from `first` on of each of `heads` equal parts of a tensor, in `areas` equal
    parts of its pixels: (areas, heads, count, pixels), or (areas, heads, pixels, count) where `turned`."""

    tensor: Tensor
    heads: int
    first: int
    count: int
    factor: float = 1.0
    turned: bool = False
    areas: int = 1

    @property
    def pixels(self) -> int:
        """The pixels of an area."""
        return self.tensor.height * self.tensor.width // self.areas

    @property
    def dims(self) -> tuple[int, ...]:
        sides = (self.pixels, self.count) if self.turned else (self.count, self.pixels)
        return (self.areas, self.heads, *sides)

    @property
    def channels(self) -> NDArray[np.int64]:
        """(heads * count,) channels of the tensor."""
        starts = np.arange(self.heads) * (self.tensor.channels // self.heads) + self.first
        return (starts[:, None] + np.arange(self.count)).reshape(-1)


@dataclass(frozen=True, eq=False)
class Scores:
    """factor * queries^T keys: (areas, heads, queries, keys), with the last two swapped if `turned`; once `softmaxed`,
    they add up to 1 over the keys."""

    queries: Heads
    keys: Heads
    factor: float = 1.0
    softmaxed: bool = False
    turned: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.queries.areas, self.queries.heads, self.queries.pixels, self.keys.pixels)


@dataclass
class Network:
    """The operations, in order. `picture` is the size of an image (channels, height, width)."""

    picture: tuple[int, int, int]
    ops: list[Op] = field(default_factory=list)
    result: Cells | None = None


Value = NDArray[Any] | PictureView | Tensor | Cells | Pixels | Heads | Scores


def sources(op: Op) -> list[Tensor]:
    """Return the tensors an operation reads."""
    if isinstance(op, Concat):
        return op.sources
    if isinstance(op, Attention):
        return [op.queries, op.keys, op.values]
    read = [op.source] if op.source is not None else []
    if isinstance(op, Conv | Elementwise) and op.other is not None:
        read.append(op.other)
    return read
