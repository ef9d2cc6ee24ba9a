"""Chooses what computes a model, and says why: one of the GPU backends (engine.choices.backends), or the CPU.

`--device auto` uses the first of them, in order, that can be used, and says why not those before it. A requested GPU is
never replaced by the CPU. Nothing is built unasked: a plan must exist, and the TensorRT provider is chosen
automatically only if its cache has this model's engine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from engine.choices.backends import AUTO, BACKENDS, gpu_number, needs_gpu
from engine.choices.precision import processor
from engine.config import EngineConfig
from engine.errors import BackendMissing, ConfigError, PlanError
from engine.inference.backends.base import Backend, GpuModel, OnCpu, OnGpu
from engine.inference.trt.find import for_the_cpu, is_plan
from engine.inference.trt.gpu import Gpu, find_gpu
from models.resolution import ResolvedModel

if TYPE_CHECKING:
    from models.dynamic_axes import FreedModel

log = logging.getLogger(__name__)

PLANS = "tensorrt"
"""The backend that runs plans."""


class Chosen(NamedTuple):
    """A backend, its device, and why it was chosen."""

    backend: Backend
    device: str
    why: str


@dataclass
class _Asked:
    """The input of a choice. `passed` collects why options were rejected."""

    config: EngineConfig
    resolved: ResolvedModel
    freed: FreedModel
    sha256: str
    workers: int
    passed: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        return gpu_number(self.config.device)

    @cached_property
    def gpu(self) -> Gpu | None:
        return find_gpu(self.number)

    @property
    def device(self) -> str:
        return self.config.device if self.config.device != "auto" else "cuda"

    def why(self, taken: str) -> str:
        return "; ".join([taken, *(f"not {reason}" for reason in self.passed)])


def choose(
    config: EngineConfig,
    resolved: ResolvedModel,
    freed: FreedModel,
    sha256: str,
    workers: int | None,
    on_cpu: Callable[[], OnCpu],
) -> Chosen:
    """Choose the backend. `on_cpu` creates the CPU backend; `workers` is None if not given.

    Raises BackendMissing, PlanError or ConfigError if the request can't be fulfilled.
    """
    chosen = _choose(_Asked(config, resolved, freed, sha256, workers or 2), on_cpu)
    log.info("%s computes on %s: %s", chosen.backend.provider, chosen.device, chosen.why)
    return chosen


def _choose(asked: _Asked, on_cpu: Callable[[], OnCpu]) -> Chosen:
    config = asked.config
    if config.precision != "f32":
        why = _why_in(config)
        return _cpu(on_cpu(), why)
    if is_plan(config.model) and config.backend not in (AUTO, PLANS):
        raise ConfigError(f"backend must be tensorrt, or auto, to run the plan {config.model}. Got {config.backend!r}.")
    name = PLANS if is_plan(config.model) else config.backend
    if config.device == "cpu" and needs_gpu(name):
        what = f"--backend {config.backend}" if config.backend != AUTO else "a TensorRT plan"
        raise BackendMissing(
            f"{what} was requested, but it needs a GPU, and --device is cpu. Leave --device out, or "
            f"{for_the_cpu(config)}."
        )
    if config.device == "cpu" or not (name == AUTO or BACKENDS[name].gpu):
        return _cpu(on_cpu(), "--device cpu" if config.device == "cpu" else f"--backend {config.backend}")
    if needs_gpu(name):
        return _on_gpu(asked, name)
    if asked.gpu is None and config.device == "auto":
        return _cpu(on_cpu(), "no NVIDIA GPU was found")
    names = _turns(asked) if name == AUTO else [name]
    for each in names:
        try:
            return _on_gpu(asked, each)
        except (PlanError, BackendMissing) as error:
            if each == names[-1] and config.device != "auto":
                raise _none(error, asked) from error
            asked.passed.append(f"{BACKENDS[each].title or each}: {str(error).rstrip('.')}")
    why = asked.why("nothing on the GPU can be used")
    log.warning("The CPU computes, although there is a GPU: %s", why)
    return _cpu(on_cpu(), why)


def plan_now(
    config: EngineConfig, resolved: ResolvedModel, freed: FreedModel, sha256: str, workers: int | None
) -> Backend:
    """Return the backend of the plan that is there by now. Raises PlanError, BackendMissing and BackendError."""
    return _on_gpu(_Asked(config, resolved, freed, sha256, workers or 2), PLANS).backend


def _why_in(config: EngineConfig) -> str:
    """Return why a precision is computed on the CPU. Raises ConfigError if a GPU was requested, too."""
    if config.device.startswith("cuda") or is_plan(config.model) or needs_gpu(config.backend):
        raise ConfigError(
            f"precision must be f32 on a GPU: it is that of CPUs, and a plan has its own (`yolo-engine build-trt "
            f"--precision`). Got {config.precision!r}."
        )
    here = processor()
    slow = "" if here.pays(config.precision) else f", which is no faster than f32 on {here.name or 'this processor'}"
    return f"--precision {config.precision}{slow}"


def _cpu(made: OnCpu, why: str) -> Chosen:
    return Chosen(made.backend, "cpu", f"{why}; {made.why}" if made.why else why)


def _none(error: PlanError | BackendMissing, asked: _Asked) -> BackendMissing:
    """Return the error for a requested GPU that can't be used, with the reason for each option."""
    return BackendMissing(" ".join([str(error), *(f"And not {reason}." for reason in asked.passed)]))


def _on_gpu(asked: _Asked, name: str) -> Chosen:
    """Return the named backend on the GPU. Raises BackendMissing, PlanError and ConfigError."""
    model = GpuModel(
        asked.config,
        asked.resolved.manifest,
        asked.freed,
        asked.sha256,
        asked.workers,
        asked.device,
        asked.number,
        asked.gpu,
        named=asked.config.backend == name,
    )
    made: OnGpu = BACKENDS[name].on_gpu(model)
    return Chosen(made.backend, f"cuda:{asked.number}", asked.why(made.why))


def _turns(asked: _Asked) -> list[str]:
    """Return the backends that `--device auto` tries on a GPU, in order."""
    turns = {name: kind.turn for name, kind in BACKENDS.items() if kind.turn is not None}
    names = sorted(turns, key=lambda name: (turns[name], name))
    return [name for name in names if asked.gpu is not None or not needs_gpu(name)]
