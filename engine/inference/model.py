"""Loads the configured model: manifest, file with dynamic axes, backend, layout."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.choices.backends import AUTO, BACKENDS
from engine.choices.precision import Precision
from engine.config import EngineConfig
from engine.errors import BackendMissing, ConfigError, ModelError
from engine.inference.backends.base import Backend, CpuModel, OnCpu
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.layouts import Layout, get_layout
from engine.inference.select import choose, plan_now
from engine.inference.tensor_shape import TensorShape
from engine.inference.trt.fed import Fed
from engine.inference.trt.find import fed_of, model_of
from models.coco import NAME_LISTS
from models.errors import ModelError as ModelPackageError
from models.manifest import ModelManifest
from models.registry import smallest_that_knows
from models.resolution import ResolvedModel, resolve

log = logging.getLogger(__name__)


class LoadedModel(NamedTuple):
    """A model ready to run on `device`, chosen for the reason in `why`. `note` says how it deviates from the request,
    if it does. `precision` is that of the computation; f32 means that of the file. `plan_now` opens the TensorRT plan
    that exists by then; None: no plan can be built from this model."""

    manifest: ModelManifest
    backend: Backend
    layout: Layout
    shape: TensorShape
    sha256: str
    note: str | None = None
    device: str = "cpu"
    why: str | None = None
    precision: Precision = "f32"
    plan_now: Callable[[], Backend] | None = None

    def class_mask(self, wanted: tuple[str, ...] | None) -> NDArray[np.bool_] | None:
        """Return (C,) bool for the wanted classes; None for all. Raises ConfigError for a name that the model does not
        know."""
        if wanted is None:
            return None
        names = self.manifest.classes
        check_classes(self.manifest, wanted)
        return np.array([name in wanted for name in names])


def check_classes(manifest: ModelManifest, wanted: tuple[str, ...] | None, key: str = "classes") -> None:
    """Raise ConfigError for a name in `key` that the model does not know; it names a model of the zoo that does, if
    any."""
    unknown = [name for name in wanted or () if name not in manifest.classes]
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0], manifest.classes, n=1)
    hint = ""
    if (able := smallest_that_knows(wanted or ())) is not None:
        hint = (
            f" The model {able.name} knows it, one of {len(able.classes)} classes: "
            f"`yolo-engine models pull {able.name}`, then --model {able.name} (in a configuration, the key `model`)."
        )
    elif close:
        hint = f" Did you mean {close[0]!r}?"
    raise ConfigError(
        f"{key} must be names that the model {manifest.name} knows: {', '.join(manifest.classes)}. "
        f"Got {unknown[0]!r}.{hint}"
    )


def check_wanted(
    manifest: ModelManifest, config: EngineConfig, places: Iterable[tuple[str, tuple[str, ...]]] = ()
) -> None:
    """Raise ConfigError for a requested class that the model does not know or that `classes` excludes. `places` are
    descriptions of the lines and zones that count some classes only, each with its classes."""
    check_classes(manifest, config.classes)
    check_classes(manifest, config.blur, "blur")
    for what, names in places:
        check_classes(manifest, names, f"classes of the {what}")
        if config.classes is not None and not set(names) & set(config.classes):
            raise ConfigError(
                f"The {what} is for {', '.join(names)}, and `classes` keeps {', '.join(config.classes)} alone: nothing "
                "would be counted there."
            )


def available_cores() -> int:
    """Return the number of cores this process may use. YOLO_ENGINE_CORES divides them between several engines on a
    machine."""
    given = os.environ.get("YOLO_ENGINE_CORES", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_model(config: EngineConfig, workers: int) -> LoadedModel:
    """Load the configured model; on a CPU, `workers` threads will infer concurrently. Raises ModelError, BackendMissing
    or ConfigError, each with the remedy."""
    if config.backend == "fake":
        return fake_model(config)
    try:
        return _load(config, workers)
    except ModelPackageError as error:
        raise ModelError(str(error)) from error


def resolved_model(config: EngineConfig) -> ResolvedModel:
    """Return the file and the declaration of the configured model, without loading it. For a plan they are those it was
    built from. Raises models.errors.ModelError or PlanError."""
    model, layout = model_of(config.model)
    said = Fed(config.input_scale, _three(config.input_mean), config.channel_order).over(fed_of(config.model))
    return resolve(
        model,
        layout=config.layout or layout,
        classes=_class_names(config.class_names),
        input_size=config.input_size,
        scale=said.scale,
        mean=said.mean,
        channel_order=said.channel_order,
    )


def _class_names(names: tuple[str, ...] | None) -> tuple[str, ...] | str | None:
    """Return class names, or the name of a known list of them if only that was given."""
    return names[0] if names is not None and len(names) == 1 and names[0] in NAME_LISTS else names


def _three(mean: float | tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """Return a number per channel; a single number applies to all."""
    return (mean, mean, mean) if isinstance(mean, int | float) else mean


def _load(config: EngineConfig, workers: int) -> LoadedModel:
    from models.dynamic_axes import freed_model  # with the ONNX library, which only models from files need

    resolved = resolved_model(config)
    manifest = resolved.manifest
    freed = freed_model(resolved)
    if config.shape == "rect" and not freed.dynamic:
        raise ConfigError(f"shape must be square for {manifest.name}: {freed.reason}. Got 'rect'.")
    note = None if freed.dynamic else f"{manifest.name} runs at its own size only: {freed.reason}"
    sha256 = resolved.sha256
    own_hw = (manifest.input.height, manifest.input.width)
    on_cpu = CpuModel(freed.path, config.model, own_hw, workers, freed.batch_safe)
    chosen = choose(config, resolved, freed, sha256, config.workers, lambda: _on_cpu(config, on_cpu))
    fixed_hw = chosen.backend.fixed_hw if chosen.backend.name == "tensorrt" else None  # a plan for one size
    rect = freed.dynamic and config.shape != "square" and fixed_hw is None
    model_hw = fixed_hw or own_hw
    shape = TensorShape(model_hw, manifest.input.stride, rect=rect)
    layout = get_layout(manifest.layout)
    return LoadedModel(
        manifest,
        chosen.backend,
        layout,
        shape,
        sha256,
        note,
        chosen.device,
        chosen.why,
        config.precision,
        lambda: plan_now(config, resolved, freed, sha256, config.workers),
    )


def _on_cpu(config: EngineConfig, model: CpuModel) -> OnCpu:
    """Return the CPU backend, by the rule in docs/models.md."""
    name, unknown = config.backend, None
    if config.precision == "f32" and name != AUTO:
        if config.device.startswith("cuda") and not BACKENDS[name].gpu:
            raise BackendMissing(f"--device {config.device} was requested, but --backend {name} runs on the CPU.")
        return OnCpu(_made(name, model))
    if config.precision == "f32":
        try:
            backend = _made("native", model)
            return OnCpu(backend, f"our executor knows all operators, and computes f32 with {backend.provider}")
        except BackendMissing as error:
            unknown = str(error).partition(". Repair:")[0]
    from engine.inference import elsewhere, in_precision

    return in_precision.in_precision(config, model) if unknown is None else elsewhere.elsewhere(model, unknown)


def _made(name: str, model: CpuModel) -> Backend:
    backend: Backend = BACKENDS[name].on_cpu(model)
    return backend


def fake_model(config: EngineConfig) -> LoadedModel:
    """Return the model of `--backend fake`, which computes nothing. Raises BackendMissing on a GPU."""
    if config.device.startswith("cuda"):
        raise BackendMissing(f"--device {config.device} was requested, but --backend fake runs on the CPU.")
    manifest = fake_manifest(*(config.input_size or (128, 128)))
    shape = TensorShape((manifest.input.height, manifest.input.width), 32, rect=config.shape != "square")
    return LoadedModel(manifest, FakeBackend(), get_layout("end2end"), shape, "", why="--backend fake")
