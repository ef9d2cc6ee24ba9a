"""The plan to run: one that was named, or the newest in the user's cache that fits this model, GPU and TensorRT."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BackendMissing, PlanError
from engine.inference.trt.gpu import Gpu

if TYPE_CHECKING:
    from engine.inference.trt.sidecar import PlanRecord

# What reads a side-car is loaded where there is a plan: every run asks here whether its model is one.

SUFFIX = ".plan"


def is_plan(model: str) -> bool:
    """Whether what was given as the model is a plan's path."""
    return model.endswith(SUFFIX)


def model_of(model: str) -> tuple[str, str | None]:
    """The model that a plan was built from, and its layout; any other name or path as it is. Raises PlanError."""
    if not is_plan(model):
        return model, None
    from engine.inference.trt.sidecar import read_record

    record = read_record(Path(model))
    return record.model, record.layout


def fed_of(model: str) -> dict[str, Any]:
    """What was said of the input when a plan was built, as arguments of `models.resolve.resolve`; nothing of any other
    model. Raises PlanError."""
    if not is_plan(model):
        return {}
    from engine.inference.trt.sidecar import read_record

    fed = read_record(Path(model)).fed or {}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fed.items()}


def build_command(model: str) -> str:
    return f"yolo-engine build-trt {shlex.quote(model)}"


def find_plan(
    model: str, onnx_sha256: str, layout: str, gpu: Gpu, shape: tuple[int, int, int, int] | None = None
) -> tuple[Path, PlanRecord]:
    """The plan for a model on a GPU, checked. `shape` is one that it must take.

    Raises PlanError, or BackendMissing where what runs it is not installed; each with the command that repairs it.
    Nothing is built.
    """
    from engine.inference.trt.sidecar import cached_plans

    if is_plan(model):
        return _checked(Path(model), onnx_sha256, layout, gpu, shape)
    problems: list[PlanError | BackendMissing] = []
    found = sorted(cached_plans(onnx_sha256), key=lambda each: each[1].built_at, reverse=True)
    for plan, _ in found:
        try:
            return _checked(plan, onnx_sha256, layout, gpu, shape)
        except (PlanError, BackendMissing) as error:
            problems.append(error)
    if problems:
        raise problems[0]
    raise PlanError(
        f"there is no TensorRT plan of {model} for this GPU ({gpu.name}, {gpu.capability}), and none is built unasked. "
        f"Build it: `{build_command(model)}`."
    )


def _checked(
    plan: Path, onnx_sha256: str, layout: str, gpu: Gpu, shape: tuple[int, int, int, int] | None
) -> tuple[Path, PlanRecord]:
    from engine.inference.trt.flavors import load_flavor
    from engine.inference.trt.sidecar import check_plan

    record = check_plan(plan, onnx_sha256=onnx_sha256, layout=layout, gpu=gpu, shape=shape)
    return plan, check_plan(plan, flavor=load_flavor(record.flavor))
