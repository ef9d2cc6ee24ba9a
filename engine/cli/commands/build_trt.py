"""`yolo-engine build-trt`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.config import EngineConfig
from engine.errors import BackendMissing
from engine.inference.backends.tensorrt import TensorRtBackend, open_plan
from engine.inference.gpu.context import load_driver
from engine.inference.trt.build import BuildOptions, Built, build_plan
from engine.inference.trt.gpu import find_gpu
from engine.inference.trt.profile import Profile
from engine.inference.trt.progress import CallingWatcher, Watcher
from engine.inference.trt.sidecar import Parity, PlanRecord
from engine.text.say import say
from models.coco import NAME_LISTS

Runner = Callable[[Path, PlanRecord], AbstractContextManager[TensorRtBackend]]
_Three = tuple[float, float, float]


def build_trt(
    *,
    model: str,
    output: Path | None,
    flavor: str,
    compute_capability: str | None,
    precision: str,
    calib: Path | None,
    min_batch: int,
    opt_batch: int | None,
    max_batch: int | None,
    shape: str,
    workspace: int | None,
    timing_cache: Path | None,
    layout: str | None,
    class_names: str | None,
    input_size: str | None,
    input_scale: str | None,
    input_mean: str | None,
    channel_order: str | None,
    verbose: bool,
) -> None:
    """Build a plan, compare it with the CPU if there is a GPU, and print what was built."""
    scale, mean = scale_and_mean(input_scale, input_mean)
    options = BuildOptions(
        model,
        output=output,
        flavor=flavor,
        compute_capability=compute_capability,
        precision=precision,
        calib=calib,
        min_batch=min_batch,
        opt_batch=opt_batch,
        max_batch=max_batch,
        shape=shape,
        workspace_mib=workspace,
        timing_cache=timing_cache,
        layout=layout,
        class_names=_names(class_names),
        input_size=_size(input_size),
        input_scale=scale,
        input_mean=mean,
        channel_order=channel_order,
    )
    try:
        with _watching(quiet=verbose) as watcher:
            built = build_plan(options, watcher, say=_say if verbose else None, runner=_runner())
    except KeyboardInterrupt:
        say("Interrupted: no plan was written.", err=True)
        raise
    _show(built)


def _runner() -> Runner | None:
    """Return the runner of plans on this machine's GPU, for comparison with the CPU; None without a GPU or PyCUDA."""
    if find_gpu() is None:
        return None
    try:
        load_driver()
    except BackendMissing as error:
        say(f"The plan will not be compared with the CPU: {error}", err=True)
        return None
    return open_plan


def _names(text: str | None) -> tuple[str, ...] | str | None:
    if text is None or text in NAME_LISTS:
        return text
    return tuple(name.strip() for name in text.split(","))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, comma, width = text.partition(",")
    if not (comma and height.strip().isdecimal() and width.strip().isdecimal()):
        raise click.UsageError(f"--input-size must be two numbers, height and width. Got {text!r}.")
    return int(height), int(width)


def scale_and_mean(scale: str | None, mean: str | None) -> tuple[float | _Three | None, _Three | None]:
    """Parse and validate both as in a configuration; a single mean applies to all channels."""
    config = EngineConfig(input_scale=scale, input_mean=mean)
    means = config.input_mean
    return config.input_scale, (means, means, means) if isinstance(means, float) else means


def _say(line: str) -> None:
    say(line, err=True)


@contextmanager
def _watching(*, quiet: bool) -> Iterator[Watcher]:
    """Show a progress bar on standard error if that is a terminal."""
    console = Console(stderr=True)
    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bars:
        task = bars.add_task("Preparing", total=None)
        yield CallingWatcher(
            lambda name, done, steps: bars.update(task, description=name, completed=done, total=steps or None)
        )


def _show(built: Built) -> None:
    record, profile = built.record, built.record.profile
    if not built.fresh:
        say("The same plan exists already: nothing was built.", err=True)
    on = f"on {record.gpu}" if record.gpu is not None else "ahead of time"
    rows = [
        ("plan", f"{built.plan} ({record.plan_bytes / 1e6:.1f} MB)"),
        ("side-car", f"{built.plan}.json"),
        ("built", f"{on} in {record.build_s:.1f} s, by {record.flavor} {record.version}"),
        ("for", f"compute capability {record.compute_capability}, {record.precision}"),
        *(("input", f"{each.name} {each.dtype} {_range(each.shape, profile)}") for each in record.inputs),
        *(("output", f"{each.name} {each.dtype} {_dims(each.shape)}") for each in record.outputs),
        ("checked", _checked(record.checked)),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        say(f"{name:<{width}}  {value}")


def _range(shape: tuple[int, ...], profile: Profile) -> str:
    """Return the input's dimensions; a dynamic one as min..max."""
    parts = zip(shape, profile.least, profile.most, strict=True)
    return " x ".join(str(most) if low == most else f"{low}..{most}" for _, low, most in parts)


def _dims(shape: tuple[int, ...]) -> str:
    return " x ".join("?" if side < 0 else str(side) for side in shape)


def _checked(checked: Parity | None) -> str:
    if checked is None:
        return "not on a GPU"
    return f"against the CPU on its GPU: off by {checked.worst:.2g} at most, {checked.most:.2g} in 99.9 %"
