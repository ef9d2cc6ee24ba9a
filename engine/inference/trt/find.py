"""Finds the plan to run: a named one, or the newest in the user's cache that fits this model, GPU and TensorRT."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import BackendMissing, PlanError
from engine.inference.trt.gpu import Gpu

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.inference.trt.sidecar import PlanRecord

# The code that reads side-cars is loaded only for plans: every run asks here whether its model is one.

SUFFIX = ".plan"


@dataclass(frozen=True)
class Fed:
    """A model's input options that its file does not state: `scale` and `mean` of pixels, `channel_order`; None: not
    given."""

    scale: float | tuple[float, float, float] | None = None
    mean: tuple[float, float, float] | None = None
    channel_order: str | None = None

    def over(self, other: Fed) -> Fed:
        """Return these options, with missing ones taken from `other`."""
        return Fed(
            other.scale if self.scale is None else self.scale,
            other.mean if self.mean is None else self.mean,
            other.channel_order if self.channel_order is None else self.channel_order,
        )


def is_plan(model: str) -> bool:
    """Return whether the given model is the path of a plan."""
    return model.endswith(SUFFIX)


def model_of(model: str) -> tuple[str, str | None]:
    """Return the model that a plan was built from, and its layout; any other name or path is returned unchanged. Raises
    PlanError."""
    if not is_plan(model):
        return model, None
    from engine.inference.trt.sidecar import read_record

    record = read_record(Path(model))
    return record.model, record.layout


def fed_of(model: str) -> Fed:
    """Return the input options with which a plan was built; none for any other model. Raises PlanError."""
    if not is_plan(model):
        return Fed()
    from engine.inference.trt.sidecar import read_record

    return read_record(Path(model)).fed or Fed()


def build_command(model: str) -> str:
    return f"yolo-engine build-trt {shlex.quote(model)}"


def for_the_cpu(config: EngineConfig) -> str:
    """Return how to change a configuration that requests TensorRT so that the CPU computes."""
    given = {"--backend": config.backend != "auto", "--device": config.device.startswith("cuda")}
    left_out = " and ".join(option for option, there in given.items() if there)
    parts = []
    if is_plan(config.model):
        parts += [f"name the plan's model, --model {shlex.quote(model_of(config.model)[0])}"]
    parts += [f"leave {left_out} out"] if left_out else []
    return f"{' and '.join(parts)}, which runs on the CPU"


def find_plan(
    model: str, onnx_sha256: str, layout: str, gpu: Gpu, shape: tuple[int, int, int, int] | None = None
) -> tuple[Path, PlanRecord]:
    """Return the checked plan for a model on a GPU. It must accept `shape`.

    Raises PlanError, or BackendMissing if its runtime is not installed, each with the command that fixes it. Nothing is
    built.
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
