"""Prove a freed model by running it against its original, on the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime

from models.batching import batch_safe
from models.errors import ReshapeError
from models.onnx_meta import load_onnx
from models.output_shape import cells

Array = np.ndarray[Any, np.dtype[Any]]

# Largest difference allowed between two answers, as a part of the largest value of that output field.
TOLERANCE = {"float32": 1e-4, "float16": 1e-2}
# In a dynamically quantized model a rounding difference may move a value by a whole quantization step.
QUANTIZED_TOLERANCE = 2e-2
_FAINT = 0.05  # a score below which a finished detection is not looked for


class _Tensor(Protocol):
    """An input of a session; a dimension is an int where it is fixed."""

    name: str
    type: str
    shape: list[int | str | None]


class Session(Protocol):
    """What is used of ONNX Runtime's InferenceSession, which has no type hints."""

    def get_inputs(self) -> list[_Tensor]: ...

    def run(self, outputs: list[str] | None, feeds: dict[str, Array]) -> list[Array]: ...


@dataclass(frozen=True)
class CheckReport:
    """What the check found. Differences are parts of the largest value of the output field; 0.0 is bit for bit.

    same_shape    freed against original, at the original's shape
    in_batch      each image in a batch against itself alone; None if the model isn't batch-safe, so not compared
    rectangle     (height, width) that was run, and that gave the right number of anchors
    centres       whether decoded centres were looked at (layouts yolov5 and yolov8) and lay at their cells
    """

    same_shape: float
    in_batch: float | None
    rectangle: tuple[int, int]
    centres: bool


def check_freed(
    original: Path,
    freed: Path | bytes,
    *,
    layout: str | None = None,
    strides: Sequence[int] = (8, 16, 32),
    stride: int = 32,
    peak: float = 1.0,
    batches: Sequence[int] = (2, 3),
) -> CheckReport:
    """Run both models and raise ReshapeError at the first answer that differs; the tolerance is `TOLERANCE`
    (`QUANTIZED_TOLERANCE` for a model that is not batch-safe).

    layout, strides   as the manifest has them; without a layout the anchors' number and places are not checked
    peak              the largest input value the model expects: 255, or 1 where pixels are scaled
    """
    before = _session(original)
    after = _session(freed)
    dtype, fixed = _input(before)
    safe = batch_safe(load_onnx(original))
    tolerance = TOLERANCE.get(dtype, TOLERANCE["float32"]) if safe else QUANTIZED_TOLERANCE
    height, width = fixed[2] or 20 * stride, fixed[3] or 20 * stride
    pictures = [made_up_picture(seed, height, width, peak, dtype) for seed in range(max(batches))]
    noise = (np.random.default_rng(7).random((1, 3, height, width)) * peak).astype(dtype)

    compare = compare_rows if layout == "end2end" else _compare
    alone = [_run(after, picture) for picture in pictures]
    same = 0.0
    for picture, answer in ((noise, _run(after, noise)), (pictures[0], alone[0])):
        same = max(same, compare(_fill(before, fixed, picture), answer, tolerance, "at the original's shape"))

    together: float | None = None
    if safe:
        together = 0.0
        for count in batches:
            answers = _run(after, np.concatenate(pictures[:count]))
            for slot in range(count):
                part = [output[slot : slot + 1] for output in answers]
                together = max(together, compare(alone[slot], part, tolerance, f"in slot {slot} of a batch of {count}"))

    rectangle = (max(stride, height * 3 // 5 // stride * stride), width + stride)
    wide = _run(after, made_up_picture(1, *rectangle, peak, dtype))[0]
    _check_count(wide, alone[0][0], layout, (height, width), rectangle, strides)
    return CheckReport(same, together, rectangle, _check_centres(wide, layout, rectangle, strides))


def _session(model: Path | bytes) -> Session:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # its errors come as exceptions, written as strangers' text
    try:
        session: Session = onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
        )
        return session
    except Exception as error:
        raise ReshapeError(f"cannot free: ONNX Runtime does not load the model: {error}.") from error


def _input(session: Session) -> tuple[str, list[int | None]]:
    tensor = session.get_inputs()[0]
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}[tensor.type]
    return dtype, [d if isinstance(d, int) else None for d in tensor.shape]


def _run(session: Session, pictures: Array) -> list[Array]:
    try:
        return session.run(None, {session.get_inputs()[0].name: pictures})
    except Exception as error:
        raise ReshapeError(f"cannot free: the freed model fails on {pictures.shape}: {error}.") from error


def _fill(session: Session, fixed: list[int | None], picture: Array) -> list[Array]:
    """Run one image through the original, whatever its fixed batch is."""
    answers = _run(session, np.repeat(picture, fixed[0] or 1, axis=0))
    return [answer[:1] for answer in answers]


