"""Send to storage what a job has made besides the files of its videos, and its manifest last."""

from __future__ import annotations

import json

from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import AllSent, SendRest
from orchestrator.engine_process.reading import ticker
from orchestrator.engine_process.storage import storage_of


def send_rest(task: SendRest, events: Sender) -> None:
    """Send all and say so. Raises OutputError."""
    with storage_of(task) as stored:
        stored.finish({task.name: _text(task.result)}, _text(task.manifest), settled=task.settled, tick=ticker(events))
    events.send(AllSent())


def _text(value: object) -> bytes:
    return f"{json.dumps(value, indent=1)}\n".encode()
