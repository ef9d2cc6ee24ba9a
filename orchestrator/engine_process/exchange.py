"""What the engines of a job leave to each other beside its results: pieces of long videos, and what a camera's file
leaves to the next one.

Engines work with files on disk. In a job whose workers share a folder these are the same for all, and nothing is left
to do. In one whose directory is in storage, they are copied there and from there:

    pieces/0007-00012.bin   as in a folder (orchestrator/job/pieces.py)
    carried/NAME-HASH.json  what the video of this label left to the next of its camera

Whoever makes a piece sends it before it counts as done. Whoever tracks a video fetches what others have found and drawn
from time to time, and sends its notes: as in a folder, what is late or missing costs time and never changes a result.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import cast

from engine.errors import LeaseLost, OutputError
from engine.pipeline.assignment import DRAWN_SUFFIX, NOTES_SUFFIX, PIECE_SUFFIX, PiecesOf
from engine.resume import attempts
from engine.resume.journal import CarriedJson
from orchestrator.engine_process.messages import Work
from orchestrator.errors import reason_of
from orchestrator.job.atomic_json import MAX_LIST_BYTES, read_json, write_json
from orchestrator.job.files import any_path, names_in
from orchestrator.job.jobdir import PIECES
from orchestrator.job.stored_file import StoredFile
from orchestrator.job.stored_path import StoredPath

log = logging.getLogger(__name__)

_CARRIED = "carried"
_EVERY_S = 2.0
_FETCHED, _SENT = (PIECE_SUFFIX, DRAWN_SUFFIX), (DRAWN_SUFFIX, NOTES_SUFFIX)


class Exchange:
    """Between engines that share a folder."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def fetch(self, file: Path) -> None:
        """Have a file of a piece here that another engine made. Raises OSError."""

    def send(self, file: Path) -> None:
        """Let the others have a file of a piece that was made here. Raises OSError."""

    def begin(self, pieces: PiecesOf) -> None:
        """Exchange the pieces of a video that is tracked here, until `end`."""

    def end(self, pieces: PiecesOf) -> None:
        """Exchange no more of these pieces."""

    def leave(self, stem: PurePosixPath) -> None:
        """Let the others have what a finished video left to the next of its camera. Raises OutputError."""

    def left(self, stems: Sequence[str]) -> CarriedJson | None:
        """Return what the first of some finished videos that left something left to the next; None if there is nothing.
        Raises LeaseLost if that can't be known: the video is then begun again."""
        return attempts.carried_by(self._output, *map(PurePosixPath, stems))


class StoredExchange(Exchange):
    """Between machines that share no folder. `folder` is the job's directory in storage."""

    def __init__(self, output: Path, folder: StoredPath) -> None:
        super().__init__(output)
        self._folder = folder
        self._tracked: dict[PiecesOf, _Tracked] = {}

    def fetch(self, file: Path) -> None:
        StoredFile(self._folder / PIECES / file.name).fetch(file)

    def send(self, file: Path) -> None:
        StoredFile(self._folder / PIECES / file.name).send(file)

    def begin(self, pieces: PiecesOf) -> None:
        self._tracked[pieces] = _Tracked(self, self._folder / PIECES, pieces.base)

    def end(self, pieces: PiecesOf) -> None:
        self._tracked.pop(pieces).close()

    def leave(self, stem: PurePosixPath) -> None:
        carried, path = attempts.carried_by(self._output, stem), self._carried(stem)
        if carried is None:
            return
        try:
            write_json(path, carried)
        except OSError as error:
            raise OutputError(f"{path} can't be written: {reason_of(error)}.") from error

    def left(self, stems: Sequence[str]) -> CarriedJson | None:
        try:
            found = (read_json(self._carried(PurePosixPath(stem)), MAX_LIST_BYTES) for stem in stems)
            return cast("CarriedJson | None", next((each for each in found if each is not None), None))
        except (OSError, ValueError) as error:
            raise LeaseLost(f"what its camera's previous file left can't be read: {reason_of(error)}") from error

    def _carried(self, stem: PurePosixPath) -> StoredPath:
        return self._folder / _CARRIED / f"{attempts.label(stem)}.json"


class _Tracked:
    """Copies the pieces of one video on a thread of its own. Those that are at both ends are taken to be the same: were
    they not, those who use them would see that."""

    def __init__(self, exchange: Exchange, stored: StoredPath, base: Path) -> None:
        self._exchange = exchange
        self._stored = stored
        self._base = base
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pieces", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, and wait for a copy that is under way: what comes to be there afterwards is nobody's to remove."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._copy()
            except OSError as error:
                log.warning("pieces of a long video are not exchanged now: %s", reason_of(error))
            self._closed.wait(_EVERY_S)

    def _copy(self) -> None:
        folder = self._base.parent
        folder.mkdir(parents=True, exist_ok=True)
        here, there = set(self._of(names_in(folder))), set(self._of(names_in(self._stored)))
        for suffix in _FETCHED:  # first what was found: the tracker comes to it soon
            for name in sorted(there - here):
                if name.endswith(suffix) and not self._closed.is_set():
                    self._exchange.fetch(folder / name)
        for name in sorted(here - there):
            if name.endswith(_SENT) and not self._closed.is_set():
                self._exchange.send(folder / name)

    def _of(self, names: list[str]) -> list[str]:
        return [name for name in names if name.startswith(f"{self._base.name}-")]


def exchange_of(task: Work) -> Exchange:
    """Return how the engine of a task exchanges files with others."""
    output, jobs = Path(task.output), any_path(task.jobs)
    if task.apart and isinstance(jobs, StoredPath):
        return StoredExchange(output, jobs / task.job)
    return Exchange(output)
