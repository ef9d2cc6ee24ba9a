"""`yolo-engine models list`, `info` and `pull`."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from engine.cli.console import screen
from engine.text.printable import printable
from engine.text.say import say
from models.errors import HashError, MissingModelError
from models.manifest import ModelManifest
from models.registry import DEFAULT_MODEL, find, get_manifest, list_models
from models.registry import pull as pull_model
from models.resolution import resolve


def list_all() -> None:
    """Print a table of the models known by name."""
    table = Table(box=None, pad_edge=False)
    for name in ("name", "input", "licence", "here", "description"):
        table.add_column(name)
    for manifest in list_models():
        spec = manifest.input
        about = ("The default. " if manifest.name == DEFAULT_MODEL else "") + manifest.description
        row = (manifest.name, f"{spec.width}x{spec.height}", manifest.licence, _here(manifest), about)
        table.add_row(*(Text(printable(text)) for text in row))  # a manifest is untrusted
    screen().print(table)


def _here(manifest: ModelManifest) -> str:
    """Return whether the file is on this machine: bundled, yes, no or damaged."""
    try:
        found = find(manifest.name)
    except HashError:
        return "damaged"  # `models info` gives the reason
    return "no" if found is None else "bundled" if manifest.bundled else "yes"


def info(model: str) -> None:
    """Print a model's properties."""
    try:
        resolved = resolve(model)
        manifest, path, sha256 = resolved.manifest, str(resolved.path), resolved.sha256
    except MissingModelError:
        manifest, path = get_manifest(model), "not on this machine"
        sha256 = manifest.sha256 or "not published"
    if sha256 in manifest.other_sha256:
        sha256 += " (a known export of the same weights)"
    spec = manifest.input
    factors = spec.scale if isinstance(spec.scale, tuple) else (spec.scale,)
    scale = ", ".join(f"{factor:.6g}" for factor in factors)
    mean = f", mean {', '.join(f'{value:.6g}' for value in spec.mean)}" if any(spec.mean) else ""
    rows = {
        "name": manifest.name,
        "description": manifest.description or "-",
        "file": path,
        "sha256": sha256,
        "source": "bundled" if manifest.bundled else manifest.url or "-",
        "licence": manifest.licence or "-",
        "input": f"{spec.width}x{spec.height} {spec.dtype} {spec.channel_order}, scale {scale}{mean}, "
        f"padded {spec.pad}",
        "layout": manifest.layout,
        "classes": f"{len(manifest.classes)}: {', '.join(manifest.classes)}",
    }
    width = max(map(len, rows))
    for key, value in rows.items():
        say(f"{key:<{width}}  {value}")


def pull(name: str, sha256: str | None, accept_unverified: bool) -> None:
    """Download a model and print its path."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(printable(name, 80), total=None)
        path = pull_model(
            name,
            sha256=sha256,
            accept_unverified=accept_unverified,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if get_manifest(name).bundled:
        say(f"{name} is bundled: nothing had to be downloaded.", err=True)
    say(path)
