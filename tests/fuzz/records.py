"""Damaged records of a job (job.json, start, leases, results, progress, events) and side-cars of plans."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from random import Random
from typing import Any

from engine.errors import PlanError
from engine.inference.trt.sidecar import check_plan
from orchestrator.errors import JobError
from orchestrator.job.jobdir import Job, jobs_in
from orchestrator.job.leases import latest
from orchestrator.job.outcomes import summarise
from orchestrator.job.records import JobSpec
from orchestrator.settings import Settings
from tests.fuzz.mutate import as_text, damaged, damaged_json, deep

_VIDEO = {
    "index": 0, "path": "/v/a.mp4", "stem": "a", "size_bytes": 10, "frames": 9, "duration_s": 1.0, "width": 8,
    "height": 8,
}  # fmt: skip

_ENTRY = {
    "path": "/v/a.mp4", "status": "ok", "error": None, "frames": 9, "inferred_frames": 9, "detections": 1, "tracks": 1,
    "tracks_by_class": {"person": 1}, "duration_s": 1.0, "elapsed_s": 1.0, "fps": 9.0, "outputs": {"tracks": "a"},
    "attempts": 1, "input": {"size_bytes": 10, "sha256": "0" * 64},
}  # fmt: skip

_FILES: dict[str, Any] = {
    "start.json": {
        "started_at": "2026-01-01T00:00:00+00:00", "worker": "w", "total_videos": 1, "total_frames": 9,
        "total_duration_s": 1.0, "total_size_bytes": 10, "resources": {}, "warnings": [], "refused": None,
        "model": {"name": "fake", "sha256": ""}, "videos": [_VIDEO],
    },
    "videos/0000.done.json": {"entry": _ENTRY, "attempt": 1, "worker": "w", "at": "2026-01-01T00:00:00+00:00"},
    "videos/0000.1.json": {"owner": {"node": "w", "host": "h", "pid": 1}, "at": "2026", "from_frame": 0},
    "videos/0000.1.end.json": {"how": "done"},
    "tasks/process-1.1.json": {"owner": {"node": "w", "host": "h", "pid": 1}, "at": "2026"},
    "tasks/process-1.progress.json": {
        "key": "process-1", "worker": "w", "stage": "processing", "at": 1.0, "time": "2026", "videos": [],
    },
    "end.json": {"success": True},
    "cancel.json": {"by": "me", "at": "2026"},
    "events.jsonl": {"at": "2026", "event": "created"},
    "plan.json": None,
}  # fmt: skip


def prepare(folder: Path) -> None:
    job = Job.create(_spec(folder / "out"))
    (folder / "job.json").write_bytes((job.folder / "job.json").read_bytes())


def _spec(output: Path) -> JobSpec:
    return JobSpec(
        id="job-1",
        task="complete_pipeline",
        video_folder="/v",
        inputs=("/v",),
        config={"backend": "fake", "output_folder": str(output)},
        output=str(output),
        created_at="2026-01-01T00:00:00+00:00",
        queue="yolo",
    )


def case(chance: Random, folder: Path) -> tuple[bytes, str]:
    """The first line of a case names the file that it becomes."""
    name = chance.choice(("job.json", *_FILES))
    if name == "job.json":
        value = json.loads((folder / "job.json").read_text())
    elif name == "plan.json":
        from dataclasses import asdict

        from engine.inference.trt.sidecar import SCHEMA
        from tests.engine.trt.conftest import RECORD

        value = {"schema": SCHEMA, **asdict(RECORD)}
    else:
        value = _FILES[name]
    how, text = chance.random(), as_text(value).encode()
    if how < 0.2:
        text = damaged(text, text, chance)
    elif how < 0.25:
        text = deep(chance)
    else:
        text = as_text(damaged_json(value, chance)).encode("utf-8", "surrogatepass")
    return name.encode() + b"\n" + text, ".case"


def attempt(path: Path, folder: Path) -> None:
    first, _, text = path.read_bytes().partition(b"\n")
    name = first.decode()
    if name == "plan.json":
        (folder / "a.plan").write_bytes(b"plan")
        (folder / "a.plan.json").write_bytes(text)
        with contextlib.suppress(PlanError):
            check_plan(folder / "a.plan")
        return
    job = Job.create(_spec(folder / "out"))
    for each, value in _FILES.items():
        if each != "plan.json" and each not in ("end.json", "cancel.json"):
            (job.folder / each).write_text(as_text(value))
    (job.folder / name).write_bytes(text)
    jobs_in(folder / "out")
    with contextlib.suppress(JobError):
        job = Job.open(job.folder)
        settings = Settings()
        job.start_record(), job.end_record(), job.progress(), job.done_indices()
        for index in (0, 1):
            job.done(index)
            if (lease := latest(job.video_base(index))) is not None:
                lease.held(10), lease.from_frame(), lease.ending(), lease.lost
        job.live(settings.lease_s)
        if job.start_record() is not None:
            summarise(job, None)
