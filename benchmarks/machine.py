"""The facts recorded with every figure: machine, commit, versions. And the paths of models, videos and images."""

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(os.environ.get("YOLO_ENGINE_ASSETS", ROOT.parent / "shared"))


def asset(relative: str) -> Path:
    """Return the path of an asset. Exits with a message if it is missing."""
    path = ASSETS / relative
    if not path.exists():
        raise SystemExit(f"{relative} is not in {ASSETS}. Set YOLO_ENGINE_ASSETS to the folder that holds it.")
    return path


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str:
    """Return the commit, followed by `-dirty` if files have changed since."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def versions(packages: Iterable[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def load() -> float:
    """Return how many processes wanted a core in the last minute. Well above 0 before a benchmark: its times are
    noisy."""
    return round(os.getloadavg()[0], 2)


def described(*packages: str) -> dict[str, object]:
    """Return the facts for a result file."""
    return {
        "cpu": cpu_name(),
        "cores": cores(),
        "load_before": load(),
        "commit": commit(),
        "versions": versions(packages),
    }


def heading(machine: dict[str, object]) -> str:
    """Return the facts as readable text."""
    named = ", ".join(f"{name} {number}" for name, number in dict(machine["versions"]).items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_before']} before; commit {machine['commit']}"
        f"\n{named}"
    )
