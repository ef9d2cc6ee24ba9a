"""What computes a model, and why: a TensorRT plan, ONNX Runtime's TensorRT provider, its CUDA provider, or the CPU.

`--device auto` takes the first of them that can be used and says why not the ones before it. A GPU that was asked for
is never replaced by the CPU. Nothing is built unasked: a plan must be there, and the TensorRT provider is taken by
itself only where its cache has this model's engine.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.backends import AUTO, BACKENDS
from engine.config import EngineConfig
from engine.defaults import GPU_BATCH
from engine.errors import BackendMissing, ConfigError, PlanError
from engine.inference.backends.base import Backend
from engine.inference.trt.find import build_command, find_plan, is_plan, model_of
from engine.inference.trt.gpu import Gpu, find_gpu
from engine.precision import processor
from models.dynamic_axes import FreedModel
from models.resolution import ResolvedModel

log = logging.getLogger(__name__)

PROVIDER = "onnxruntime-tensorrt"


@dataclass(frozen=True)
class Chosen:
    """A backend, the device it computes on, and why it was taken."""

    backend: Backend
    device: str
    why: str


@dataclass
class _Asked:
    """What a choice depends on. `passed` collects why something was not taken."""

    config: EngineConfig
    resolved: ResolvedModel
    freed: FreedModel
    sha256: str
    workers: int
    passed: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        return int(self.config.device.partition(":")[2] or 0)

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
    on_cpu: Callable[[], Backend],
) -> Chosen:
    """`on_cpu` makes the backend that computes on the CPU. `workers`: None where they were not given.

    Raises BackendMissing, PlanError or ConfigError where what was asked for can't be had.
    """
    chosen = _choose(_Asked(config, resolved, freed, sha256, workers or 2), on_cpu)
    log.info("%s computes on %s: %s", chosen.backend.provider, chosen.device, chosen.why)
    return chosen


def _choose(asked: _Asked, on_cpu: Callable[[], Backend]) -> Chosen:
    config = asked.config
    if config.precision != "f32":
        why = _why_in(config)
        return _cpu(on_cpu(), why)
    if is_plan(config.model) and config.backend not in ("auto", "tensorrt"):
        raise ConfigError(f"backend must be tensorrt, or auto, to run the plan {config.model}. Got {config.backend!r}.")
    wants_plan = config.backend == "tensorrt" or is_plan(config.model)
    if config.device == "cpu" and (wants_plan or config.backend == PROVIDER):
        what = f"--backend {config.backend}" if config.backend != "auto" else "a TensorRT plan"
        raise BackendMissing(
            f"{what} was asked for, but --device cpu has no TensorRT. Leave --device out, or {_for_the_cpu(config)}."
        )
    if config.device == "cpu" or not (config.backend == AUTO or BACKENDS[config.backend].gpu):
        return _cpu(on_cpu(), "--device cpu" if config.device == "cpu" else f"--backend {config.backend}")
    if wants_plan:
        return _plan(asked)
    if config.backend == PROVIDER:
        return _provider(asked, unasked=False)
    if asked.gpu is None and config.device == "auto":
        return _cpu(on_cpu(), "no NVIDIA GPU answers here")
    tries = [_plan, _provider] if config.backend == "auto" and asked.gpu is not None else []
    for attempt in (*tries, _cuda):
        try:
            return attempt(asked)
        except (PlanError, BackendMissing) as error:
            if attempt is _cuda and config.device != "auto":
                raise _none(error, asked) from error
            asked.passed.append(f"{_TITLES[attempt]}: {str(error).rstrip('.')}")
    why = asked.why("nothing on the GPU can be used")
    log.warning("The CPU computes, although there is a GPU: %s", why)
    return _cpu(on_cpu(), why)


def _why_in(config: EngineConfig) -> str:
    """Return why a precision is computed on the CPU. Raises ConfigError where a GPU was asked for, too."""
    if config.device.startswith("cuda") or is_plan(config.model) or config.backend in (PROVIDER, "tensorrt"):
        raise ConfigError(
            f"precision must be f32 on a GPU: it is that of CPUs, and a plan has its own (`yolo-engine build-trt "
            f"--precision`). Got {config.precision!r}."
        )
    here = processor()
    slow = "" if here.pays(config.precision) else f", which is no faster than f32 on {here.name or 'this processor'}"
    return f"--precision {config.precision}{slow}"


def _cpu(backend: Backend, why: str) -> Chosen:
    return Chosen(backend, "cpu", why)


def _none(error: PlanError | BackendMissing, asked: _Asked) -> BackendMissing:
    """Return what can't be used of a GPU that was asked for, and why."""
    return BackendMissing(" ".join([str(error), *(f"And not {reason}." for reason in asked.passed)]))


