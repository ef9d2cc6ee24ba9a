"""`yolo-engine doctor`: what is installed and works on this machine, found out by trying."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

import engine_ext
from engine.errors import BackendMissing
from engine.inference.gpu import compiler, context
from engine.inference.trt.gpu import count_gpus, find_gpu
from engine.inference.trt.sidecar import all_plans
from engine.install import extra
from engine.text.printable import printable
from models.errors import ModelError
from models.registry import DEFAULT_MODEL, find, list_models

if TYPE_CHECKING:
    from engine.cli.console import Screen

_STYLES = {"ok": "green", "absent": "dim", "broken": "red"}
_DECODERS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg")


@dataclass(frozen=True)
class Finding:
    """`state` is ok, absent (optional and missing) or broken (needed, or half installed); the text has the remedy."""

    what: str
    state: str
    detail: str


def all_checks() -> dict[str, Callable[[], Finding]]:
    """Return all checks, in the order in which they are reported."""
    return {
        "machine": _machine,
        "kernels": _kernels,
        "decoding": _decoding,
        "encoding": _encoding,
        "native": _native,
        "onnxruntime": _onnxruntime,
        "openvino": lambda: _optional("openvino", "openvino", extra("openvino")),
        "NVIDIA GPU": _gpu,
        "PyCUDA": _pycuda,
        "plans": _plans,
        "GPU decoding": _gpu_decoding,
        "GPU kernels": _gpu_kernels,
        "tensorrt": lambda: _optional("tensorrt", "tensorrt", extra("tensorrt")),
        "tensorrt_rtx": lambda: _optional("tensorrt_rtx", "tensorrt_rtx", extra("rtx")),
        "models": _models,
        **_checks_of_others(),
    }


def examine(checks: Mapping[str, Callable[[], Finding]] | None = None) -> list[Finding]:
    """Run all checks, or only these; never raises."""
    findings = []
    for what, check in (all_checks() if checks is None else checks).items():
        try:
            findings.append(check())
        except Exception as error:  # noqa: BLE001 - a doctor that dies of what it examines is no help
            findings.append(Finding(what, "broken", f"{type(error).__name__}: {error}"))
    return findings


def print_findings(console: Screen, findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    for finding in findings:
        detail = escape(printable(finding.detail, 4000))
        table.add_row(finding.what, f"[{_STYLES[finding.state]}]{finding.state}[/]", detail)
    console.print(table)


def _machine() -> Finding:
    from engine.inference.model import available_cores

    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding(
        "machine",
        "ok",
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {available_cores()} cores, "
        f"{memory_gib:.0f} GiB memory, {free_gib:.0f} GiB free here",
    )


def _kernels() -> Finding:
    # Each has its contract there, whether or not it was compiled.
    kernels = sorted(path.stem for path in Path(engine_ext.__file__).parent.glob("*.pyi"))
    for name in kernels:
        try:
            importlib.import_module(f"engine_ext.{name}")
        except ImportError as error:
            remedy = "Repair: `make build` in a checkout, else pip install --force-reinstall yolo-engine"
            return Finding("kernels", "broken", f"engine_ext.{name} can't be loaded: {error}. {remedy}")
    return Finding("kernels", "ok", ", ".join(kernels))


def _pyav() -> Any:
    import av

    return av


def _decoding() -> Finding:
    av = _pyav()
    missing = [name for name in _DECODERS if name not in av.codecs_available]
    state = "broken" if "h264" in missing else "ok"
    lacks = f"; not in this build: {', '.join(missing)}" if missing else ""
    return Finding("decoding", state, f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}{lacks}")


def _encoding() -> Finding:
    try:
        encoder = _pyav().CodecContext.create("libx264", "w")
    except ValueError:
        return Finding("encoding", "broken", "this FFmpeg has no libx264: run with --no-visualize, or pip install av")
    return Finding("encoding", "ok", f"H.264 by {encoder.codec.name}")


def _native() -> Finding:
    from engine_ext.convnet import bf16_instruction_sets, instruction_sets

    if not (sets := instruction_sets()):
        return Finding("native", "absent", "needs a processor with AVX2 and FMA: ONNX Runtime runs the models")
    bf16 = "".join(f", and in bf16 with {found}" for found in bf16_instruction_sets()[:1])
    return Finding("native", "ok", f"runs models with {sets[0]}{bf16}")


def _onnxruntime() -> Finding:
    from engine.inference.backends.onnxruntime import installed_builds, shadowing

    if problem := shadowing():
        return Finding("onnxruntime", "broken", problem)
    try:
        import onnxruntime
    except ImportError as error:
        return Finding("onnxruntime", "broken", f"can't be loaded: {error}. Repair: pip install onnxruntime")

    builds = ", ".join(installed_builds()) or f"version {onnxruntime.__version__}"
    return Finding("onnxruntime", "ok", f"{builds}: {', '.join(onnxruntime.get_available_providers())}")


def _optional(what: str, module: str, remedy: str) -> Finding:
    try:
        found = importlib.import_module(module)
    except ImportError:
        return Finding(what, "absent", remedy)
    return Finding(what, "ok", str(getattr(found, "__version__", "installed")))


def _gpu() -> Finding:
    driver = Path("/proc/driver/nvidia/version")
    if not driver.exists():
        return Finding("NVIDIA GPU", "absent", "no NVIDIA driver: inference runs on the CPU")
    version = driver.read_text().splitlines()[0]
    cards = [card for number in range(count_gpus()) if (card := find_gpu(number)) is not None]
    if not cards:
        return Finding("NVIDIA GPU", "broken", f"{version}, and CUDA finds no card: see what `nvidia-smi` says")
    shown = ", ".join(f"cuda:{number} {card.name} ({card.capability})" for number, card in enumerate(cards))
    return Finding("NVIDIA GPU", "ok", f"{shown}; {version}")


def _pycuda() -> Finding:
    """Check PyCUDA, which runs plans. Without a driver it can be installed, but not loaded."""
    try:
        driver = context.load_driver()
    except BackendMissing as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            return Finding("PyCUDA", "absent", f"{context.INSTALL}; only needed to run TensorRT plans")
        return Finding("PyCUDA", "broken" if Path("/proc/driver/nvidia/version").exists() else "absent", str(error))
    built, runs = ".".join(map(str, driver.get_version())), driver.get_driver_version()
    return Finding("PyCUDA", "ok", f"built for CUDA {built}, on a driver for CUDA {runs // 1000}.{runs % 1000 // 10}")


def _plans() -> Finding:
    """List the TensorRT plans in the user's cache."""
    plans = all_plans()
    if not plans:
        return Finding("plans", "absent", "no TensorRT plans in the cache: `yolo-engine build-trt MODEL` makes one")
    shown = (
        f"{printable(Path(record.model).name)} ({record.flavor} {record.version}, {record.compute_capability}, "
        f"{record.precision})"
        for _, record in plans
    )
    return Finding("plans", "ok", ", ".join(shown))


