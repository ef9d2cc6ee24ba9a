"""Jobs made by hand, at any stage, without an engine or a worker."""

import json
import os
import time
from pathlib import Path

from orchestrator.job.atomic_json import write_once, write_quick
from orchestrator.job.jobdir import Job, now
from orchestrator.job.leases import Owner, take
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs

FRAMES = 100


def make_job(root: Path, settings: Settings, *, task: str = "complete_pipeline", output: str = "out", **spec) -> Job:
    """Return a queued job over `root/videos`."""
    (root / "videos").mkdir(exist_ok=True)
    (root / "videos" / "a.mp4").touch()
    config = {"backend": "fake", "report": False, **spec.pop("config", {})}
    return jobs.begin(str(root / "videos"), config, settings, task=task, output=str(root / output), **spec)


def start(job: Job, videos: int = 2, *, refused: str | None = None, warnings=(), frames: int | None = FRAMES) -> None:
    """Write the start record. Videos are `v0.mp4`, `v1.mp4`, ..."""
    rows = [
        {
            "index": index,
            "path": f"{job.spec.inputs[0]}/v{index}.mp4",
            "stem": f"v{index}",
            "size_bytes": 1,
            "frames": frames,
            "duration_s": 4.0,
        }
        for index in range(videos)
    ]
    record = {
        "started_at": now(),
        "worker": "yolo@here",
        "total_videos": videos,
        "total_frames": videos * (frames or 0),
        "total_duration_s": videos * 4.0,
        "total_size_bytes": videos,
        "resources": {},
        "warnings": list(warnings),
        "refused": refused,
        "model": {"name": "fake", "sha256": ""},
        "videos": rows,
    }
    assert write_once(job.start_path, record)


def finish(job: Job, index: int, status: str = "ok", error: str | None = None) -> None:
    """Record the result of a video."""
    entry = {
        "path": f"{job.spec.inputs[0]}/v{index}.mp4",
        "status": status,
        "error": error,
        "frames": FRAMES,
        "inferred_frames": FRAMES,
        "detections": 5,
        "tracks": 1,
        "tracks_by_class": {"square": 1},
        "duration_s": 4.0,
        "elapsed_s": 1.0,
        "fps": 100.0,
        "outputs": {},
        "attempts": 1,
    }
    assert write_once(job.done_path(index), {"entry": entry, "attempt": 1, "worker": "yolo@here", "at": now()})


def end(job: Job, settings: Settings) -> dict:
    return jobs.end(job, jobs.Context("yolo@here", settings)).to_json()


def owner(node: str = "yolo@here") -> Owner:
    """Return this process as the owner of leases."""
    return Owner.this_process(node)


def dead_owner() -> Owner:
    """Return an owner on this machine that no longer exists."""
    return Owner(**{**owner("dead@here").to_json(), "started": 1})


def hold(job: Job, base: Path, who: Owner | None = None):
    """Take the lease of a step or a video."""
    lease = take(base, who or owner(), 30.0)
    assert lease is not None
    return lease


def tell(job: Job, *videos: tuple[int, int], key: str = "process-1", at: float | None = None, **facts) -> None:
    """Record the progress of a process step: (index, frames) of each video."""
    value = {
        "key": key,
        "worker": "yolo@here",
        "stage": "processing",
        "at": time.time() if at is None else at,
        "time": now(),
        "videos": [
            {
                "stem": f"v{index}",
                "path": f"{job.spec.inputs[0]}/v{index}.mp4",
                "frames": frames,
                "frames_total": FRAMES,
                "elapsed_s": 2.0,
                "resumed_from": 0,
                "index": index,
                "attempt": 1,
            }
            for index, frames in videos
        ],
    }
    write_quick(job.folder / "tasks" / f"{key}.progress.json", {**value, **facts})


def heartbeat(client, node: str, *, queues=("yolo", "yolo-log"), concurrency: int = 1, tasks=(), who=None) -> None:
    """Record a worker's heartbeat with the broker."""
    value = {
        "node": node,
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "owner": (who or owner(node)).to_json(),
        "pool": "prefork",
        "concurrency": concurrency,
        "queues": list(queues),
        "busy": len(tasks),
        "tasks": list(tasks),
        "jobs": sorted({task.partition(".")[0] for task in tasks}),
        "version": "0",
        "started_at": time.time(),
        "time": time.time(),
    }
    client.set(f"yolo:worker:{node}", json.dumps(value), ex=30)
