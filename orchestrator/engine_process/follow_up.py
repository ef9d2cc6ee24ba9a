"""Make what a job asks for of its tracks once its videos are done: counts, tables, clips, exports, and its page.

The page opens videos, and is of the answers that were counted just before: so it is written here, on an order, once the
worker knows what is in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.run import follow_up as engine
from engine.summary import ManifestJson, VideoJson
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import FollowedUp, FollowUp, Order, Reported, WriteReport
from orchestrator.engine_process.reading import ticker
from orchestrator.job.records import follow_up_of


def follow_up(task: FollowUp, events: Sender, orders: Iterator[Order]) -> None:
    """Make it, and tell what a summary says of it and the clock of each video; then the page, and where it is."""
    config = EngineConfig(**task.config)
    settings = AnswerSettings.of(config)
    videos = cast(Sequence[VideoJson], task.videos)  # parts of entries that were checked (worker/steps.py)
    roots = list(map(Path, task.roots))
    tick, output = ticker(events), Path(task.output)
    followed = engine.Followed({})
    if not task.made:
        followed = engine.follow_up(
            videos,
            output,
            config,
            task.model.to_json(),
            settings=settings,
            reported=task.reported,
            roots=roots,
            tick=tick,
        )
    clocks = tuple(settings.clock_entry(video) if "stem" in video else None for video in videos)
    events.send(FollowedUp(follow_up_of(followed.made), clocks, followed.error))
    order = next(orders, None) if task.reported else None
    if isinstance(order, WriteReport):
        from engine.report import write_report  # templates: a job without a page does without them

        written = write_report(
            output,
            cast(ManifestJson, order.manifest),  # made from records that were checked (job/outcomes.py)
            settings,
            language=config.report_language,
            roots=roots,
            tick=tick,
            counted=followed.cameras,
            overwrite=config.overwrite,
        )
        events.send(Reported(str(written.report)))
