"""The ONNX that a plan is built from: the model with dynamic axes, converted to the requested precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from engine.inference.trt.calibrate import Calibration, calibrate, find_pictures, tensors_of
from engine.inference.trt.quantize import quantize, refuse_quantized, signed, with_channel_scales
from engine.inference.trt.to_float32 import plain
from engine.inference.trt.to_half import narrow
from models.batching import batch_safe
from models.manifest import InputSpec
from models.onnx_meta import load_onnx

PRECISIONS = ("fp32", "fp16", "bf16", "int8")

# Increased with every change to the conversions, so that cached plans are rebuilt.
VERSION = 1


@dataclass(frozen=True)
class Prepared:
    """The converted model, and the reference for a plan of it on the CPU: the plain float32 model, or for int8 the same
    Q/DQ nodes, as quantization is not the plan's fault. `calibration` is for int8 only."""

    model: onnx.ModelProto
    reference: onnx.ModelProto
    batch_safe: bool
    calibration: Calibration | None = None


def prepare(
    freed: Path,
    spec: InputSpec,
    precision: str,
    calibration: Calibration | None = None,
    tick: Callable[[int], None] | None = None,
) -> Prepared:
    """Convert the ONNX file with dynamic axes. `tick` receives the number of images calibrated so far. Raises PlanError
    or ConfigError."""
    model = reference = signed(plain(load_onnx(freed)))
    if precision in ("fp16", "bf16"):
        model = narrow(model, "float16" if precision == "fp16" else "bfloat16")
    elif precision == "int8":
        assert calibration is not None, "asked for at the door"
        refuse_quantized(model)
        model = with_channel_scales(model)
        model = reference = quantize(model, calibrate(model, tensors_of(calibration.pictures, spec), tick))
    return Prepared(model, reference, batch_safe(model), calibration)


__all__ = ["PRECISIONS", "VERSION", "Calibration", "Prepared", "find_pictures", "prepare"]
