"""TensorRT: runs a plan of `yolo-engine build-trt`, of either flavour, through PyCUDA.

Everything is allocated when the backend is created: the plan, and one lane (gpu/lane.py) per concurrent thread. `run`
uses a free lane, and `run_frames` does so with the planes of frames, which the GPU letterboxes itself.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.choices.defaults import GPU_BATCH
from engine.errors import BackendError, BackendMissing, ConfigError, PlanError
from engine.inference.backends.base import GpuModel, OnGpu
from engine.inference.gpu.context import CudaContext, OutOfMemory
from engine.inference.gpu.filters import Filters, KernelSet
from engine.inference.gpu.frames import PlaneBatch
from engine.inference.gpu.graphs import GraphApi, GraphError
from engine.inference.gpu.kernels import load_kernels as load_own_kernels
from engine.inference.gpu.lane import Lane
from engine.inference.gpu.plan import LoadedPlan
from engine.inference.gpu.protocol import LoadKernels
from engine.inference.trt.find import build_command, for_the_cpu, is_plan, model_of
from engine.inference.trt.flavors import FLAVORS, Flavor, load_flavor
from engine.inference.trt.gpu import Gpu
from engine.inference.trt.sidecar import PlanRecord, cached_plans, check_plan

log = logging.getLogger(__name__)

_CLOSED = "the engine is closed: its model was freed"


def on_gpu(model: GpuModel) -> OnGpu:
    """Return the backend with the matching plan. Raises PlanError, BackendMissing and ConfigError."""
    config = model.config
    if model.gpu is None:
        what = "--backend tensorrt" if model.named else "a TensorRT plan"
        number = f" as number {model.number}" if model.number else ""
        raise BackendMissing(
            f"{what} was requested, but no NVIDIA GPU was found{number}. `yolo-engine doctor` says what is missing; "
            f"on the machine with the GPU: `{build_command(model_of(config.model)[0])}`, once; or "
            f"{for_the_cpu(config)}."
        )
    plan, record = _find_plan(config.model, model.sha256, model.manifest.layout, model.gpu)
    fixed = record.profile.fixed_hw
    if config.shape == "rect" and fixed is not None:
        raise ConfigError(f"shape must be square for {plan}: it was built for {fixed[0]}x{fixed[1]}. Got 'rect'.")
    backend = TensorRtBackend(
        plan,
        device=model.number,
        batch=config.batch or GPU_BATCH,
        lanes=model.workers,
        onnx_sha256=model.sha256,
        layout=model.manifest.layout,
    )
    return OnGpu(backend, f"the plan {plan} is for this GPU ({model.gpu.name})")


def _find_plan(model: str, onnx_sha256: str, layout: str, gpu: Gpu) -> tuple[Path, PlanRecord]:
    """Return the plan to run, checked: a named one, or the newest in the user's cache that fits this model and GPU.

    Raises PlanError, or BackendMissing if its runtime is not installed, each with the command that fixes it. Nothing is
    built.
    """
    if is_plan(model):
        return _checked(Path(model), onnx_sha256, layout, gpu)
    problems: list[PlanError | BackendMissing] = []
    found = sorted(cached_plans(onnx_sha256), key=lambda each: each[1].built_at, reverse=True)
    for plan, _ in found:
        try:
            return _checked(plan, onnx_sha256, layout, gpu)
        except (PlanError, BackendMissing) as error:
            problems.append(error)
    if problems:
        raise problems[0]
    raise PlanError(
        f"there is no TensorRT plan of {model} for this GPU ({gpu.name}, {gpu.capability}), and none is built unasked. "
        f"Build it: `{build_command(model)}`."
    )


def _checked(plan: Path, onnx_sha256: str, layout: str, gpu: Gpu) -> tuple[Path, PlanRecord]:
    record = check_plan(plan, onnx_sha256=onnx_sha256, layout=layout, gpu=gpu)
    return plan, check_plan(plan, flavor=load_flavor(record.flavor))


class TensorRtBackend:
    """A plan on its GPU. Satisfies engine.inference.backends.base.FrameBackend.

    times_ms  total milliseconds of uploads, computing and downloads, measured by GPU events
    """

    name = "tensorrt"
    on_gpu = True

    def __init__(
        self,
        plan: Path,
        *,
        device: int = 0,
        batch: int = 8,
        lanes: int = 2,
        onnx_sha256: str | None = None,
        layout: str | None = None,
        driver: Any = None,
        flavor: Flavor | None = None,
        load_kernels: LoadKernels | None = None,
        graphs: Callable[[], GraphApi] = GraphApi,
    ) -> None:
        """
        batch        maximum number of frames per `run`; if the plan takes fewer, it runs in pieces
        lanes        number of concurrent threads; further ones wait
        onnx_sha256, layout   of the model to be run, if known
        The other parameters are for tests.

        Raises PlanError, BackendMissing, or BackendError if the GPU has too little memory.
        """
        context = CudaContext(device, driver)
        self._context = context
        self._plan: LoadedPlan | None = None
        self._kernels: KernelSet | None = None
        self._lanes: list[Lane] = []
        self._free: list[Lane] = []
        self._closed = False
        self._turn = threading.Condition()
        self.times_ms = [0.0, 0.0, 0.0]
        try:
            self._open(plan, onnx_sha256, layout, flavor, batch, lanes, graphs)
            self._load_kernels(load_kernels)
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        path: Path,
        onnx_sha256: str | None,
        layout: str | None,
        flavor: Flavor | None,
        batch: int,
        lanes: int,
        graphs: Callable[[], GraphApi],
    ) -> None:
        record = check_plan(path, onnx_sha256=onnx_sha256, layout=layout)
        flavor = flavor or load_flavor(record.flavor)
        gpu = Gpu(self._context.name, self._context.capability)
        self._record = record = check_plan(path, flavor=flavor, gpu=gpu)
        _check_tensors(path, record)
        profile = record.profile
        self.input_dtype = record.inputs[0].dtype
        self.batch_safe = record.batch_safe
        self.fixed_hw = profile.fixed_hw
        self.device = f"cuda:{self._context.number}"
        self.gpu = gpu
        self.provider = (
            f"{FLAVORS[record.flavor].title} {record.version}, {record.precision} plan {record.plan_sha256[:12]}"
        )
        self._piece = max(profile.least[0], min(batch, profile.most[0]))
        if batch > self._piece:
            log.info("%s takes %d frames at once: a batch of %d runs in pieces", path, self._piece, batch)
        most = (self._piece, *profile.most[1:])
        slots = 2 if batch > self._piece else 1
        with self._fitting(most), self._context.use("loading a plan") as driver:
            self._plan = LoadedPlan(path, record, flavor, gpu.name)
            api = self._graphs(graphs)
            for _ in range(lanes):
                lane = Lane(driver, self._plan, most, slots, api)
                self._lanes.append(lane)
                self._free.append(lane)

    def _graphs(self, made: Callable[[], GraphApi]) -> GraphApi | None:
        assert self._plan is not None
        if not self._plan.captures:
            return None
        try:
            return made()
        except GraphError as error:
            log.debug("no CUDA graphs, each launch is made by itself: %s", error)
            return None

    def _load_kernels(self, load: LoadKernels | None) -> None:
        """Load the kernels. Without them, the CPU letterboxes frames and decodes heads, with the same results."""
        try:
            with self._fitting(None), self._context.use("loading kernels") as driver:
                self._kernels = KernelSet((load or load_own_kernels)(driver, self._context.capability))
        except BackendMissing as error:
            log.warning("Frames are prepared on the CPU: %s", error)

    # -- inference ------------------------------------------------------------------------------------------------

    @property
    def takes_frames(self) -> bool:
        """Whether `run_frames` can be used."""
        return self._kernels is not None

    def head_filters(self, conf: float, class_mask: NDArray[np.bool_] | None) -> Filters | None:
        """Return filters with which `run_frames` returns only the anchors that pass; None if the layout does not
        support it."""
        layout, dtype = self._record.layout, self._record.outputs[0].dtype
        if self._kernels is None or not Filters.fit(layout, dtype):
            return None
        return Filters(self._kernels, layout, dtype, conf, class_mask)

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the plan's first output, (B, ...), for a (B, 3, H, W) tensor. Raises BackendError."""
        if tensor.dtype != self.input_dtype or tensor.ndim != 4:
            raise BackendError(
                f"the plan takes (B, 3, H, W) {self.input_dtype}. Got a {tensor.shape} {tensor.dtype} tensor."
            )
        return np.stack(self._run(tensor, tensor.shape, lambda first, last: tensor[first:last], None))

    def run_frames(self, batch: PlaneBatch, filters: Filters | None = None) -> list[Any]:
        """Return a result per frame: its output, or (boxes, scores, classes) with `filters`. Raises BackendError."""
        return self._run(batch, batch.shape, batch.part, filters)

    def _run(
        self,
        job: NDArray[Any] | PlaneBatch,
        shape: tuple[int, ...],
        part: Callable[[int, int], NDArray[Any] | PlaneBatch],
        filters: Filters | None,
    ) -> list[Any]:
        count = shape[0]
        profile = self._record.profile
        if not count or not profile.takes((profile.most[0], *shape[1:])):
            low, high = ("x".join(map(str, each)) for each in (profile.least, profile.most))
            raise BackendError(f"the plan takes inputs from {low} to {high}. Got {'x'.join(map(str, shape))}.")
        firsts = range(0, count, self._piece)
        jobs = [part(first, min(first + self._piece, count)) for first in firsts]
        at_once = (min(count, self._piece), *shape[1:])
        with self._lane() as lane, self._fitting(at_once), self._context.use("inferring"):
            return lane.run(jobs, self._kernels, filters)

    @contextlib.contextmanager
    def _lane(self) -> Iterator[Lane]:
        """Wait for a free lane and hold it exclusively."""
        with self._turn:
            while not self._free and not self._closed:
                self._turn.wait()
            if self._closed:
                raise BackendError(_CLOSED)
            lane = self._free.pop()
        try:
            yield lane
        finally:
            with self._turn:
                self._free.append(lane)
                times = zip(self.times_ms, lane.times_ms, strict=True)
                self.times_ms = [sum(pair) for pair in times]
                lane.times_ms = [0.0, 0.0, 0.0]
                self._turn.notify_all()

    @contextlib.contextmanager
    def _fitting(self, shape: tuple[int, ...] | None) -> Iterator[None]:
        """Convert OutOfMemory to a BackendError that says what to try."""
        try:
            yield
        except OutOfMemory as error:
            raise BackendError(_no_room(error, self._context.name, shape)) from error

    # -- the end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free everything: kernels, lanes, plan, context. Waits for running inferences. Idempotent. Does nothing in a
        fork of the process that created it, because nothing can be freed there."""
        with self._turn:
            if self._closed and not self._lanes and self._plan is None:
                return
            self._closed = True
            self._turn.notify_all()
            while len(self._free) < len(self._lanes) and self._context.here:
                self._turn.wait()
            lanes, self._lanes, self._free = self._lanes, [], []
            plan, self._plan = self._plan, None
            kernels, self._kernels = self._kernels, None
        if not self._context.here:
            return
        with contextlib.suppress(BackendError, self._context.driver.Error), self._context.current():
            if kernels is not None:
                kernels.close()
            while lanes:
                lanes.pop().free()
            if plan is not None:
                plan.close()
        self._context.close()


def _check_tensors(path: Path, record: PlanRecord) -> None:
    if len(record.inputs) != 1 or len(record.inputs[0].shape) != 4:
        raise PlanError(f"{path}: takes {len(record.inputs)} inputs; one image (N, 3, H, W) is needed.")
    if record.inputs[0].dtype not in ("float32", "float16", "uint8"):
        raise PlanError(f"{path}: takes {record.inputs[0].dtype}; float32, float16 or uint8 are supported.")
    if record.outputs[0].dtype not in ("float32", "float16"):
        raise PlanError(f"{path}: gives {record.outputs[0].dtype}; float32 or float16 can be read.")


def _no_room(error: OutOfMemory, gpu: str, shape: tuple[int, ...] | None) -> str:
    facts = []
    if error.wanted is not None:
        facts.append(f"{_size(error.wanted)} wanted")
    if error.free is not None and error.total is not None:
        facts.append(f"{_size(error.free)} of {_size(error.total)} free")
    known = ", ".join(facts) or str(error)
    where = "this machine has too little memory that can be pinned" if error.pinned else f"{gpu} has too little memory"
    if shape is None:
        return f"{where} for the kernels ({known}). Close what else uses it."
    batch = shape[0]
    smaller = f"--batch {batch // 2} or --workers 1" if batch > 1 else "--workers 1, or a smaller model"
    return (
        f"{where} for batches of {batch} at {shape[2]}x{shape[3]} ({known}). Try {smaller}, or close what else uses it."
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.0f} MiB" if nbytes >= 2**20 or not nbytes else f"{nbytes / 2**10:,.0f} KiB"


@contextlib.contextmanager
def open_plan(plan: Path, record: PlanRecord) -> Iterator[TensorRtBackend]:
    """Open a freshly built plan on its GPU, so that `build_plan` can compare it with the CPU."""
    backend = TensorRtBackend(plan, batch=record.profile.most[0], lanes=1, layout=record.layout)
    try:
        yield backend
    finally:
        backend.close()
