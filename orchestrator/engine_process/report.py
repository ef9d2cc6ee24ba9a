"""Write the page of a job: it opens videos, and so it is done here."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.report import write_report
from engine.summary import ManifestJson
from orchestrator.engine_process.follow_up import ticker
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import Report, Reported


def report(task: Report, events: Sender) -> None:
    """Write it, and tell where it is."""
    config = EngineConfig(**task.config)
    written = write_report(
        Path(task.output),
        cast(ManifestJson, task.manifest),  # made of records that were checked (worker/steps.py)
        AnswerSettings.of(config),
        language=config.report_language,
        roots=list(map(Path, task.roots)),
        tick=ticker(events),
    )
    events.send(Reported(str(written.report)))
