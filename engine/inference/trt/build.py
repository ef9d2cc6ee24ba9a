"""`build_plan`: from a model to a plan and its side-car. A failed build leaves nothing behind."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.choices.defaults import GPU_BATCH
from engine.errors import ConfigError, OutputError, PlanError, describe_os_error
from engine.inference.trt.calibrate import Calibration, find_pictures
from engine.inference.trt.command import description
from engine.inference.trt.fed import Fed
from engine.inference.trt.flavors import Flavor, check_capability, choose_flavor
from engine.inference.trt.gpu import Gpu, find_gpu
from engine.inference.trt.network import make_builder, make_logger, parse, tensors_of
from engine.inference.trt.parity import Runner, check_parity
from engine.inference.trt.prepare import VERSION, Prepared, prepare
from engine.inference.trt.profile import Profile, make_profile
from engine.inference.trt.progress import QuietWatcher, Watcher, make_monitor
from engine.inference.trt.sidecar import (
    CalibrationSet,
    PlanParts,
    PlanRecord,
    Tensor,
    check_plan,
    read_record,
    sidecar_of,
    write_plan,
    write_record,
)
from models.dynamic_axes import VERSION as FREED_VERSION
from models.dynamic_axes import freed_model
from models.errors import ModelError as ModelPackageError
from models.files import atomic_write, cache_dir
from models.resolution import ResolvedModel, resolve

_STEP_S = 0.1
_MIN_BF16 = 8.0  # the lowest compute capability with bfloat16


@dataclass(frozen=True)
class BuildOptions:
    """The options of `yolo-engine build-trt`. None: not given."""

    model: str
    output: Path | None = None
    flavor: str = "auto"
    compute_capability: str | None = None
    precision: str = "fp16"
    calib: Path | None = None
    min_batch: int = 1
    opt_batch: int | None = None
    max_batch: int | None = None
    shape: str = "auto"
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    layout: str | None = None
    class_names: tuple[str, ...] | str | None = None
    input_size: tuple[int, int] | None = None
    input_scale: float | tuple[float, float, float] | None = None
    input_mean: tuple[float, float, float] | None = None
    channel_order: str | None = None


@dataclass(frozen=True)
class Built:
    """The outcome. `fresh` is False if the very same plan existed already."""

    plan: Path
    record: PlanRecord
    fresh: bool


def build_plan(
    options: BuildOptions,
    watcher: Watcher | None = None,
    *,
    say: Callable[[str], None] | None = None,
    runner: Callable[[Path, PlanRecord], contextlib.AbstractContextManager[Runner]] | None = None,
) -> Built:
    """Build the plan, or find the very same one in its place. `say` receives TensorRT's messages.

    runner  opens a plan on the GPU it was built on; if given, the plan is compared with the CPU, and discarded if its
            results differ.
    Raises PlanError, ConfigError, BackendMissing or OutputError, and KeyboardInterrupt if it was stopped.
    """
    watcher = watcher or QuietWatcher()
    if options.precision == "int8" and options.calib is None:
        raise ConfigError("--precision int8 needs --calib DIR, a folder of images such as the model will see.")
    if options.precision != "int8" and options.calib is not None:
        raise ConfigError(f"--calib is for --precision int8. Got --precision {options.precision}.")
    here = find_gpu()
    wanted = options.compute_capability or (here.capability if here is not None else None)
    if options.compute_capability is not None:
        check_capability(options.compute_capability)
    if options.precision == "bf16" and wanted is not None and float(wanted) < _MIN_BF16:
        raise ConfigError(f"--precision bf16 needs compute capability {_MIN_BF16} or later. Got {wanted}: use fp16.")
    calibration = find_pictures(options.calib) if options.calib is not None else None
    resolved, freed_path, profile = _model(options)
    flavor = choose_flavor(options.flavor, here, options.compute_capability)
    capability = flavor.target(options.compute_capability, here)
    ahead = flavor.ahead_of_time and (here is None or options.compute_capability is not None)
    gpu = None if ahead else here
    if options.timing_cache is not None and flavor.ahead_of_time:
        raise ConfigError(
            f"--timing-cache is for --flavor tensorrt: {flavor.info.title} times nothing while it builds."
        )
    fed = Fed(options.input_scale, options.input_mean, options.channel_order)
    parts = PlanParts(
        onnx_sha256=resolved.sha256,
        layout=resolved.manifest.layout,
        flavor=flavor.name,
        version=flavor.version,
        gpu=gpu.name if gpu else None,
        compute_capability=capability,
        precision=options.precision,
        profile=profile,
        calibration=CalibrationSet(len(calibration.pictures), calibration.sha256) if calibration else None,
        options={"workspace_mib": options.workspace_mib, "freed": FREED_VERSION, "conversions": VERSION},
        fed=fed if fed != Fed() else None,
    )
    plan = options.output if options.output is not None else _place(resolved, parts)
    if (record := _same(plan, parts.key)) is not None:
        return Built(plan, record, fresh=False)
    _check_writable(plan)
    started = time.monotonic()
    prepared = prepare(
        freed_path,
        resolved.manifest.input,
        options.precision,
        calibration,
        _calibrating(watcher, calibration),
    )
    data, inputs, outputs = compile_network(flavor, capability, prepared, profile, options, watcher, say)
    record = PlanRecord(
        model=_model_name(options.model),
        plan_sha256=hashlib.sha256(data).hexdigest(),
        plan_bytes=len(data),
        batch_safe=prepared.batch_safe,
        inputs=inputs,
        outputs=outputs,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_s=round(time.monotonic() - started, 2),
        command=command_for(options, plan, flavor, capability, gpu),
        **vars(parts),
    )
    write_plan(plan, data, record)
    if runner is not None and gpu is not None:
        record = _checked(plan, record, prepared, resolved, runner)
    return Built(plan, record, fresh=True)


def _model(options: BuildOptions) -> tuple[ResolvedModel, Path, Profile]:
    try:
        resolved = resolve(
            options.model,
            layout=options.layout,
            classes=options.class_names,
            input_size=options.input_size,
            scale=options.input_scale,
            mean=options.input_mean,
            channel_order=options.channel_order,
        )
        freed = freed_model(resolved)
    except ModelPackageError as error:
        raise PlanError(str(error)) from error
    spec = resolved.manifest.input
    most = options.max_batch
    if most is None:
        most = max(GPU_BATCH if freed.dynamic else 1, options.min_batch, options.opt_batch or 1)
    tuned = options.opt_batch if options.opt_batch is not None else most
    profile = make_profile(
        options.shape if options.shape != "auto" else "rect" if freed.dynamic else "square",
        (spec.height, spec.width),
        spec.stride,
        (options.min_batch, tuned, most),
        fixed=None if freed.dynamic else freed.reason,
    )
    return resolved, freed.path, profile


def _place(resolved: ResolvedModel, parts: PlanParts) -> Path:
    """Return the default path of a plan: a recognisable name, and the key over all its inputs."""
    name = re.sub(r"[^\w.-]", "_", resolved.manifest.name)
    about = f"{name}-{parts.flavor}-{parts.compute_capability}-{parts.precision}-{parts.key[:12]}.plan"
    return cache_dir("plans") / about


def _same(plan: Path, key: str) -> PlanRecord | None:
    """Return the record of a complete plan at this path with this key; None otherwise, as anything else is replaced."""
    if not sidecar_of(plan).exists():
        return None
    try:
        return check_plan(plan) if read_record(plan).key == key else None
    except PlanError:
        return None


def _check_writable(plan: Path) -> None:
    """Raise OutputError before minutes of work rather than after them."""
    if plan.is_dir():
        raise OutputError(f"{plan} is a folder. -o names the plan itself.")
    try:
        with contextlib.suppress(_Probed), atomic_write(plan) as stream:
            stream.write(b"\0")
            raise _Probed
    except OSError as error:
        raise OutputError(f"{plan} can't be written: {describe_os_error(error)}.") from error
    except Exception as error:
        raise OutputError(str(error)) from error


class _Probed(Exception):
    """Ends the probe of a path that can be written to, so that nothing is kept."""


def _calibrating(watcher: Watcher, calibration: Calibration | None) -> Callable[[int], None] | None:
    if calibration is None:
        return None
    return lambda number: watcher.phase("Calibrating", number, len(calibration.pictures))


def compile_network(
    flavor: Flavor,
    capability: str,
    prepared: Prepared,
    profile: Profile,
    options: BuildOptions,
    watcher: Watcher,
    say: Callable[[str], None] | None,
) -> tuple[bytes, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Parse and build; return the plan's bytes, inputs and outputs."""
    trt = flavor.trt
    if not prepared.batch_safe and profile.most[0] > 1:
        raise ConfigError(
            f"--max-batch must be 1 for {options.model}: it computes over the whole batch, so that images would "
            f"change each other's results. Got {profile.most[0]}. Repair: --max-batch 1."
        )
    logger = make_logger(trt, say)
    builder = make_builder(flavor, logger)
    network = parse(flavor, builder, logger, prepared.model.SerializeToString(), options.model)
    inputs, outputs = tensors_of(trt, network)
    config = builder.create_builder_config()
    if ahead := flavor.capabilities():
        config.num_compute_capabilities = 1
        config.set_compute_capability(ahead[capability], 0)
    if (tf32 := trt.BuilderFlag.__members__.get("TF32")) is not None:
        config.clear_flag(tf32)  # float32 means float32; fp16 is available for speed
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
    shapes = builder.create_optimization_profile()
    shapes.set_shape(inputs[0].name, profile.least, profile.opt, profile.most)
    if config.add_optimization_profile(shapes) < 0:
        raise PlanError(f"{flavor.info.title} refuses the shapes {profile}: {'; '.join(logger.errors)}")
    config.progress_monitor = make_monitor(trt, watcher)
    with timing_cache(flavor, config, options.timing_cache):
        data = _build_aside(builder, network, config, watcher)
        if data is None:
            said = logger.errors[-1] if logger.errors else "it gives no reason"
            raise PlanError(f"{flavor.info.title} {flavor.version} can't build {options.model}: {said}")
    return bytes(data), inputs, outputs