def _gpu_decoding() -> Finding:
    """Check whether the GPU could decode; the engine itself decodes on the CPU."""
    from engine.inference.gpu.decode import hardware_decoding

    found = hardware_decoding()
    kinds = f"PyAV's FFmpeg knows {', '.join(found.kinds) or 'no device'}"
    if found.problem is not None:
        return Finding("GPU decoding", "absent", f"{kinds}; {found.problem}. Not needed: frames are decoded on the CPU")
    codecs = f"cuda opens, for {', '.join(found.codecs)}"
    return Finding("GPU decoding", "ok", f"{kinds}; {codecs}. Not used yet: frames are decoded on the CPU")


def _gpu_kernels() -> Finding:
    """Check the compiler of the engine's GPU kernels by compiling an empty one."""
    try:
        found = compiler.find_compiler()
        found.compile('extern "C" __global__ void nothing() {}', "nothing.cu", "8.6")
    except BackendMissing as error:
        return Finding("GPU kernels", "absent", f"{error} Only needed with a GPU")
    version = ".".join(map(str, found.version))
    return Finding("GPU kernels", "ok", f"{found.name} of CUDA {version} compiles them")


def _models() -> Finding:
    here, damaged = [], []
    for manifest in list_models():
        try:
            if find(manifest.name):
                here.append(manifest.name)
        except ModelError as error:
            damaged.append(str(error))
    if damaged:
        return Finding("models", "broken", damaged[0])
    more = "" if here != [DEFAULT_MODEL] else "; for better results: `yolo-engine models pull yolox-s`"
    return Finding("models", "ok", ", ".join(here) + more)


def _checks_of_others() -> dict[str, Callable[[], Finding]]:
    """Return checks of other packages by the name of their entry point, such as the job system's of its broker."""
    return {each.name: _loaded(each) for each in metadata.entry_points(group="yolo_engine.checks")}


def _loaded(entry: metadata.EntryPoint) -> Callable[[], Finding]:
    def check() -> Finding:
        found: Finding = entry.load()()
        return found

    return check
