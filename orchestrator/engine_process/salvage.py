"""Make valid partial outputs of what a killed attempt had reached at its last checkpoint."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from engine.media.inputs import Video
from engine.resume import partial_outputs
from orchestrator.engine_process.fence import Fence
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import Salvage, Salvaged
from orchestrator.job.files import any_path
from orchestrator.job.records import VideoEntry


def salvage(task: Salvage, events: Sender) -> None:
    """Save what there is and tell it; also the entry of a video that was done before its worker could say so."""
    made, entry = partial_outputs.salvage(
        Video(task.path, PurePosixPath(task.stem)),
        Path(task.output),
        job=task.job,
        fence=Fence(any_path(task.successor)),
        roots=list(map(Path, task.roots)),
    )
    outputs = {kind: str(path) for kind, path in made.items()}
    events.send(Salvaged(outputs, None if entry is None else VideoEntry.from_json({"path": task.path, **entry})))