def _build_aside(builder: Any, network: Any, config: Any, watcher: Watcher) -> Any:
    """Build on a separate thread while this one waits, so that Ctrl-C reaches Python at once. TensorRT then stops at
    its next step, which must be awaited, because it uses memory that would be freed and calls back into Python."""
    results: list[Any] = []
    done = threading.Event()  # up to Python 3.12, an interrupted join treats the thread as ended

    def work() -> None:
        try:
            results.append(builder.build_serialized_network(network, config))
        finally:
            done.set()

    thread = threading.Thread(target=work, name="trt-build")
    thread.start()
    try:
        while not done.wait(_STEP_S):
            pass
    except BaseException:
        watcher.stopped.set()
        while not done.is_set():
            with contextlib.suppress(KeyboardInterrupt):
                done.wait()
        raise
    finally:
        thread.join()
    if watcher.stopped.is_set():
        raise KeyboardInterrupt
    return results[0] if results else None


@contextlib.contextmanager
def timing_cache(flavor: Flavor, config: Any, path: Path | None) -> Iterator[None]:
    """Keep the timings of kernels on this GPU between builds. A cache that does not fit is refused, not ignored."""
    if path is None:
        yield
        return
    try:
        kept = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise ConfigError(f"--timing-cache {path} can't be read: {describe_os_error(error)}.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if not config.set_timing_cache(config.create_timing_cache(kept), False):
            raise ConfigError(
                f"--timing-cache {path} is of another GPU or version than {flavor.info.title} {flavor.version} here. "
                "Name another file."
            )
        yield
        try:
            with atomic_write(path) as stream:
                stream.write(bytes(config.get_timing_cache().serialize()))
        except OSError as error:
            raise OutputError(f"--timing-cache {path} can't be written: {describe_os_error(error)}.") from error


def _checked(
    plan: Path,
    record: PlanRecord,
    prepared: Prepared,
    resolved: ResolvedModel,
    runner: Callable[[Path, PlanRecord], contextlib.AbstractContextManager[Runner]],
) -> PlanRecord:
    """Compare a plan with the CPU, and discard it if its results differ."""
    reference = prepared.reference.SerializeToString()
    try:
        with runner(plan, record) as opened:
            parity = check_parity(opened, reference, record.profile, record.precision, resolved.manifest)
    except PlanError:
        sidecar_of(plan).unlink(missing_ok=True)
        plan.unlink(missing_ok=True)
        raise
    record = replace(record, checked=parity)
    write_record(plan, record)
    return record


def _model_name(model: str) -> str:
    """Return a model's name, or its path made absolute: the command that repairs a plan may be run from anywhere."""
    path = Path(model)
    return str(path.resolve()) if path.exists() else model


def command_for(options: BuildOptions, plan: Path, flavor: Flavor, capability: str, gpu: Gpu | None) -> str:
    """Return the command line that builds this plan again."""
    words = ["yolo-engine", "build-trt", _model_name(options.model), "--flavor", flavor.name]
    if options.output is not None:
        words += ["-o", str(plan.resolve())]
    if gpu is None:
        words += ["--compute-capability", capability]
    words += ["--precision", options.precision]
    given: dict[str, object] = {
        "--calib": options.calib.resolve() if options.calib is not None else None,
        "--min-batch": options.min_batch if options.min_batch != 1 else None,
        "--opt-batch": options.opt_batch,
        "--max-batch": options.max_batch,
        "--shape": options.shape if options.shape != "auto" else None,
        "--workspace": options.workspace_mib,
        **description(options),
    }
    for option, value in given.items():
        if value is not None:
            words += [option, str(value)]
    return shlex.join(words)
