"""What a model that may be a plan says of itself: the model it was built from, and how that is fed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from engine.inference.trt.fed import Fed

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.inference.trt.sidecar import PlanRecord

SUFFIX = ".plan"


def is_plan(model: str) -> bool:
    """Return whether the given model is the path of a plan."""
    return model.endswith(SUFFIX)


def model_of(model: str) -> tuple[str, str | None]:
    """Return the model that a plan was built from, and its layout; any other name or path is returned unchanged. Raises
    PlanError."""
    record = _record_of(model)
    return (model, None) if record is None else (record.model, record.layout)


def fed_of(model: str) -> Fed:
    """Return the input options with which a plan was built; none for any other model. Raises PlanError."""
    record = _record_of(model)
    return (None if record is None else record.fed) or Fed()


def _record_of(model: str) -> PlanRecord | None:
    if not is_plan(model):
        return None
    from engine.inference.trt.sidecar import read_record  # for plans alone: every run asks here whether it has one

    return read_record(Path(model))


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
