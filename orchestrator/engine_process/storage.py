"""The place in storage of a job's results, as its engine processes open it."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ConfigError
from engine.storage.shared_output import SharedOutput
from engine.storage.urls import place_of
from orchestrator.engine_process.messages import SendRest, Work
from orchestrator.job.files import any_path, file_at
from orchestrator.job.jobdir import is_id


def storage_of(task: Work | SendRest, *, keeps_videos: bool = False) -> SharedOutput:
    """Return the place of a task whose results go to storage."""
    if (place := place_of(task.stored or "")) is None:
        raise ConfigError(f"Results go to the URL of a place in storage. Got {task.stored}.")
    jobs = any_path(task.jobs)

    def has_ended(job: str) -> bool:
        return is_id(job) and file_at(jobs / job / "end.json").exists()

    return SharedOutput(
        place,
        Path(task.output),
        Path(task.notes),
        task.job,
        overwrite=task.overwrite,
        keeps_videos=keeps_videos,
        has_ended=has_ended,
    )
