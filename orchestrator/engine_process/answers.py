"""Count what the tracks of a job hold: the tables that its configuration asks for, and the clock of each video."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from engine.analytics.settings import AnswerSettings
from engine.answers import answers_of, with_clock
from engine.config import EngineConfig
from engine.summary import VideoJson
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import Count, Counted, Reading
from orchestrator.job.records import Answers

READING_EVERY_S = 0.5


def count(task: Count, events: Sender) -> None:
    """Write the tables and tell the counts."""
    told = 0.0

    def tick() -> None:
        nonlocal told
        if time.monotonic() - told >= READING_EVERY_S:
            told = time.monotonic()
            events.send(Reading())

    config = EngineConfig(**task.config)
    settings = AnswerSettings.of(config)
    videos = cast(Sequence[VideoJson], task.videos)  # parts of entries that were checked (worker/steps.py)
    clocks = tuple(with_clock(video, settings).get("clock") for video in videos)
    found = answers_of(videos, Path(task.output), config, settings, tick)
    events.send(Counted(Answers() if found is None else Answers.from_json(found), clocks))
