"""A model in bfloat16 or in 8-bit integers on a CPU: which backend computes it, by the rule in docs/models.md."""

from __future__ import annotations

import shlex

from engine.choices.precision import processor
from engine.config import EngineConfig
from engine.errors import BackendMissing, ConfigError, PlanError
from engine.inference.backends.base import CpuModel, OnCpu
from engine.inference.backends.native import NativeBackend
from engine.inference.backends.openvino import OpenVinoBackend
from engine.inference.trt.to_float32 import plain
from models.batching import batch_safe
from models.onnx_meta import load_onnx

_COMPUTE = {"bf16": ("auto", "native", "openvino"), "int8": ("auto", "openvino")}


def in_precision(config: EngineConfig, asked: CpuModel) -> OnCpu:
    """Return the model in bfloat16 or 8-bit integers. Raises BackendMissing if the processor or software does not
    support that, and ConfigError if the model or another key conflicts with it."""
    precision = config.precision
    if config.backend not in _COMPUTE[precision]:
        raise ConfigError(
            f"precision must be f32 with --backend {config.backend}: only {' and '.join(_COMPUTE[precision][1:])} "
            f"compute in {precision}. Leave --backend out, or --precision."
        )
    if (lacking := processor().lacks(precision)) is not None:
        raise BackendMissing(
            f"--precision {precision} was requested, but this processor has no {lacking}. Repair: --precision f32"
        )
    model = load_onnx(asked.path)
    quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if precision == "int8" and not quantized:
        raise ConfigError(
            f"precision must be f32 for {config.model}: its file is not quantized. `yolo-engine quantize "
            f"{shlex.quote(config.model)} --calib FOLDER` makes one that is, from a folder of images; or leave "
            "--precision out."
        )
    why = f"OpenVINO computes {precision} with {processor().computes(precision)}"
    if precision == "int8":
        return OnCpu(OpenVinoBackend(asked.path, asked.workers, batch_safe=asked.batch_safe, precision=precision), why)
    if quantized:
        raise ConfigError(
            f"precision must be f32 or int8 for {config.model}: its file is quantized. Name the file that it was made "
            "of, or pass --precision int8."
        )
    try:
        made = plain(model)
    except PlanError as error:
        raise ConfigError(
            f"precision must be f32 for {config.model}: its quantization can't be undone here. Export it in float32."
        ) from error
    alone = not asked.batch_safe and batch_safe(model)  # images must not be batched, though not because of quantization
    safe = batch_safe(made) and not alone
    if config.backend != "openvino":
        try:
            ours = NativeBackend(made, asked.size, model=asked.name, batch_safe=safe, precision=precision)
            return OnCpu(ours, f"our executor knows all operators, and computes bf16 with {ours.instruction_set}")
        except BackendMissing as error:
            if config.backend == "native":
                raise
            why = f"not our executor: {str(error).partition('. Repair:')[0]}; {why}"
    backend = OpenVinoBackend(
        made.SerializeToString(), asked.workers, batch_safe=safe, precision=precision, named=config.model
    )
    return OnCpu(backend, why)
