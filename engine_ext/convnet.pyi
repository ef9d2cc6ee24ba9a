"""Runs a planned convolutional network on a CPU: a table of steps, one workspace, no interpreter lock.

A tensor of the workspace is stored in blocks of 16 channels. Channel ``c`` of pixel ``(y, x)`` is the float at ``at + c
// 16 * block + (y * width + x) * 16 + c % 16``; lanes above the last channel are undefined. The image is planar, ``(C,
H, W)``, and the output has one row per pixel, ``(rows, columns)``.

Every output number is summed in a fixed order: by kernel row, input block (or plane), kernel column, channel. So it
depends neither on tiles nor on threads. AVX-512 and AVX2 differ in the last bits of sigmoid and SiLU. A ``conv_bf16``
rounds its input and its weights to bfloat16, and sums in float32 by pairs of channels, a ``picture_bf16`` by pairs of
the image's columns. A ``winograd`` is a 3x3 convolution of stride 1 that computes 2x2 pixels from 16 sums over the
channels, in place of 36; its last bits are others. A ``winograd_bf16`` rounds what enters these sums.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

FIELDS: tuple[str, ...]
"""The columns of a table of steps, in order. convnet.h explains them; positions and distances are in floats."""

KINDS: tuple[str, ...]
"""The kinds of steps, by the number in column ``kind``."""

ATTENTION_ROWS: int
"""The number of queries whose scores an ``attention`` keeps in its scratch at a time."""

MAX_DEPTH: int
"""The most channels of the queries of a head of an ``attention``, and of what a ``winograd`` or ``winograd_bf16``
reads."""

BF16_ROWS: int
"""The most rows of a ``conv_bf16``'s kernel."""

BF16_PAIRS: int
"""The most pairs of columns, in all rows and planes, of a ``picture_bf16``'s kernel."""

BF16_CHUNK: int
"""Pixels that a ``conv_bf16`` of one pixel rounds at a time, in its scratch, and

``BF16_SLACK`` pixels that it may read, and does not use, behind those in the scratch.
"""

BF16_SLACK: int

BF16_SETS: tuple[str, ...]
"""The instruction sets with which a network may have a ``conv_bf16``, ``winograd_bf16`` or ``picture_bf16``: ``AMX``
and ``AVX-512 BF16``. All else of a network is computed as with ``AVX-512``.
"""

ACTIVATIONS: tuple[str, ...]
"""Activations by the number in ``activation``. ``leaky_relu`` has a slope at ``activation_at``, ``clip`` its bounds,
``hard_sigmoid`` and ``hard_swish`` a slope and a summand: min(1, max(0, slope * x + summand)), times x for the latter.
"""

WHENS: tuple[str, ...]
"""How a second tensor joins the result of a step, by the number in ``other_when``."""

def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that this processor and build support, the fastest first: ``AVX-512`` (F, DQ, BW and
    VL) and ``AVX2`` (with FMA); empty if neither."""

def bf16_instruction_sets() -> tuple[str, ...]:
    """Return those of ``BF16_SETS`` that this processor, this build and the system support, the fastest first. For
    AMX this asks Linux to let the process use it."""

def aligned(size: int) -> Floats:
    """Return ``(size,) float32`` zeros aligned to 64 bytes. Raises ValueError for a negative size."""

def means_of_bins(values: Floats, weights: Floats, instruction_set: str) -> Floats:
    """Return ``(R, C) float32``: the mean of each distribution, whose ``B`` bins are the softmax of ``values``.

    Args:
        values: ``(R, C, B) float32``, bins contiguous, otherwise with any strides; B is a multiple of 16.
        weights: ``(B,) float32``, C-contiguous: what each bin stands for.
        instruction_set: one of `instruction_sets` or `bf16_instruction_sets`.

    Raises TypeError or ValueError if an argument is not as described. The interpreter lock is released.
    """

class ConvNet:
    """A network: checked once, then run by any number of threads concurrently, each with its own workspace."""

    picture_shape: tuple[int, int, int]
    output_shape: tuple[int, int]
    workspace_size: int
    instruction_set: str

    def __init__(
        self,
        steps: NDArray[np.int64],
        weights: Floats,
        picture_shape: tuple[int, int, int],
        output_shape: tuple[int, int],
        workspace_size: int,
        instruction_set: str,
    ) -> None:
        """Copy a table and prove that no step accesses anything outside a buffer.

        Args:
            steps: ``(S, len(FIELDS)) int64``, copied. Zero steps do nothing.
            weights: ``(W,) float32``, read and kept; must not be changed while the network is used.
            picture_shape: ``(C, H, W)`` of the images.
            output_shape: ``(rows, columns)`` of the output. The table is responsible for writing all of it.
            workspace_size: floats of the workspace.
            instruction_set: one of `instruction_sets` or `bf16_instruction_sets`.

        Raises TypeError for anything but an array, or another dtype; ValueError for another shape, an unsupported
        instruction set, or a step that would access memory outside a buffer (names the step and what is wrong).
        """

    def run(
        self, picture: Floats, output: Floats, workspace: Floats, *, first: int = 0, end: int | None = None
    ) -> None:
        """Compute one image.

        Args:
            picture: ``(C, H, W) float32``, C-contiguous, read.
            output: ``(rows, columns) float32``, C-contiguous, written.
            workspace: at least ``(workspace_size,) float32``, overwritten; fastest if from `aligned`. Concurrent runs
                must not share it.
            first: the first step to run, and
            end: the one to stop before; None for all. For measuring.

        Raises TypeError or ValueError if an argument is not as described. The interpreter lock is released.
        """
