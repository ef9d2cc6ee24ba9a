"""The two flavours of TensorRT behind one interface.

tensorrt   NVIDIA TensorRT 10 and later. Builds on the GPU that the plan is for, and times its kernels there.
rtx        TensorRT for RTX. Builds ahead of time for a named compute capability, on any machine; kernels are
           compiled on the card when the plan is first used.

Their Python modules have the same API. All networks are strongly typed: the ONNX defines the type of each computation
(see `prepare`), so the builder's precision flags, removed in TensorRT 11, are not needed in 10 either.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

from engine.errors import BackendMissing, ConfigError
from engine.inference.trt.gpu import Gpu
from engine.install import extra


@dataclass(frozen=True)
class FlavorInfo:
    """Facts about a flavour, which need not be installed."""

    name: str
    title: str
    module: str
    extra: str

    @property
    def install(self) -> str:
        return extra(self.extra)


FLAVORS = {
    "tensorrt": FlavorInfo("tensorrt", "TensorRT", "tensorrt", "tensorrt"),
    "rtx": FlavorInfo("rtx", "TensorRT for RTX", "tensorrt_rtx", "rtx"),
}


@dataclass(frozen=True)
class Flavor:
    """An installed flavour. `trt` is its Python module."""

    info: FlavorInfo
    trt: Any

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds for GPUs that are not present."""
        return self.name == "rtx"

    def capabilities(self) -> dict[str, object]:
        """Return the targets of ahead-of-time builds: "8.6" -> its own name for it. Empty if it only builds for this
        GPU."""
        if not self.ahead_of_time:
            return {}
        known = self.trt.ComputeCapability.__members__
        names = [name for name in known if name.startswith("SM")]
        return {f"{name[2:-1]}.{name[-1]}": known[name] for name in names}

    def target(self, asked: str | None, gpu: Gpu | None) -> str:
        """Return the compute capability to build for. Raises ConfigError or BackendMissing with the remedy."""
        if not self.ahead_of_time:
            if gpu is None:
                raise BackendMissing(
                    f"{self.info.title} builds on the GPU that the plan is for, and no NVIDIA GPU was found. Run it "
                    "there, or build ahead of time with --flavor rtx --compute-capability 8.6."
                )
            if asked not in (None, gpu.capability):
                raise ConfigError(
                    f"--compute-capability must be that of this GPU, {gpu.capability} ({gpu.name}), with --flavor "
                    f"tensorrt; --flavor rtx builds for others. Got {asked!r}."
                )
            return gpu.capability
        known = self.capabilities()
        if asked is None and gpu is None:
            raise ConfigError(
                "--compute-capability must be given where there is no NVIDIA GPU to ask: "
                f"one of {', '.join(known)} (RTX 30: 8.6, RTX 40: 8.9, RTX 50: 12.0)."
            )
        wanted = asked if asked is not None else gpu.capability if gpu is not None else ""
        if wanted not in known:
            whose = "" if asked is not None or gpu is None else f", and this GPU ({gpu.name}) is none of them"
            raise ConfigError(
                f"--compute-capability must be one of {', '.join(known)}: {self.info.title} {self.version} knows no "
                f"others{whose}. For other cards build on the card with --flavor tensorrt. Got {wanted!r}."
            )
        return wanted


def load_flavor(name: str) -> Flavor:
    """Import a flavour by its name. Raises BackendMissing if it is not installed or can't be loaded."""
    info = FLAVORS[name]
    try:
        return Flavor(info, importlib.import_module(info.module))
    except ModuleNotFoundError as error:
        raise BackendMissing(f"{info.title} is not installed ({error}). Repair: {info.install}.") from error
    except (ImportError, OSError) as error:
        raise BackendMissing(
            f"{info.title} is installed and can't be loaded: {error}. `yolo-engine doctor` says what is missing."
        ) from error


def check_capability(asked: str) -> None:
    """Raise ConfigError if it is malformed."""
    if re.fullmatch(r"[1-9]\d?\.\d", asked):
        return
    close = re.fullmatch(r"(?:sm|compute)?_?([1-9]\d?)(\d)", asked.lower())
    hint = f" Did you mean {close[1]}.{close[2]}?" if close else ""
    raise ConfigError(f"--compute-capability must be two numbers, such as 8.6. Got {asked!r}.{hint}")


def choose_flavor(asked: str, gpu: Gpu | None, capability: str | None = None) -> Flavor:
    """Choose a flavour. `auto` is tensorrt if it and a GPU are present, otherwise rtx; for the `capability` of another
    GPU it is rtx."""
    if asked != "auto":
        return load_flavor(asked)
    if capability is not None and (gpu is None or capability != gpu.capability):
        return load_flavor("rtx")
    order = ("tensorrt", "rtx") if gpu is not None else ("rtx", "tensorrt")
    for name in order:
        try:
            return load_flavor(name)
        except BackendMissing:
            continue
    raise BackendMissing(
        f"Neither flavour of TensorRT is installed. Repair: {FLAVORS['tensorrt'].install} on the machine with the GPU, "
        f"or {FLAVORS['rtx'].install}, which builds without one."
    )
