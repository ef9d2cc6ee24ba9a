"""Leases on the file system: who works on what, and whether they still live.

Leases of one thing are numbered files beside each other: `0007.1.json`, `0007.2.json`, ... The last one counts. Its
owner touches it every few seconds; it has run out when it was not touched for `lease_s`, or at once when its owner was
a process of this machine that is no more. Age is counted on the file system's own clock, by touching a file beside it,
so that clocks of several machines need not agree. An owner that is done writes `0007.1.end.json`.

The number is the fencing token: of two who want number n + 1 one makes the file, and who finds a number above its own
has lost the lease and writes nothing more.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.job.atomic_json import read_json, there, write_once
from orchestrator.job.records import Ending, EngineFacts, How

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A process, named so that another one can tell whether it still lives. `started` is in clock ticks since boot."""

    node: str
    host: str
    boot: str
    pid: int
    started: int

    def __post_init__(self) -> None:
        """Raises TypeError: what another process wrote is not trusted to be what it should be."""
        texts, numbers = (self.node, self.host, self.boot), (self.pid, self.started)
        if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
            raise TypeError(f"not a process: {self}")

    @classmethod
    def this_process(cls, node: str) -> Owner:
        return cls(node, socket.gethostname(), boot_id(), os.getpid(), start_of(os.getpid()) or 0)

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    @property
    def gone(self) -> bool:
        """True when it was a process of this machine that is no more; False where that can't be known."""
        if (self.host, self.boot) != (socket.gethostname(), boot_id()):
            return False
        try:
            return start_of(self.pid) != self.started
        except OSError:  # no descriptor left to look with
            return False


class Lease:
    """A numbered lease. Held until it is released, has run out, or another one has followed it."""

    def __init__(self, base: Path, number: int) -> None:
        self.base = base
        self.number = number
        self.path = numbered(base, number)

    def touch(self) -> None:
        """Renews it. A disk that is away for a moment is no reason to stop working."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    @property
    def lost(self) -> bool:
        """Whether another one has followed. Raises OSError where that can't be known."""
        return there(numbered(self.base, self.number + 1))

    def held(self, lease_s: float) -> bool:
        """Whether its owner still works under it. What can't be read now is not free: on a network share, any read may
        fail for a moment."""
        try:
            if self.read_ending() is not None:
                return False
            touched, owner = _touched(self.path), _owner(self.path)
        except OSError as error:
            log.debug("%s can't be read, and counts as held", self.path, exc_info=error)
            return True
        return touched is not None and _since(self.path, touched) <= lease_s and owner is not None and not owner.gone

    def from_frame(self) -> int:
        """Where the attempt began, as it was written when it was taken; 0 where that is damaged. Raises OSError."""
        try:
            value = read_json(self.path)
        except ValueError:
            return 0
        began = value.get("from_frame", 0) if isinstance(value, dict) else 0
        return began if type(began) is int else 0

    def ending(self) -> Ending | None:
        """How the work under it ended; None while it goes on, and where its owner died."""
        try:
            return self.read_ending()
        except OSError:
            return Ending(How.UNREADABLE)

    def read_ending(self) -> Ending | None:
        """As `ending`. Raises OSError where that can't be known."""
        try:
            value = read_json(_end(self.base, self.number))
            return None if value is None else Ending.from_json(value)
        except ValueError:
            return Ending(How.UNREADABLE)

    def release(self, how: str, *, error: str | None = None, engine: EngineFacts | None = None) -> None:
        """Gives it back and says how the work under it ended. Raises OSError."""
        write_once(_end(self.base, self.number), Ending(how, error, engine).to_json())


def take(base: Path, owner: Owner, lease_s: float, *, from_frame: int | None = None) -> Lease | None:
    """Takes the next lease of `base`; None while somebody holds the last one, or was faster. Raises OSError."""
    last = latest(base)
    if last is not None and last.held(lease_s):
        return None
    number = last.number + 1 if last else 1
    at = datetime.now(UTC).isoformat(timespec="seconds")
    began = {} if from_frame is None else {"from_frame": from_frame}
    if not write_once(numbered(base, number), {"owner": owner.as_json(), "at": at, **began}):
        return None
    return Lease(base, number)


def latest(base: Path) -> Lease | None:
    """The last lease of `base`, None where there never was one. Raises OSError where that can't be known."""
    number = 0
    while there(numbered(base, number + 1)):
        number += 1
    return Lease(base, number) if number else None


def numbered(base: Path, number: int) -> Path:
    return base.with_name(f"{base.name}.{number}.json")


def _end(base: Path, number: int) -> Path:
    return base.with_name(f"{base.name}.{number}.end.json")


def owner_of(path: Path) -> Owner | None:
    """The owner that a lease file names; None where there is no such file, or it names none."""
    try:
        return _owner(path)
    except OSError:
        return None


def _owner(path: Path) -> Owner | None:
    """As `owner_of`. Raises OSError."""
    try:
        value = read_json(path)
        return Owner(**value["owner"]) if value else None
    except (ValueError, KeyError, TypeError):
        return None


def age_of(path: Path) -> float | None:
    """Seconds since the file was touched, on its file system's clock; None where there is no such file.

    A file of the future is as old as it is far away: that clock was set back since, and who lives touches it again.
    """
    try:
        touched = _touched(path)
    except OSError:
        return None
    return None if touched is None else _since(path, touched)


def _touched(path: Path) -> float | None:
    """When a file was touched; None where there is none. Raises OSError."""
    try:
        return path.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None


def _since(path: Path, touched: float) -> float:
    probe = path.parent / f".clock.{secrets.token_hex(8)}"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        now = probe.stat().st_mtime
    except OSError:  # a full disk, or somebody who may only look
        now = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return abs(now - touched)


@functools.cache
def boot_id() -> str:
    """Where a pid means what it says: this run of the machine and, in it, this container (namespace of pids)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def start_of(pid: int) -> int | None:
    """When a process began, in clock ticks since boot: with it, a pid names one process and no later one. None when
    there is no such process, or it is a zombie. Raises OSError where that can't be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
