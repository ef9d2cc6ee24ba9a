"""Tell a collector of traces, over OTLP/HTTP, of a job that has ended, where the settings name one."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from urllib.parse import unquote

from engine.text.masks import without_password
from orchestrator.job.jobdir import Job
from orchestrator.job.records import EndRecord
from orchestrator.job.traces import request_of
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
"""The environment's variable with headers for the collector, such as a token: `name=value`, with commas between."""
_WITHIN_S = 3.0


def tell(job: Job, end: EndRecord, settings: Settings) -> None:
    """Send the trace of a job, as best effort: a collector that is away costs the job some seconds, and its trace."""
    if settings.traces is None:
        return
    url = settings.traces.rstrip("/") + "/v1/traces"
    try:
        body = json.dumps(request_of(job, end)).encode()
        headers = {"Content-Type": "application/json", **_headers()}
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=_WITHIN_S) as answer:
            answer.read()
    except (OSError, ValueError) as error:
        facts = {"job": job.id}
        log.warning("job %s: its trace can't be sent to %s: %s", job.id, without_password(url), error, extra=facts)


def _headers() -> dict[str, str]:
    pairs = (pair.partition("=") for pair in os.environ.get(HEADERS, "").split(",") if "=" in pair)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
