"""`yolo-submit --health-check`: can a job run here and now?"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.text import Text

from engine.storage.urls import is_object
from engine.text.printable import printable
from orchestrator.broker import health
from orchestrator.broker.publish import queue_for
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import views
from orchestrator.client.commands_submit import configuration
from orchestrator.client.options import SubmitOptions
from orchestrator.job.job_config import JobConfig
from orchestrator.job.paths import home_of
from orchestrator.settings import LOG_QUEUE


def health_check(options: SubmitOptions) -> int:
    """Run the checks and return the exit status: 1 if something failed. Raises ConfigError for the file."""
    given = resolved_settings()
    config = configuration(options)
    checked = JobConfig.parse(config).engine
    wanted = options.output or str(checked.output_folder)
    began = time.monotonic()
    checks = health.check_health(
        given.broker_url,
        given.results_url,
        queues=tuple(dict.fromkeys((queue_for("complete_pipeline", options.queue, config), LOG_QUEUE))),
        model=None if checked.backend == "fake" else checked.model,
        output=home_of(wanted, given) if is_object(wanted) else Path(wanted),
        given=given,
    )
    status = health.exit_status(checks)
    if options.as_json:
        took = {"elapsed_s": round(time.monotonic() - began, 2)}
        click.echo(json.dumps({"success": status == 0, **health.as_json(checks), **took}))
        return status
    table = views.table_of("check", "state", "finding")
    for check in checks:
        finding = Text(printable(check.detail))
        if check.remedy and check.state != "ok":
            finding.append(f"\n{printable(check.remedy)}", style="dim")
        table.add_row(Text(check.name), views.state_text(check.state), finding)
    views.screen().print(table)
    return status
