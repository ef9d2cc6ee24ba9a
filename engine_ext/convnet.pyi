"""Runs a planned convolutional network on a CPU: a table of steps, one workspace, no interpreter lock.

A tensor of the workspace lies in blocks of 16 channels. Channel ``c`` of pixel ``(y, x)`` is the float at
``at + c // 16 * block + (y * width + x) * 16 + c % 16``; lanes above the last channel hold anything. The image is
planar, ``(C, H, W)``, and the output has one row a pixel, ``(rows, columns)``.

Every output number is summed in one order: by kernel row, input block (or plane), kernel column, channel. So it does
not depend on tiles or threads. AVX-512 and AVX2 differ in the last bits of sigmoid and SiLU. A ``conv_bf16``
rounds its input and its weights to bfloat16, and sums in float32 by pairs of channels.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

FIELDS: tuple[str, ...]
"""The columns of a table of steps, in order. convnet.h says what they mean; positions and distances are in floats."""

KINDS: tuple[str, ...]
"""What a step does, by the number in its column ``kind``."""

ATTENTION_ROWS: int
"""Queries whose scores an ``attention`` keeps at a time, in its scratch."""

BF16_ROWS: int
"""The most rows of a ``conv_bf16``'s kernel."""

BF16_CHUNK: int
"""Pixels that a ``conv_bf16`` of one pixel rounds at a time, in its scratch, and

``BF16_SLACK`` pixels that it may read, and does not use, behind those in the scratch.
"""

BF16_SLACK: int

ACTIVATIONS: tuple[str, ...]
"""By the number in ``activation``. ``leaky_relu`` has a slope at ``activation_at``, ``clip`` its ends, ``hard_sigmoid``
and ``hard_swish`` a slope and a summand: min(1, max(0, slope * x + summand)), times x for the latter."""

WHENS: tuple[str, ...]
"""By the number in ``other_when``: how a second tensor joins the result of a step."""

def instruction_sets() -> tuple[str, ...]:
    """Return what this processor and this build can run, the fastest first: of ``AVX-512`` (F, DQ, BW and VL) and
    ``AVX2`` (with FMA). Empty elsewhere."""

def has_bf16() -> bool:
    """Return whether a ``conv_bf16`` can be run, with the set ``AVX-512``: it takes AMX, AVX-512 BF16 and a Linux that
    lets the process use them, which this asks for."""

def aligned(size: int) -> Floats:
    """Return ``(size,) float32`` zeros that begin at a multiple of 64 bytes. Raises ValueError for a negative size."""

class ConvNet:
    """A network: checked once, then run by any number of threads at a time, each with a workspace of its own."""

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
        """Take a table and prove that no step of it leaves a buffer.

        Args:
            steps: ``(S, len(FIELDS)) int64``, copied. Zero steps do nothing.
            weights: ``(W,) float32``, read, kept, and not to be changed while the network is used.
            picture_shape: ``(C, H, W)`` of the images.
            output_shape: ``(rows, columns)`` of the output. Whether every number of it is written is the table's
                affair.
            workspace_size: floats of the workspace.
            instruction_set: one of `instruction_sets`.

        Raises TypeError if an array is none or has another dtype; ValueError for another shape, an instruction set
        that is not there, or a step that would read or write outside a buffer (names the step and what is wrong).
        """

    def run(
        self, picture: Floats, output: Floats, workspace: Floats, *, first: int = 0, end: int | None = None
    ) -> None:
        """Compute one image.

        Args:
            picture: ``(C, H, W) float32``, C-contiguous, read.
            output: ``(rows, columns) float32``, C-contiguous, written.
            workspace: at least ``(workspace_size,) float32``, overwritten; `aligned` is the fastest. No two runs may
                have the same at a time.
            first: the first step to run, and
            end: the one to stop before; None for all. For measuring.

        Raises TypeError or ValueError if an argument is not as described. The interpreter lock is released.
        """
