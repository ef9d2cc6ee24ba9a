"""Cores: how many this process may compute on, who else uses them, and how long a thread waited for one. Linux tells
all of it; where a file is not there, the answer is the plainest one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


class Cores(NamedTuple):
    """`machine` is the number of cores that this process may run on, `usable` what it may use of them at once: less,
    where a container has a quota. 1.5 is one core and a half."""

    machine: int
    usable: float


def cores_of_process() -> Cores:
    machine = len(_affinity())
    quota = cgroup_quota()
    return Cores(machine, float(machine) if quota is None else max(0.01, min(machine, quota)))


def cgroup_quota(proc: Path = _PROC, root: Path = _CGROUPS) -> float | None:
    """Return cores that the control groups of this process grant it, version 1 or 2; None if they set no limit."""
    quotas = []
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            quotas += [_ratio(text.split()) for text in _upwards(root, path, "cpu.max")]
        elif "cpu" in controllers.split(","):
            for mount in (controllers, "cpu"):
                limits = _upwards(root / mount, path, "cpu.cfs_quota_us")
                periods = _upwards(root / mount, path, "cpu.cfs_period_us")
                quotas += [_ratio(pair) for pair in zip(limits, periods, strict=False)]
    return min((quota for quota in quotas if quota is not None), default=None)


def stolen_by_others() -> Callable[[float, float], float]:
    """Begin to look at what others compute on our cores. The function that is returned tells how many cores they had on
    average since, given how long that was and what this process computed."""
    ours = _affinity()
    before_s = busy_s(ours)

    def since(elapsed_s: float, own_cpu_s: float) -> float:
        now_s = busy_s(ours)
        if before_s is None or now_s is None or elapsed_s <= 0:
            return 0.0
        return min(float(len(ours)), max(0.0, (now_s - before_s - own_cpu_s) / elapsed_s))

    return since


def queued_s() -> float | None:
    """Return seconds that the calling thread was ready to compute and had no core, since it began; None: not known."""
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def busy_s(cores: set[int], proc: Path = _PROC) -> float | None:
    """Return seconds that these cores have computed since the machine began, for whomever."""
    busy = 0
    names = {f"cpu{core}" for core in cores}
    found = 0
    for line in _read(proc / "stat").splitlines():
        name, *ticks = line.split()
        if name in names:
            user, nice, system, _, _, interrupts, soft, steal = [int(tick) for tick in ticks[:8]]
            busy += user + nice + system + interrupts + soft + steal
            found += 1
    return busy / os.sysconf("SC_CLK_TCK") if found else None


def _upwards(root: Path, path: str, name: str) -> list[str]:
    """Return the files of this name in a control group and in all around it. In a container, those outside are not
    seen."""
    group = root if ".." in path.split("/") else root / path.lstrip("/")
    folders = [group, *(parent for parent in group.parents if parent == root or root in parent.parents)]
    return [text for folder in folders if (text := _read(folder / name).strip())]


def _ratio(words: Sequence[str]) -> float | None:
    """Return quota and period; the words max and -1 are no limit."""
    try:
        quota, period = words
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
