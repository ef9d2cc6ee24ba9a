"""Leases in a job's directory: who works on what, and whether they are still alive.

The leases of an item are numbered files: `0007.1.json`, `0007.2.json`, ... The last one counts. Its owner touches it
every few seconds; it expires if it was not touched for `lease_s`, or at once if its owner was a process of this machine
that is gone. Age is measured by the clock of whoever keeps the files (`files.File.clock`), so the clocks of several
machines need not agree. An owner that is done writes `0007.1.end.json`.

The number is the fencing token: of two processes that want number n + 1, one creates the file, and a process that finds
a number above its own has lost the lease and writes nothing more.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from orchestrator.job.atomic_json import read_json, there, write_once
from orchestrator.job.files import AnyPath, file_at
from orchestrator.job.records import Ending, EngineFacts, How

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """A process, identified so that others can tell whether it is alive. `started` is in clock ticks since boot."""

    node: str
    host: str
    boot: str
    pid: int
    started: int

    @classmethod
    def this_process(cls, node: str) -> Self:
        return cls(node, socket.gethostname(), boot_id(), os.getpid(), start_of(os.getpid()) or 0)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Parse what another process wrote about itself. Raises ValueError for anything else."""
        if not isinstance(value, dict) or value.keys() != _OWNER_KEYS:
            raise ValueError("not a process")
        texts, numbers = (value["node"], value["host"], value["boot"]), (value["pid"], value["started"])
        if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
            raise ValueError("not a process")
        return cls(*texts, *numbers)

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @property
    def gone(self) -> bool:
        """Return True if it was a process of this machine that has ended; False if that can't be known."""
        if (self.host, self.boot) != (socket.gethostname(), boot_id()):
            return False
        try:
            return start_of(self.pid) != self.started
        except OSError:  # no file descriptor is available
            return False


_OWNER_KEYS = {each.name for each in fields(Owner)}


@dataclass(frozen=True)
class LeaseRecord:
    """The contents of a lease's file: who took it and when, and for a video the frame at which the attempt started."""

    owner: Owner | None
    at: str
    from_frame: int | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Parse a file of any version. Damaged parts are left out, because the file's existence counts anyway."""
        found = value if isinstance(value, dict) else {}
        try:
            owner = Owner.from_json(found.get("owner"))
        except ValueError:
            owner = None
        began = found.get("from_frame")
        return cls(owner, str(found.get("at", "")), began if type(began) is int else None)

    def to_json(self) -> dict[str, object]:
        began = {} if self.from_frame is None else {"from_frame": self.from_frame}
        return {"owner": self.owner and self.owner.to_json(), "at": self.at, **began}


class Lease:
    """A numbered lease. Held until it is released, expires, or is followed by another one."""

    def __init__(self, base: AnyPath, number: int) -> None:
        self.base = base
        self.number = number
        self.path = numbered(base, number)

    def touch(self) -> None:
        """Renew it. A disk that is briefly unavailable is no reason to stop working."""
        with contextlib.suppress(OSError):
            file_at(self.path).touch()

    @property
    def lost(self) -> bool:
        """Return whether another one has followed. Raises OSError if that can't be known."""
        return there(numbered(self.base, self.number + 1))

    def held(self, lease_s: float) -> bool:
        """Return whether its owner still works under it. A lease that can't be read now is not free: on a network
        share, any read may briefly fail."""
        try:
            if self.read_ending() is not None:
                return False
            touched, owner = file_at(self.path).touched(), _record(self.path).owner
        except OSError as error:
            log.debug("%s can't be read, and counts as held", self.path, exc_info=error)
            return True
        return touched is not None and _since(self.path, touched) <= lease_s and owner is not None and not owner.gone

    def from_frame(self) -> int:
        """Return the frame at which the attempt started, as recorded when it was taken; 0 if that is damaged. Raises
        OSError."""
        return _record(self.path).from_frame or 0

    def record(self) -> LeaseRecord:
        """Return who took it and when, as far as that can be read."""
        try:
            return _record(self.path)
        except OSError:
            return LeaseRecord(None, "")

    def last_touched_s(self) -> float:
        """Return when it was released, else last renewed, in seconds since 1970; 0 if unknown."""
        for path in (_end(self.base, self.number), self.path):
            with contextlib.suppress(OSError):
                if (touched := file_at(path).touched()) is not None:
                    return touched
        return 0.0

    def ending(self) -> Ending | None:
        """Return how the work under it ended; None while it continues, and if its owner died."""
        try:
            return self.read_ending()
        except OSError:
            return Ending(How.UNREADABLE)

    def read_ending(self) -> Ending | None:
        """Return the same as `ending`. Raises OSError if that can't be known."""
        try:
            value = read_json(_end(self.base, self.number))
            return None if value is None else Ending.from_json(value)
        except ValueError:
            return Ending(How.UNREADABLE)

    def release(
        self, how: How, *, error: str | None = None, engine: EngineFacts | None = None, cpu_s: float = 0.0
    ) -> None:
        """Release it and record how the work under it ended. Raises OSError."""
        write_once(_end(self.base, self.number), Ending(how, error, engine, cpu_s).to_json())


def take(base: AnyPath, owner: Owner, lease_s: float, *, from_frame: int | None = None) -> Lease | None:
    """Take the next lease of `base`; None if somebody holds the last one, or was faster. Raises OSError."""
    last = latest(base)
    if last is not None and last.held(lease_s):
        return None
    number = last.number + 1 if last else 1
    at = datetime.now(UTC).isoformat(timespec="seconds")
    if not write_once(numbered(base, number), LeaseRecord(owner, at, from_frame).to_json()):
        return None
    return Lease(base, number)


def latest(base: AnyPath) -> Lease | None:
    """Return the last lease of `base`; None if there never was one. Raises OSError if that can't be known."""
    number = 0
    while there(numbered(base, number + 1)):
        number += 1
    return Lease(base, number) if number else None


def numbered(base: AnyPath, number: int) -> AnyPath:
    return base.with_name(f"{base.name}.{number}.json")


def _end(base: AnyPath, number: int) -> AnyPath:
    return base.with_name(f"{base.name}.{number}.end.json")


def owner_of(path: AnyPath) -> Owner | None:
    """Return the owner that a lease file names; None if there is no such file, or it names none."""
    try:
        return _record(path).owner
    except OSError:
        return None


def _record(path: AnyPath) -> LeaseRecord:
    """Read a lease's file; a damaged one gives an empty record. Raises OSError."""
    try:
        return LeaseRecord.from_json(read_json(path))
    except ValueError:
        return LeaseRecord(None, "")


def age_of(path: AnyPath) -> float | None:
    """Return the seconds since the file was touched, on the clock of whoever keeps it; None if there is no such file.

    The age of a file from the future is its distance from now: the clock was set back, and a live owner touches it
    again.
    """
    try:
        touched = file_at(path).touched()
    except OSError:
        return None
    return None if touched is None else _since(path, touched)


def _since(path: AnyPath, touched: float) -> float:
    return abs(file_at(path).clock() - touched)


@functools.cache
def boot_id() -> str:
    """Return the scope in which a pid identifies one process: this boot of the machine, and this container (PID
    namespace) in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def start_of(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; together with the pid it identifies one process. None
    if there is no such process, or if it is a zombie. Raises OSError if that can't be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])
