"""What a network does, between the ONNX graph and the table of steps. All of it is for one image of one size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Unsupported(Exception):
    """The model does something this executor doesn't; says what."""


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever a graph that is not sound makes fail inside is Unsupported."""
    try:
        yield
    except MemoryError as error:
        raise Unsupported("it needs more memory than there is") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Unsupported(f"its graph is not sound ({type(error).__name__}: {error})") from error


class Activation(NamedTuple):
    """A name of engine_ext.convnet.ACTIVATIONS, and its two numbers."""

    name: str
    first: float = 0.0
    second: float = 0.0


NOTHING = Activation("nothing")


@dataclass(eq=False)
class Tensor:
    """What one operation writes: (1, channels, height, width)."""

    channels: int
    height: int
    width: int

    @property
    def dims(self) -> tuple[int, ...]:
        return (1, self.channels, self.height, self.width)


class Sample(NamedTuple):
    """One channel of a view: every step-th pixel of a channel of the image, from a row and a column on."""

    channel: int
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class PictureView:
    """What becomes of the image before the first convolution: sampled, scaled, shifted; nothing is computed yet.

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

    affine   of the image's channels, a factor and a summand each, before zeros are padded; None for none
    other    a tensor of the output's size, joined as `when` says (engine_ext.convnet.WHENS)
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
    """Each pixel `factors` times, down and across."""

    source: Tensor
    out: Tensor
    factors: tuple[int, int]


@dataclass(eq=False)
class Elementwise:
    """out = activation(source), with `other` joined as `when` says."""

    source: Tensor
    out: Tensor
    activation: Activation = NOTHING
    other: Tensor | None = None
    when: str = "no"


@dataclass(eq=False)
class Concat:
    """The channels of several tensors, one after the other."""

    sources: list[Tensor]
    out: Tensor


@dataclass(eq=False)
class Attention:
    """softmax(factor * queries^T keys) applied to values, over all pixels, in each of `heads` parts of the channels."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    out: Tensor
    heads: int
    factor: float


Op = Conv | MaxPool | Upsample | Elementwise | Concat | Attention


@dataclass(eq=False)
class Patch:
    """Part of the result: channels of a tensor, one pixel a row, from a row and a column of the result on."""

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
class Heads:
    """`count` channels from `first` on of each of `heads` equal parts of a tensor: (1, heads, count, pixels), or
    (1, heads, pixels, count) where `turned`."""

    tensor: Tensor
    heads: int
    first: int
    count: int
    turned: bool = False

    @property
    def pixels(self) -> int:
        return self.tensor.height * self.tensor.width

    @property
    def dims(self) -> tuple[int, ...]:
        sides = (self.pixels, self.count) if self.turned else (self.count, self.pixels)
        return (1, self.heads, *sides)

    @property
    def channels(self) -> NDArray[np.int64]:
        """(heads * count,) channels of the tensor."""
        starts = np.arange(self.heads) * (self.tensor.channels // self.heads) + self.first
        return (starts[:, None] + np.arange(self.count)).reshape(-1)


@dataclass(frozen=True, eq=False)
class Scores:
    """factor * queries^T keys: (1, heads, queries, keys), or the last two the other way where `turned`; over keys they
    add up to 1 once `softmaxed`."""

    queries: Heads
    keys: Heads
    factor: float = 1.0
    softmaxed: bool = False
    turned: bool = False

    @property
    def dims(self) -> tuple[int, ...]:
        return (1, self.queries.heads, self.queries.pixels, self.keys.pixels)


@dataclass
class Network:
    """What is to be computed, in order. `picture` is the size of an image (channels, height, width)."""

    picture: tuple[int, int, int]
    ops: list[Op] = field(default_factory=list)
    result: Cells | None = None


Value = NDArray[Any] | PictureView | Tensor | Cells | Heads | Scores


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
