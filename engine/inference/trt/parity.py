"""Compares a plan on its GPU with ONNX Runtime on the CPU: every slot of a batch gets the same image and must give the
same result.

There are two comparisons. Slot against slot, at each batch size, detects plans in which objects fade as the batch
grows, whatever the precision. And each slot is compared with the CPU. Differences are relative to the largest value of
their output field (x, width, score ...), or to 1 if that is smaller, so scores are compared absolutely and boxes
relative to the image. Each number must be within `MAX_ERROR`, and 99.9 % of them within `MAX_USUAL`, because in low
precision a few unimportant anchors deviate strongly.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import PlanError
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar import Parity
from models.manifest import ModelManifest
from models.verify_dynamic_axes import made_up_picture

# By precision: the largest difference from the CPU, and that of 999 in 1000 numbers. fp32, fp16 and bf16 are compared
# with the plain float32 model, int8 with the same Q/DQ nodes, where rounding at the edge of a step may go either way.
# fp16 has twice the effect of the mere conversion on YOLOX-nano, the worst of our models, on the CPU (0.073 and 0.019);
# bf16, with three bits less, eight times as much, capped at 1. fp32 and int8 are estimates.
MAX_ERROR = {"fp32": 1e-2, "fp16": 2e-1, "bf16": 1.0, "int8": 5e-1}
MAX_USUAL = {"fp32": 1e-3, "fp16": 4e-2, "bf16": 3e-1, "int8": 1e-1}
# Between slots of one batch, for any precision: the same kernels on the same numbers.
SLOTS = 1e-3
# end2end: rows below this score are not compared.
FAINT = 0.05


class Runner(Protocol):
    """A plan ready to run. Every `engine.inference.backends.base.Backend` is one."""

    input_dtype: str

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """(B, 3, H, W) of `input_dtype` -> (B, ...)."""
        ...


def check_parity(
    runner: Runner, reference: bytes, profile: Profile, precision: str, manifest: ModelManifest, *, pictures: int = 2
) -> Parity:
    """Run synthetic images at the minimum, optimum and maximum shape. Raises PlanError at the first difference.

    reference   bytes of an ONNX file with dynamic axes, run by ONNX Runtime on the CPU
    """
    spec, rows = manifest.input, manifest.layout == "end2end"
    peak = 255.0 if spec.dtype == "uint8" else 255.0 * float(np.max(spec.scale))
    session, entry, dtype = _session(reference)
    worst = most = apart = 0.0
    shapes = tuple(dict.fromkeys((profile.least, profile.opt, profile.most)))
    for shape in shapes:
        for seed in range(pictures):
            picture = made_up_picture(seed, *shape[2:], peak, "float32")
            expected = session.run(None, {entry: picture.astype(dtype)})[0]
            batch = np.repeat(picture, shape[0], axis=0).astype(runner.input_dtype)
            got = runner.run(batch)
            where = f"at {'x'.join(map(str, shape))}"
            if got.shape != (shape[0], *expected.shape[1:]):
                raise PlanError(
                    f"the plan answers {got.shape} {where}, where {expected.shape[1:]} a slot was expected."
                )
            for slot, answer in enumerate(got):
                apart = max(apart, _refuse_apart(got[:1], answer[None], slot, where, rows=rows))
                largest, nearly = _refuse_far(expected, answer[None], slot, where, precision, rows=rows)
                worst, most = max(worst, largest), max(most, nearly)
    return Parity(worst, most, apart, shapes)


def _session(reference: bytes) -> tuple[Any, str, str]:
    import onnxruntime  # a plan may be built where it is not, or can't be loaded

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(reference, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    dtypes = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
    return session, entry.name, dtypes[entry.type]


def _refuse_apart(first: NDArray[Any], answer: NDArray[Any], slot: int, where: str, *, rows: bool) -> float:
    largest = float(_off(first, answer, rows).max(initial=0.0))
    if not largest <= SLOTS:
        raise PlanError(
            f"the plan answers differently in slot {slot} than in slot 0 {where}, for the same image: by "
            f"{largest:.2g}, and {SLOTS:g} is allowed. It was not kept. Try --max-batch 1 or another precision."
        )
    return largest


def _refuse_far(
    expected: NDArray[Any], answer: NDArray[Any], slot: int, where: str, precision: str, *, rows: bool
) -> tuple[float, float]:
    off = _off(expected, answer, rows)
    largest, nearly = float(off.max(initial=0.0)), float(np.quantile(off, 0.999)) if off.size else 0.0
    if not (largest <= MAX_ERROR[precision] and nearly <= MAX_USUAL[precision]):
        raise PlanError(
            f"the plan answers differently from ONNX Runtime on the CPU in slot {slot} {where}: by {largest:.2g} at "
            f"most and {nearly:.2g} in 99.9 % of the numbers, where {MAX_ERROR[precision]:g} and "
            f"{MAX_USUAL[precision]:g} are allowed for {precision}. It was not kept. Try a higher precision."
        )
    return largest, nearly


def _off(expected: NDArray[Any], got: NDArray[Any], rows: bool) -> NDArray[np.float64]:
    return row_differences(expected, got) if rows else differences(expected, got)


def differences(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[np.float64]:
    """Return the differences of two results (1, rows, columns), relative to the largest value of the field or 1. NaN on
    either side counts as infinitely different."""
    one, two = expected.astype(np.float64), got.astype(np.float64)
    # Fields are along the shorter of the last two axes.
    over = one.ndim - 1 if one.ndim < 3 or one.shape[-1] > one.shape[-2] else one.ndim - 2
    scale = np.maximum(np.abs(one).max(axis=over, keepdims=True, initial=0.0), 1.0)
    off = np.abs(one - two) / scale
    return np.where(np.isfinite(off), off, np.inf)


def row_differences(expected: NDArray[Any], got: NDArray[Any]) -> NDArray[np.float64]:
    """Return, for two end2end results (1, D, 6), the distance of each row with a score of at least `FAINT` to the
    nearest of its class in the other. Rows are sorted by score, so small differences may change their order."""
    if not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return np.array([np.inf])
    found = []
    for one, two in ((expected[0], got[0]), (got[0], expected[0])):
        one, two = one.astype(np.float64), two.astype(np.float64)
        seen = one[one[:, 4] >= FAINT]
        scale = np.maximum(np.abs(one[:, :5]).max(axis=0, initial=0.0), 1.0)
        off = (np.abs(seen[:, None, :5] - two[None, :, :5]) / scale).max(axis=2)
        off[seen[:, None, 5] != two[None, :, 5]] = np.inf
        found.append(off.min(axis=1, initial=np.inf))
    return np.concatenate(found)
