"""A watched folder: its new and complete videos become one job, once each.

A file is complete when it has not changed for a while. What was handed to a job is written down, by path, size and time
of change, before the job is sent; two sweeps at once wait for each other; while a job of the last sweep is under way
there is no new one.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator import jobs
from orchestrator.files import read_json, write_json
from orchestrator.jobdir import JOBS_FOLDER, Job, jobs_in
from orchestrator.paths import output_folder, video_folder
from orchestrator.settings import Settings, Watch


def sweep(watch: Watch, settings: Settings) -> tuple[Job | None, dict[str, Any]]:
    """The job made, None where there is nothing to do, and what is to be told. Raises RequestError."""
    source = video_folder(str(watch.folder), settings)
    output = output_folder(str(watch.output), settings)
    (output / JOBS_FOLDER).mkdir(parents=True, exist_ok=True)
    with _alone(output / JOBS_FOLDER / "sweep.lock") as first:
        if not first:
            return None, {"swept": str(source), "new": 0, "why": "another sweep is at it"}
        before = next((job for job in jobs_in(output) if job.spec["task"] == "sweep" and not job.ended), None)
        if before is not None:
            return None, {"swept": str(source), "new": 0, "why": f"job {before.id} of an earlier sweep is under way"}
        ledger_path = output / JOBS_FOLDER / "swept.json"
        ledger = read_json(ledger_path) or {}
        new = {path: stamp for path, stamp in _complete(source, output, watch.quiet_s) if ledger.get(path) != stamp}
        if not new:
            return None, {"swept": str(source), "new": 0}
        config = {**watch.config, "output_folder": str(output)}
        job = jobs.begin(
            str(source), config, settings, task="sweep", workers=watch.workers, only=sorted(new), output=str(output)
        )
        write_json(ledger_path, {**ledger, **new})
        return job, {"swept": str(source), "new": len(new), "job": job.id}


def _complete(folder: Path, output: Path, quiet_s: float) -> Iterator[tuple[str, list[int]]]:
    """Videos that have not changed for `quiet_s`: path, and size and time of change."""
    from engine.suffixes import VIDEO_SUFFIXES

    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != output)
        for name in sorted(files):
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in VIDEO_SUFFIXES:
                continue
            try:
                found = path.stat()
            except OSError:
                continue
            if found.st_size and time.time() - found.st_mtime >= quiet_s:
                yield str(path), [found.st_size, found.st_mtime_ns]


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
