"""Grid constants of a detection head: recognised by their values, and computed from the input's shape instead.

A head adds the cell's position to each prediction and scales it by the cell's size. An export with a fixed shape has
these numbers folded into constants, over the cells of one level (two axes: ny, nx) or of all levels (one axis: A
anchors). All have the same form: with x, y the column and row of the cell, and s the stride of its level,

    value = ax * x + ay * y + c        ax, ay in {0, 1, s}, not both; c anything that is the same in all cells

YOLOv5's grid (1, 3, ny, nx, 2) has ax = 1 for x, ay = 1 for y and c = -0.5; its anchor_grid has ax = ay = 0 and c is
the anchor's size. YOLOv8's anchors (1, 2, A) have c = 0.5; its strides (1, A) have c = s. A constant is only replaced
if this form reproduces each of its values exactly; the right shape alone is not enough.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Level:
    """Coefficients of one level. Each broadcasts against `(.., [na,] ny, nx, ..)` with 1 for ny and for nx.

    y_axis, x_axis   where ny and nx are in that shape
    """

    stride: int
    ax: Array
    ay: Array
    c: Array
    y_axis: int
    x_axis: int


@dataclass(frozen=True)
class GridPlan:
    """How to compute one constant. `join_axis` is the anchor axis on which levels are concatenated, None for one level.

    shape   of the resulting constant, with -1 at `join_axis`
    """

    levels: tuple[Level, ...]
    dtype: str
    join_axis: int | None
    shape: tuple[int, ...]


def recognise(
    constant: Array,
    axes: Sequence[int],
    size: tuple[int, int],
    sizes_elsewhere: Sequence[int],
    probe: tuple[int, int],
    strides: Sequence[int],
) -> GridPlan | None:
    """Return the plan for `constant`, whose `axes` follow the input's size; None if it is not a grid.

    size, probe        (height, width) of the input as exported, and of a second shape
    sizes_elsewhere    the required lengths of `axes` for that second shape
    """
    if constant.dtype.kind != "f":
        return None
    if len(axes) == 2:
        return _one_level(constant, (axes[0], axes[1]), size, sizes_elsewhere, probe, strides)
    if len(axes) == 1:
        for order in (tuple(sorted(strides)), tuple(sorted(strides, reverse=True))):
            plan = _all_levels(constant, axes[0], size, sizes_elsewhere[0], probe, order)
            if plan is not None:
                return plan
    return None


def _one_level(
    constant: Array,
    axes: tuple[int, int],
    size: tuple[int, int],
    elsewhere: Sequence[int],
    probe: tuple[int, int],
    strides: Sequence[int],
) -> GridPlan | None:
    lengths = tuple(constant.shape[axis] for axis in axes)
    for stride in strides:
        for y_axis, x_axis, flip in ((axes[0], axes[1], 1), (axes[1], axes[0], -1)):
            here = (size[0] // stride, size[1] // stride)[::flip]
            there = (probe[0] // stride, probe[1] // stride)[::flip]
            if lengths != here or tuple(elsewhere) != there:
                continue
            level = _fit(constant, y_axis, x_axis, stride)
            if level is not None:
                return GridPlan((level,), str(constant.dtype), None, constant.shape)
    return None


def _all_levels(
    constant: Array,
    axis: int,
    size: tuple[int, int],
    elsewhere: int,
    probe: tuple[int, int],
    strides: tuple[int, ...],
) -> GridPlan | None:
    total = sum((size[0] // s) * (size[1] // s) for s in strides)
    anchors_a_cell, rest = divmod(constant.shape[axis], total)
    if rest or elsewhere != anchors_a_cell * sum((probe[0] // s) * (probe[1] // s) for s in strides):
        return None
    levels: list[Level] = []
    start = 0
    for stride in strides:
        ny, nx = size[0] // stride, size[1] // stride
        stop = start + anchors_a_cell * ny * nx
        index = (slice(None),) * axis + (slice(start, stop),)
        shape = (*constant.shape[:axis], anchors_a_cell, ny, nx, *constant.shape[axis + 1 :])
        level = _fit(constant[index].reshape(shape), axis + 1, axis + 2, stride)
        if level is None:
            return None
        levels.append(level)
        start = stop
    shape = (*constant.shape[:axis], -1, *constant.shape[axis + 1 :])
    return GridPlan(tuple(levels), str(constant.dtype), axis, shape)


def _fit(values: Array, y_axis: int, x_axis: int, stride: int) -> Level | None:
    """Derive the coefficients from the first two cells of each axis, then check that they give every value exactly."""
    ny, nx = values.shape[y_axis], values.shape[x_axis]
    if ny < 2 or nx < 2:
        return None

    def cell(y: int, x: int) -> Array:
        picked = np.take(np.take(values, [y], axis=y_axis), [x], axis=x_axis)
        return np.asarray(picked, dtype=np.float32)

    c = cell(0, 0)
    ax, ay = cell(0, 1) - c, cell(1, 0) - c
    if not (np.isin(ax, (0, 1, stride)).all() and np.isin(ay, (0, 1, stride)).all()) or ((ax != 0) & (ay != 0)).any():
        return None
    level = Level(stride, ax, ay, c, y_axis, x_axis)
    x = np.arange(nx, dtype=np.float32).reshape(_along(values.ndim, x_axis, nx))
    y = np.arange(ny, dtype=np.float32).reshape(_along(values.ndim, y_axis, ny))
    again = (ax * x + ay * y + c).astype(values.dtype)
    return level if np.array_equal(again, values) else None


def _along(rank: int, axis: int, length: int) -> tuple[int, ...]:
    return tuple(length if i == axis else 1 for i in range(rank))


class GridBuilder:
    """Creates the nodes that compute grids. Nodes are passed to `emit`; shared parts are created once.

    picture   name of the network's input `(N, 3, H, W)`
    """

    def __init__(self, picture: str, emit: Callable[..., str], constant: Callable[[Array], str]) -> None:
        self._picture = picture
        self._emit = emit  # emit(op_type, inputs, **attributes) -> name of its output
        self._constant = constant  # constant(array) -> name
        self._made: dict[object, str] = {}

    def extent(self, axis: int, stride: int) -> str:
        """Return the name of an int64 `(1,)`: the number of cells of `stride` along axis 2 (height) or 3 (width)."""
        key = ("extent", axis, stride)
        if key not in self._made:
            if "shape" not in self._made:
                self._made["shape"] = self._emit("Shape", [self._picture])
            pixels = self._emit("Gather", [self._made["shape"], self._constant(np.array([axis], np.int64))], axis=0)
            self._made[key] = self._emit("Div", [pixels, self._constant(np.array([stride], np.int64))])
        return self._made[key]

    def _count(self, axis: int, stride: int) -> str:
        """Return the name of a float32 `(cells,)`: 0, 1, 2, ... along height (axis 2) or width (axis 3)."""
        key = ("count", axis, stride)
        if key not in self._made:
            scalar = self._emit("Reshape", [self.extent(axis, stride), self._constant(np.zeros(0, np.int64))])
            zero, one = self._constant(np.array(0, np.int64)), self._constant(np.array(1, np.int64))
            whole = self._emit("Range", [zero, scalar, one])
            self._made[key] = self._emit("Cast", [whole], to=int(onnx.TensorProto.FLOAT))
        return self._made[key]

    def build(self, plan: GridPlan) -> str:
        """Return the name of the tensor that replaces the constant."""
        parts = [self._level(level, keep_cells=plan.join_axis is not None) for level in plan.levels]
        if plan.join_axis is not None:
            shape = self._constant(np.array(plan.shape, np.int64))
            parts = [self._emit("Reshape", [part, shape]) for part in parts]
            parts = [self._emit("Concat", parts, axis=plan.join_axis)] if len(parts) > 1 else parts
        if plan.dtype == "float32":
            return parts[0]
        to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(plan.dtype))
        return self._emit("Cast", parts, to=int(to))

    def _level(self, level: Level, *, keep_cells: bool) -> str:
        """Compute `ax * x + ay * y + c`. Zero terms are omitted, unless `keep_cells` needs one to broadcast c."""
        value = self._constant(level.c)
        for factor, pixel_axis, at in ((level.ax, 3, level.x_axis), (level.ay, 2, level.y_axis)):
            if not factor.any() and not keep_cells:
                continue
            shape = np.array(_along(factor.ndim, at, -1), np.int64)
            steps = self._emit("Reshape", [self._count(pixel_axis, level.stride), self._constant(shape)])
            term = self._emit("Mul", [self._constant(factor), steps])
            value = self._emit("Add", [term, value])
        return value
