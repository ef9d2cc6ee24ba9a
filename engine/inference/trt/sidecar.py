"""The record beside a plan, PLAN.json: its source, builder and target. And the check before a plan is loaded.

A plan is opaque and fits one version of one flavour on one kind of GPU. A mismatch is reported in one sentence that
says what differs and names the command that fixes it; nothing is rebuilt unasked. The hashes guard against damage and
mix-ups, not against malice: a plan contains code, so only load plans that you trust.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from engine.errors import OutputError, PlanError, describe_os_error
from engine.inference.trt.fed import Fed
from engine.inference.trt.flavors import FLAVORS, Flavor
from engine.inference.trt.gpu import Gpu
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar_fields import Fields, read_fields
from models.errors import ModelError as ModelPackageError
from models.files import atomic_write, cache_dir, read_regular, sha256_of

SCHEMA = 1
_MAX_BYTES = 1 << 20  # of a side-car, which has a few thousand


@dataclass(frozen=True)
class Tensor:
    """An input or output: `shape` has -1 for dynamic axes, `dtype` is NumPy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CalibrationSet:
    """The calibration images for int8: their number and a hash over them."""

    pictures: int
    sha256: str


@dataclass(frozen=True)
class Parity:
    """The difference of a plan from ONNX Runtime on the CPU (engine.inference.trt.parity): the largest, that of 99.9 %,
    and the largest between slots of a batch; and the shapes that were run."""

    worst: float
    most: float
    slots: float
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class PlanParts:
    """Everything that determines a plan's content; see PlanRecord."""

    onnx_sha256: str
    layout: str
    flavor: str
    version: str
    gpu: str | None
    compute_capability: str
    precision: str
    profile: Profile
    calibration: CalibrationSet | None
    options: dict[str, int | None]
    fed: Fed | None = None

    @property
    def key(self) -> str:
        """Return a SHA-256 over everything."""
        parts = asdict(self)
        if self.fed is None:  # plans without input options keep the keys of earlier versions
            del parts["fed"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class PlanRecord:
    """The content of PLAN.json.

    model               as it was named to build-trt: a zoo name, or a path
    onnx_sha256         of the model's own file, before shapes were freed and numbers converted
    plan_sha256         of the plan, and its size in plan_bytes
    flavor, version     which TensorRT built it, and alone can load it
    gpu                 name of the GPU it was built on; None if it was built ahead of time
    compute_capability  of the GPU it is for
    profile             the input shapes it takes
    calibration         the images of int8, else None
    options             what else changes the plan: workspace_mib, and versions of our conversions
    checked             how far it was from ONNX Runtime on the CPU, on its GPU; None if it was not tried
    command             builds it again
    fed                 what was said of the input when it was built: scale, mean and channel_order, where one of them
                        was; whoever runs the plan need not say it again
    """

    model: str
    layout: str
    onnx_sha256: str
    plan_sha256: str
    plan_bytes: int
    flavor: str
    version: str
    gpu: str | None
    compute_capability: str
    precision: str
    profile: Profile
    batch_safe: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    calibration: CalibrationSet | None
    options: dict[str, int | None]
    built_at: str
    build_s: float
    command: str
    checked: Parity | None = None
    fed: Fed | None = None

    @property
    def key(self) -> str:
        """Return a hash over everything that determines the plan's content."""
        return PlanParts(**{each.name: getattr(self, each.name) for each in fields(PlanParts)}).key


def sidecar_of(plan: Path) -> Path:
    return plan.with_name(plan.name + ".json")


def write_plan(plan: Path, data: memoryview | bytes, record: PlanRecord) -> None:
    """Write both files atomically. In between, a plan beside another's side-car is refused by its hash. Raises
    OutputError."""
    try:
        with atomic_write(plan) as stream:
            stream.write(data)
        try:
            write_record(plan, record)
        except BaseException:
            plan.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{plan} can't be written: {describe_os_error(error)}. Nothing was kept.") from error
    except ModelPackageError as error:
        raise OutputError(str(error)) from error


def write_record(plan: Path, record: PlanRecord) -> None:
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in {"schema": SCHEMA, **asdict(record)}.items())
    with atomic_write(sidecar_of(plan)) as stream:
        stream.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_record(plan: Path) -> PlanRecord:
    """Read the side-car of a plan. Raises PlanError if it does not exist or can't be read."""
    path = sidecar_of(plan)
    try:
        if not os.path.lexists(path):
            raise FileNotFoundError
        found = json.loads(read_regular(path, _MAX_BYTES).decode("utf-8"))
        schema = found.pop("schema", None) if isinstance(found, dict) else None
        text = json.dumps(found)
    except FileNotFoundError:
        if not plan.exists():
            raise PlanError(f"{plan}: there is no such file. Build it: `{_build(plan)}`.") from None
        raise PlanError(
            f"{plan}: its side-car {path.name} is missing, so nothing is known of it. Build it: `{_build(plan)}`."
        ) from None
    except ModelPackageError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise PlanError(f"{path}: can't be read: {reason} Build the plan again: `{_build(plan)}`.") from error
    except (OSError, RecursionError, ValueError) as error:
        raise PlanError(f"{path}: can't be read: {error}. Build the plan again: `{_build(plan)}`.") from error
    if type(schema) is not int or schema != SCHEMA:
        raise PlanError(
            f"{path}: has schema {schema!r:.40} where this version reads {SCHEMA}. "
            f"Build the plan again: `{_build(plan)}`."
        )
    try:
        return _record(read_fields(text))
    except ValueError as error:
        again = f"Build the plan again: `{_build(plan)}`."
        raise PlanError(f"{path}: is not a whole side-car ({error}). {again}") from error


