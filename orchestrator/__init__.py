"""The job system around the engine: Celery carries the jobs, a directory beside the outputs holds the truth.

`celery -A orchestrator worker` finds the application here.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    # Made when asked for: `yolo-submit --help` must not wait for Celery.
    if name in ("celery", "app"):
        from orchestrator.app import app

        return app
    raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