def made_up_picture(seed: int, height: int, width: int, peak: float, dtype: str) -> Array:
    """`(1, 3, height, width)` in 0..peak: a lit background with hard-edged boxes and grain, as a street has them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    picture = np.stack([0.5 + 0.3 * np.sin(3 * x + seed), 0.4 + 0.4 * y, 0.6 - 0.3 * x * y])
    for _ in range(12):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        tall, wide = rng.integers(8, max(9, height // 2)), rng.integers(8, max(9, width // 3))
        picture[:, top : top + tall, left : left + wide] = rng.random((3, 1, 1))
    grained = picture + rng.normal(0, 0.02, picture.shape)
    return (np.clip(grained, 0, 1) * peak).astype(dtype)[None]


def compare_rows(expected: list[Array], got: list[Array], tolerance: float, where: str) -> float:
    """`_compare` of finished detections (1, D, 6), whichever order they come in: a rounding difference swaps rows of
    nearly the same score, and decides which faint ones are among the best D. Of scores all are compared, of rows those
    from `_FAINT` on."""
    first, second = expected[0], got[0]
    if first.shape != second.shape:
        return _compare(expected, got, tolerance, where)
    one, two = first[0].astype(np.float64), second[0].astype(np.float64)
    worst = _compare([np.sort(one[None, :, 4:5], axis=1)], [np.sort(two[None, :, 4:5], axis=1)], tolerance, where)
    strong = one[one[:, 4] >= _FAINT]
    if not len(strong):
        return worst
    scale = np.maximum(np.abs(one).max(axis=0), 1e-6)
    away = np.abs(strong[:, None] - two[None]) / scale
    nearest = two[np.nan_to_num(away, nan=np.inf).max(axis=2).argmin(axis=1)]
    return max(worst, _compare([strong[None]], [nearest[None]], tolerance, where))


def _compare(expected: list[Array], got: list[Array], tolerance: float, where: str) -> float:
    worst = 0.0
    for a, b in zip(expected, got, strict=True):
        if a.shape != b.shape:
            raise ReshapeError(f"cannot free: {where} the output is {b.shape} where {a.shape} was expected.")
        one, two = a.astype(np.float64), b.astype(np.float64)
        # A field (x, score, ...) lies along the shorter of the two last axes; fields are compared each on its scale.
        over = one.ndim - 1 if one.ndim < 3 or one.shape[-1] > one.shape[-2] else one.ndim - 2
        # Images of noise may lead beyond the numbers: the same infinity in both is no difference.
        scale = np.maximum(np.where(np.isfinite(one), np.abs(one), 0).max(axis=over, keepdims=True), 1e-6)
        differ = (one != two) & ~(np.isnan(one) & np.isnan(two))
        away = np.subtract(one, two, out=np.zeros_like(one), where=differ)
        worst = max(worst, float(np.nan_to_num(np.abs(away) / scale, nan=np.inf).max(initial=0.0)))
    if not worst <= tolerance:
        raise ReshapeError(f"cannot free: {where} the answer differs by {worst:.2g} of its largest value.")
    return worst


def _check_count(
    answer: Array,
    square: Array,
    layout: str | None,
    size: tuple[int, int],
    rectangle: tuple[int, int],
    strides: Sequence[int],
) -> None:
    """Check that the number of anchors follows from that of the cells, and that the other axes stay."""
    if layout is None or layout == "end2end":
        return
    axis = 2 if layout == "yolov8" else 1
    at_size, at_rectangle = (cells(*hw, tuple(strides)) for hw in (size, rectangle))
    expected = list(square.shape)
    expected[axis] = square.shape[axis] // at_size * at_rectangle
    if square.shape[axis] % at_size or list(answer.shape) != expected:
        raise ReshapeError(f"cannot free: at {rectangle} the output is {answer.shape} where {expected} was expected.")


def _check_centres(
    answer: Array, layout: str | None, rectangle: tuple[int, int], strides: Sequence[int]
) -> bool:  # fmt: skip
    """Check decoded centres: they can't be further from their cell's centre than the head can reach; most are much
    nearer."""
    if layout not in ("yolov5", "yolov8"):
        return False
    rows = answer[0] if layout == "yolov5" else answer[0].T
    centres = rows[:, :2].astype(np.float64)
    anchors_a_cell = len(rows) // cells(*rectangle, tuple(strides))
    reach = 1.0 if layout == "yolov5" else 8.0  # in cells: 2*sigmoid - 0.5 from the corner; distances of at most 15
    at, pixels = [], []
    for stride in strides:
        ny, nx = rectangle[0] // stride, rectangle[1] // stride
        y, x = np.mgrid[0:ny, 0:nx]
        at.append(np.tile((np.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride, (anchors_a_cell, 1)))
        pixels.append(np.full((anchors_a_cell * ny * nx, 1), float(stride)))
    away = np.abs(centres - np.concatenate(at)) / np.concatenate(pixels)
    slack = 1.01 if answer.dtype != np.float16 else 1.15
    if not (away.max() <= reach * slack and np.median(away) <= 1.5):
        raise ReshapeError(
            f"cannot free: at {rectangle} decoded centres lie up to {away.max():.1f} cells from their cells, "
            f"half of them more than {np.median(away):.1f}."
        )
    return True
