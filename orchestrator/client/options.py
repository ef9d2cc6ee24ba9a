"""What was given on the command line of `yolo-submit`, as one value for the commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """What was not given is None, False or the default. `workers` None: as many as there are. `engine` holds the
    options of `yolo-engine run` that were given, by name."""

    video_folder: str = ""
    task: str = "complete_pipeline"
    config_file: str | None = None
    output: str | None = None
    jobs_dir: str | None = None
    workers: int | None = 1
    queue: str | None = None
    priority: str = "normal"
    resume: bool | None = None
    monitor: bool = False
    embedded: bool = False
    yes: bool = False
    job_id: str = ""
    """The job to show, to follow or to cancel."""
    engine: Mapping[str, object] = field(default_factory=dict)
    as_json: bool = False
    after: int = 0
    """The last event that was seen."""
    older_than: float | None = None
    keep: int | None = None
    results: bool = False
    dry_run: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], engine: Mapping[str, object]) -> SubmitOptions:
        """Return the options of a command line, by parameter name, with those of the engine."""
        own = {each.name: given[each.name] for each in fields(cls) if each.name in given}
        job_id = given["status"] or given["follow"] or given["cancel"] or ""
        return cls(**{**own, "video_folder": given["video_folder"] or ""}, job_id=job_id, engine=engine)
