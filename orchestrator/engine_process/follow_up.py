"""The work on a job's tracks once its videos are done: counts, tables, clips, exports, and the report.

The report opens videos, and uses the answers that have just been computed. So it is also written here, on an order,
once the worker has built the manifest.
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
    """Do the work, and send its part of the summary and the clock of each video; then write the report, and send its
    path."""
    config = EngineConfig(**task.config)
    settings = AnswerSettings.of(config)
    videos = cast(Sequence[VideoJson], task.videos)  # parts of validated entries (worker/steps.py)
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
        from engine.report import write_report  # loads templates, so only if needed

        written = write_report(
            output,
            cast(ManifestJson, order.manifest),  # made from validated records (job/outcomes.py)
            settings,
            language=config.report_language,
            roots=roots,
            tick=tick,
            counted=followed.cameras,
            overwrite=config.overwrite,
        )
        events.send(Reported(str(written.report)))
