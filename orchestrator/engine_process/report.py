"""Write the page of a job. It opens videos, and so it is done here."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.report import write_report
from engine.summary import ManifestJson
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import Reported, WriteReport
from orchestrator.engine_process.reading import ticker


def write(task: WriteReport, events: Sender) -> None:
    """Write the page and tell where it is."""
    config = EngineConfig(**task.config)
    written = write_report(
        Path(task.output),
        cast(ManifestJson, task.manifest),  # made from records that were checked (job/outcomes.py)
        AnswerSettings.of(config),
        language=config.report_language,
        roots=list(map(Path, task.roots)),
        tick=ticker(events),
        overwrite=config.overwrite,
    )
    events.send(Reported(str(written.report)))
