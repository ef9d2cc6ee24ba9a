"""The check of the broker in `yolo-engine doctor`. The engine, which knows nothing of the job system, finds it by the
entry point `broker` of `yolo_engine.checks` (pyproject.toml)."""

from __future__ import annotations

from engine.cli.doctor import Finding
from orchestrator.broker.connection import without_password
from orchestrator.broker.preflight import explain, failure_of
from orchestrator.broker.resolve import resolved_settings
from orchestrator.errors import JobError


def check() -> Finding:
    """Check whether the broker of this machine's jobs serves us."""
    try:
        url = resolved_settings().broker_url
        failure = failure_of(url, write=False)
    except JobError as error:
        return Finding("broker", "broken", str(error))
    shown = without_password(url)
    if failure is None:
        return Finding("broker", "ok", f"{shown} answers")
    return Finding("broker", "absent", f"{shown}: {explain(failure, url)[0]}; only needed for jobs, not for `run`")