def cached_plans(onnx_sha256: str) -> list[tuple[Path, PlanRecord]]:
    """Return the plans of a model in the user's cache, by name, unchecked: see `check_plan`."""
    return [(plan, record) for plan, record in all_plans() if record.onnx_sha256 == onnx_sha256]


def all_plans() -> list[tuple[Path, PlanRecord]]:
    """Return the plans of all models in the user's cache, by name."""
    found = []
    for plan in sorted(cache_dir("plans").glob("*.plan")):
        with contextlib.suppress(PlanError):
            found.append((plan, read_record(plan)))
    return found


def _record(found: Fields) -> PlanRecord:
    calibration, checked, fed = found.calibration, found.checked, found.fed
    parts = {
        "profile": Profile(found.profile.least, found.profile.opt, found.profile.most),
        "inputs": tuple(Tensor(each.name, each.dtype, each.shape) for each in found.inputs),
        "outputs": tuple(Tensor(each.name, each.dtype, each.shape) for each in found.outputs),
        "calibration": CalibrationSet(calibration.pictures, calibration.sha256) if calibration else None,
        "checked": Parity(checked.worst, checked.most, checked.slots, checked.shapes) if checked else None,
        "fed": Fed(fed.scale, fed.mean, fed.channel_order) if fed else None,
    }
    return PlanRecord(**{**dict(found), **parts})


def _build(plan: Path) -> str:
    return f"yolo-engine build-trt MODEL -o {shlex.quote(str(plan))}"


def check_plan(
    plan: Path,
    *,
    onnx_sha256: str | None = None,
    layout: str | None = None,
    flavor: Flavor | None = None,
    gpu: Gpu | None = None,
) -> PlanRecord:
    """Return the record of a plan that is complete and fits. Raises PlanError with the command that fixes it.

    onnx_sha256, layout   of the model to be run; None: those of the plan
    flavor, gpu           what will load it, and where; None: not compared
    """
    record = read_record(plan)
    again = f"Build it again: `{record.command}`."
    try:
        size = plan.stat().st_size
    except FileNotFoundError:
        raise PlanError(f"{plan}: only its side-car is there. {again}") from None
    except OSError as error:
        raise PlanError(f"{plan}: can't be read: {describe_os_error(error)}.") from error
    if size != record.plan_bytes:
        what = "is truncated" if size < record.plan_bytes else "is longer than it was built"
        raise PlanError(f"{plan}: {what}: {size:,} bytes where {record.plan_bytes:,} were built. {again}")
    if (got := _sha256_of(plan)) != record.plan_sha256:
        raise PlanError(
            f"{plan}: is not the plan that its side-car is for: SHA-256 {record.plan_sha256[:12]}… expected, "
            f"{got[:12]}… found. {again}"
        )
    if onnx_sha256 is not None and onnx_sha256 != record.onnx_sha256:
        raise PlanError(
            f"{plan}: was built from another model: an ONNX file with SHA-256 {record.onnx_sha256[:12]}…, and the one "
            f"to be run has {onnx_sha256[:12]}…. {again}"
        )
    if layout is not None and layout != record.layout:
        raise PlanError(f"{plan}: was built for output layout {record.layout}, and {layout} was requested. {again}")
    if flavor is not None:
        _check_flavor(plan, record, flavor, again)
    if gpu is not None:
        _check_gpu(plan, record, gpu)
    return record


def _sha256_of(plan: Path) -> str:
    try:
        return sha256_of(plan)
    except ModelPackageError as error:
        raise PlanError(str(error)) from error


def _check_flavor(plan: Path, record: PlanRecord, flavor: Flavor, again: str) -> None:
    built = FLAVORS[record.flavor]
    if flavor.name != record.flavor:
        raise PlanError(
            f"{plan}: was built by {built.title}, and {flavor.info.title} can't load it. Install that "
            f"({built.install}), or build for this one: `{_replaced(record.command, '--flavor', flavor.name)}`."
        )
    if flavor.version != record.version:
        raise PlanError(
            f"{plan}: was built by {built.title} {record.version}, and {flavor.version} is installed. {again}"
        )


def _check_gpu(plan: Path, record: PlanRecord, gpu: Gpu) -> None:
    if gpu.capability != record.compute_capability:
        command = _replaced(record.command, "--compute-capability", gpu.capability)
        raise PlanError(
            f"{plan}: was built for compute capability {record.compute_capability}, and this GPU ({gpu.name}) has "
            f"{gpu.capability}. Build it for this one: `{command}`."
        )
    # A plan of TensorRT for RTX is compiled on the card, so that its name does not matter.
    if record.flavor == "tensorrt" and record.gpu != gpu.name:
        raise PlanError(
            f"{plan}: was built on and tuned for {record.gpu}, and this GPU is {gpu.name}. "
            f"Build it here: `{record.command}`."
        )


def _replaced(command: str, option: str, value: str) -> str:
    """Return a command with another value of one option."""
    words = shlex.split(command)
    if option in words:
        at = words.index(option) + 1
        words[at : at + 1] = [value]
    else:
        words += [option, value]
    return shlex.join(words)
