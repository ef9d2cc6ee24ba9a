"""Logging of a worker, with job, task and worker: lines for people, or JSON (`YOLO_LOG_FORMAT=json`)."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from celery._state import get_current_task

from engine.logs import JsonFormatter, TextFormatter
from engine.text.masks import in_text


class _Hiding(logging.Formatter):
    """Hides passwords in URLs, including those in a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return in_text(super().format(record))


class TextLines(_Hiding, TextFormatter):
    """For people."""


class JsonLines(_Hiding, JsonFormatter):
    """For programs."""


class TaskFields(logging.Filter):
    """Adds the task, the job and the worker to each record made inside a task."""

    def filter(self, record: logging.LogRecord) -> bool:
        task = current_task()
        if task is not None:
            record.task = task.request.id
            record.worker = task.request.hostname
            if not hasattr(record, "job"):
                record.job = str(task.request.id).partition(".")[0]
        if record.exc_info and record.exc_info[0] is not None and record.exc_info[0].__name__ == "Reject":
            record.exc_info = record.exc_text = None  # a message that is given back is no fault
        return True


def set_up_worker_logging(level: int | str | None) -> None:
    """Set up one handler on standard error for everything."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("YOLO_LOG_FORMAT") == "json":
        logging.captureWarnings(True)
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(TextLines("[%(asctime)s] %(levelname)s %(message)s"))
    handler.addFilter(TaskFields())
    # Celery's line at a task's end repeats its whole result; billiard tells of each child's birth.
    for noisy in ("celery.app.trace", "multiprocessing"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    chosen = level or logging.INFO
    logging.basicConfig(level=chosen.upper() if isinstance(chosen, str) else chosen, handlers=[handler], force=True)


def current_task() -> Any:
    """Return the Celery task that this process is running, None outside of one."""
    task = get_current_task()
    return task if task is not None and task.request.id else None
