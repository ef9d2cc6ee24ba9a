"""Make what a job asks for of its tracks once its videos are done: counts, tables, clips, exports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from engine import follow_up as engine
from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.summary import VideoJson
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import FollowedUp, FollowUp, Reading
from orchestrator.job.records import follow_up_of

READING_EVERY_S = 0.5


def follow_up(task: FollowUp, events: Sender) -> None:
    """Make it, and tell what a summary says of it and the clock of each video."""
    config = EngineConfig(**task.config)
    settings = AnswerSettings.of(config)
    videos = cast(Sequence[VideoJson], task.videos)  # parts of entries that were checked (worker/steps.py)
    clocks = tuple(settings.clock_entry(video) if "stem" in video else None for video in videos)
    roots, tick = list(map(Path, task.roots)), ticker(events)
    made = engine.follow_up(videos, Path(task.output), config, task.model, settings=settings, roots=roots, tick=tick)
    events.send(FollowedUp(follow_up_of(made), clocks, engine.error_in(made)))


def ticker(events: Sender) -> Callable[[], None]:
    """Return a function that tells, now and then, that work goes on."""
    told = 0.0

    def tick() -> None:
        nonlocal told
        if time.monotonic() - told >= READING_EVERY_S:
            told = time.monotonic()
            events.send(Reading())

    return tick