def _plan(asked: _Asked) -> Chosen:
    """Return a TensorRT plan."""
    config = asked.config
    if asked.gpu is None:
        what = "--backend tensorrt" if config.backend == "tensorrt" else "a TensorRT plan"
        model = model_of(config.model)[0]
        raise BackendMissing(
            f"{what} was asked for, but no NVIDIA GPU answers here{_numbered(asked)}. `yolo-engine doctor` says what "
            f"is missing; on the machine with the GPU: `{build_command(model)}`, once; or {_for_the_cpu(config)}."
        )
    manifest = asked.resolved.manifest
    plan, record = find_plan(config.model, asked.sha256, manifest.layout, asked.gpu)
    fixed = record.profile.fixed_hw
    if config.shape == "rect" and fixed is not None:
        raise ConfigError(f"shape must be square for {plan}: it was built for {fixed[0]}x{fixed[1]}. Got 'rect'.")
    from engine.inference.backends.tensorrt import TensorRtBackend

    backend = TensorRtBackend(
        plan,
        device=asked.number,
        batch=config.batch or GPU_BATCH,
        lanes=asked.workers,
        onnx_sha256=asked.sha256,
        layout=manifest.layout,
    )
    return Chosen(backend, f"cuda:{asked.number}", asked.why(f"the plan {plan} is for this GPU ({asked.gpu.name})"))


def _provider(asked: _Asked, *, unasked: bool = True) -> Chosen:
    """Return ONNX Runtime's TensorRT provider."""
    from engine.inference.backends.onnxruntime import OnnxRuntimeBackend, engine_cache

    cache = engine_cache(asked.sha256, asked.gpu.name if asked.gpu is not None else "gpu")
    if unasked and not any(cache.glob("*.engine")):
        raise BackendMissing(f"its cache has no engine of this model; --backend {PROVIDER} builds one")
    shapes = _profile(asked) if asked.freed.dynamic else None
    backend = OnnxRuntimeBackend(
        asked.freed.path,
        asked.device,
        tensorrt=True,
        batch_safe=asked.freed.batch_safe,
        engines=cache,
        shapes=shapes,
    )
    return Chosen(
        backend, f"cuda:{asked.number}", asked.why(f"--backend {PROVIDER}" if not unasked else f"engines in {cache}")
    )


def _profile(asked: _Asked) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return least, tuned and largest input of the TensorRT provider, so that no shape on the way makes it build
    again."""
    spec = asked.resolved.manifest.input
    batch = asked.config.batch or GPU_BATCH
    least = (spec.height, spec.width) if asked.config.shape == "square" else (spec.stride, spec.stride)
    return (1, 3, *least), (batch, 3, spec.height, spec.width), (batch, 3, spec.height, spec.width)


def _cuda(asked: _Asked) -> Chosen:
    """Return ONNX Runtime's CUDA provider."""
    from engine.inference.backends.onnxruntime import OnnxRuntimeBackend

    backend = OnnxRuntimeBackend(asked.freed.path, asked.device, batch_safe=asked.freed.batch_safe)
    return Chosen(backend, f"cuda:{asked.number}", asked.why("ONNX Runtime has its CUDA provider"))


_TITLES: dict[Any, str] = {
    _plan: "a TensorRT plan",
    _provider: "ONNX Runtime's TensorRT provider",
    _cuda: "ONNX Runtime's CUDA provider",
}


def _for_the_cpu(config: EngineConfig) -> str:
    """Return what to change in a configuration that asks for TensorRT so that the CPU computes."""
    given = {"--backend": config.backend != "auto", "--device": config.device.startswith("cuda")}
    left_out = " and ".join(option for option, there in given.items() if there)
    parts = []
    if is_plan(config.model):
        parts += [f"name the plan's model, --model {shlex.quote(model_of(config.model)[0])}"]
    parts += [f"leave {left_out} out"] if left_out else []
    return f"{' and '.join(parts)}, which runs on the CPU"


def _numbered(asked: _Asked) -> str:
    return f" as number {asked.number}" if asked.number else ""
