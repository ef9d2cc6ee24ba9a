"""The job system around the engine: Celery carries the jobs, a directory beside the outputs is authoritative.

`from orchestrator import app` returns the Celery application, and `celery -A orchestrator worker` finds it here.

    client           submits, follows, lists and cancels jobs
    worker           runs them: Celery's tasks, the keeper, the steps
    engine_process   the process that opens videos and models, and its worker's end of the connection
    job              a job's directory: its records, leases and results
    broker           carries messages: connections, queues, checks, an embedded server
"""

from __future__ import annotations

from typing import Any

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    # Made when asked for: `yolo-submit --help` must not wait for Celery.
    if name in ("app", "celery"):
        from orchestrator.application import app

        return app
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
