"""Everything but messages, in files, for brokers that only carry messages.

    workers/<node>:<pid>     a worker's heartbeat; it expires if it is not renewed
    jobs/<id>                the directory of an announced job
    refused/<hash>           a refused task or sweep, and why
    dead/<time>-<random>     a message that was set aside; only the newest are kept
    alone/<name>             held for some seconds by the process that looks for lost messages, or makes way for one

All machines of a broker need the same folder: the setting `board`, by default a folder in the first output root. Ages
are measured by its file system's clock. Writers are trusted as much as with the jobs' directories beside it, but what
is read is validated all the same.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote, unquote

from orchestrator.broker.dropped import MAX_DEAD
from orchestrator.broker.heartbeats import EXPIRES_S, Heartbeat, Look, living
from orchestrator.broker.refusals import MAX_KEPT, Refusal, one_line
from orchestrator.job.atomic_json import object_in, write_quick
from orchestrator.job.disk_file import clock_of

_MAX_BEATS = 10_000


class Board:
    """The files of one folder, created when the first is written. Every method raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # -- workers ------------------------------------------------------------------------------------------------------

    def tell_alive(self, beat: Heartbeat) -> None:
        """Write a heartbeat, and remove those that expired long ago."""
        self._write("workers", f"{beat.node}:{beat.pid}", asdict(beat))
        present = clock_of(self.folder)
        for path in self._files("workers"):
            if _age_s(path, present) > 10 * EXPIRES_S:
                path.unlink(missing_ok=True)

    def forget_worker(self, node: str, pid: int) -> None:
        """Remove a heartbeat."""
        self._path("workers", f"{node}:{pid}").unlink(missing_ok=True)

    def look(self) -> Look:
        """Return the workers whose heartbeats have not expired."""
        files = self._files("workers")
        present = clock_of(self.folder) if files else 0.0
        recent = [path for path in files[:_MAX_BEATS] if _age_s(path, present) <= EXPIRES_S]
        beats = [beat for path in recent if (beat := _beat(path)) is not None]
        return Look(living(beats), {}, len(recent), len(recent) - len(beats), len(files) <= _MAX_BEATS)

    # -- jobs ---------------------------------------------------------------------------------------------------------

    def announce(self, job_id: str, folder: str) -> None:
        """Publish a job's directory."""
        self._write("jobs", job_id, {"folder": folder})

    def withdraw(self, job_id: str) -> None:
        """Remove a job's announcement."""
        self._path("jobs", job_id).unlink(missing_ok=True)

    def announced(self, most: int) -> list[tuple[str, str]]:
        """Return (id, directory) of some announced jobs, different ones on each call."""
        files = self._files("jobs")
        some = files if len(files) <= most else random.sample(files, most)
        told = [(unquote(path.name), (object_in(path) or {}).get("folder")) for path in some]
        return [(name, folder) for name, folder in told if isinstance(folder, str)]

    # -- what was refused, and what was dropped -----------------------------------------------------------------------

    def note_refusal(self, what: str, why: str, kept_s: float) -> None:
        """Store a refusal, replacing an earlier one of the same thing, and remove expired ones."""
        at = time.time()
        what = one_line(what)
        self._write("refused", _hash(what), {"what": what, "why": one_line(why), "at": at, "until": at + kept_s})
        found = self._refused()
        newest = sorted(found, key=lambda path: found[path].age_s)
        for path in {*self._files("refused"), *newest} - {*newest[:MAX_KEPT]}:
            path.unlink(missing_ok=True)

    def forget_refusal(self, what: str) -> None:
        """Remove a refusal."""
        self._path("refused", _hash(one_line(what))).unlink(missing_ok=True)

    def refusals(self) -> list[Refusal]:
        """Return the refusals that have not expired, the newest first."""
        return sorted(self._refused().values(), key=lambda refusal: refusal.age_s)

    def _refused(self) -> dict[Path, Refusal]:
        present = time.time()
        found = {}
        for path in self._files("refused"):
            value: Mapping[str, object] = object_in(path) or {}
            what, why, at, until = (value.get(key) for key in ("what", "why", "at", "until"))
            if (
                isinstance(what, str)
                and isinstance(why, str)
                and isinstance(at, int | float)
                and isinstance(until, int | float)
                and until >= present
            ):
                found[path] = Refusal(what, why, max(0.0, present - at))
        return found

    def set_aside(self, message: Mapping[str, object]) -> Path:
        """Store a dropped message, and return its path."""
        name = f"{time.time():017.6f}-{secrets.token_hex(4)}"
        self._write("dead", name, message)
        for path in self._files("dead")[:-MAX_DEAD]:
            path.unlink(missing_ok=True)
        return self._path("dead", name)

    def dead(self) -> int:
        """Return the number of messages set aside."""
        return len(self._files("dead"))

    # -- one of many --------------------------------------------------------------------------------------------------

    def is_mine(self, name: str, owner: str, for_s: float) -> bool:
        """Claim a name for `for_s` seconds; return False if another process holds it. In a race both may succeed: this
        only saves work."""
        path = self._path("alone", _hash(name))
        value = object_in(path)
        if value is not None and value.get("owner") != owner and _age_s(path, clock_of(self.folder)) <= for_s:
            return False
        self._write("alone", _hash(name), {"owner": owner})
        return True

    def sweep(self) -> None:
        """Remove claims that expired more than an hour ago."""
        present = clock_of(self.folder)
        for path in self._files("alone"):
            if _age_s(path, present) > 3600:
                path.unlink(missing_ok=True)

    # -- files --------------------------------------------------------------------------------------------------------

    def _write(self, kind: str, name: str, value: Mapping[str, object]) -> None:
        path = self._path(kind, name)
        try:
            write_quick(path, value)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_quick(path, value)

    def _path(self, kind: str, name: str) -> Path:
        # The name must contain no folder and not begin with a dot.
        return self.folder / kind / (quote(name, safe="@:+ ").replace(".", "%2E") or "%")

    def _files(self, kind: str) -> list[Path]:
        folder = self.folder / kind
        try:
            return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
        except FileNotFoundError:
            return []


def _beat(path: Path) -> Heartbeat | None:
    try:
        return Heartbeat.from_json(path.read_bytes()[: 1 << 20])
    except (OSError, ValueError):
        return None


def _age_s(path: Path, present: float) -> float:
    """Return the seconds since a file was written; very many if it is gone. For a time in the future, return the
    distance."""
    try:
        return abs(present - path.stat().st_mtime)
    except OSError:
        return float("inf")


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:32]
