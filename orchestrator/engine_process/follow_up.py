"""Make what a job asks for of its tracks once its videos are done: counts, tables, clips, exports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from engine import follow_up as engine
from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.summary import VideoJson
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import FollowedUp, FollowUp
from orchestrator.engine_process.reading import ticker
from orchestrator.job.records import follow_up_of


def follow_up(task: FollowUp, events: Sender) -> None:
    """Make it, and tell what a summary says of it and the clock of each video."""
    config = EngineConfig(**task.config)
    settings = AnswerSettings.of(config)
    videos = cast(Sequence[VideoJson], task.videos)  # parts of entries that were checked (worker/steps.py)
    clocks = tuple(settings.clock_entry(video) if "stem" in video else None for video in videos)
    roots = list(map(Path, task.roots))
    tick, output = ticker(events), Path(task.output)
    made = engine.follow_up(videos, output, config, task.model, settings=settings, roots=roots, tick=tick)
    events.send(FollowedUp(follow_up_of(made), clocks, engine.error_in(made)))
