"""The checkpoints of one video: taken while it goes on, and found again by the next run.

A checkpoint is a cut through the data behind one frame: where the reader stood, what the tracker knew, what was counted
and how far each output had come. It is kept once every output is durable up to that frame.
"""

from __future__ import annotations

import base64
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine import fingerprint
from engine.errors import SourceError
from engine.inputs import Video
from engine.journal import Damaged, Journal
from engine.opened import OpenedFile
from engine.records import Mark, TrackerState
from engine.sinks.base import discard, part_path, spare_path

log = logging.getLogger(__name__)

EVERY_S = 5.0

State = Callable[[], dict[str, Any] | None]


@dataclass(frozen=True)
class Checkpoint:
    """`outputs` has each output's state by kind, `tally` the totals."""

    mark: Mark
    tracker: TrackerState
    tally: dict[str, Any]
    outputs: dict[str, dict[str, Any]]

    @property
    def frames(self) -> int:
        return self.mark.frames

    def to_json(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "mark": asdict(self.mark),
            "tracker": {
                "sort": base64.b64encode(self.tracker.sort).decode(),
                "class_ids": self.tracker.class_ids.tolist(),
                "scores": self.tracker.scores.tobytes().hex(),  # to the last bit
            },
            "tally": self.tally,
            "outputs": self.outputs,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Checkpoint:
        """Raises ValueError, TypeError or KeyError for anything that `to_json` does not give."""
        mark = dict(values["mark"])
        mark["anchors"] = tuple((index, pts) for index, pts in mark["anchors"])
        mark["audio_time_base"] = tuple(mark["audio_time_base"])
        tracker = TrackerState(
            base64.b64decode(values["tracker"]["sort"]),
            np.array(values["tracker"]["class_ids"], np.int32),
            np.frombuffer(bytes.fromhex(values["tracker"]["scores"]), np.float32),
        )
        return cls(Mark(**mark), tracker, values["tally"], values["outputs"])


@dataclass(frozen=True)
class _Pending:
    """A checkpoint whose outputs are not all durable yet."""

    mark: Mark
    tracker: TrackerState
    tally: dict[str, Any]
    outputs: dict[str, State]
    settled: dict[str, dict[str, Any]]

    def checkpoint(self) -> Checkpoint | None:
        for kind, state in self.outputs.items():
            if kind not in self.settled:
                settled = state()
                if settled is None:
                    return None
                self.settled[kind] = settled
        return Checkpoint(self.mark, self.tracker, self.tally, self.settled)


class Checkpoints:
    """Takes and keeps the checkpoints of one video. Used by one thread at a time: its decoder's, then its sinks'.

    `saved` is the last checkpoint; after `begin`, the one to continue at. `done` is the summary entry of a video that
    was completed by an earlier run. `fence` is called before the journal is written and raises Fenced.
    """

    def __init__(
        self,
        video: Video,
        folder: Path,
        run_parts: fingerprint.Fingerprint,
        outputs: dict[str, Path],
        *,
        attempt: int | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """`attempt` is the number of this attempt where the caller counts them; None: the journal does."""
        self.saved: Checkpoint | None = None
        self.attempts = attempt or 1
        self.notes: list[str] = []
        self.input: OpenedFile | None = None  # as the caller has opened it, while it is open
        self._video = video
        self._journal = Journal(folder, video.stem)
        self._run_parts = run_parts
        self._outputs = outputs
        self._attempt = attempt
        self._fence = fence
        self._pending: deque[_Pending] = deque()

    def done(self, roots: Sequence[Path] = ()) -> dict[str, Any] | None:
        """The summary entry of an earlier run that completed this video, where it still holds: same fingerprint, and
        its outputs are there with their sizes. The video is opened to be compared, below `roots` if there are any."""
        try:
            self._journal.read()
        except Damaged:
            return None
        values = self._journal.values
        if "done" not in values or values["fingerprint"] != self._fingerprint_on_disk(roots):
            return None
        entry, sizes = dict(values["done"]["entry"]), values["done"]["sizes"]
        paths = {kind: self._journal.folder / path for kind, path in values["outputs"].items() if kind in sizes}
        try:
            if any(path.stat().st_size != sizes[kind] for kind, path in paths.items()):
                return None
        except OSError:
            return None
        self.attempts = self._attempt or values["attempts"]
        entry["outputs"] = {kind: str(path) for kind, path in paths.items()}
        entry["notes"] = [*entry.get("notes", []), "done in an earlier run"]
        return entry

    def begin(self) -> None:
        """Notes a new attempt, before the video is opened, and finds where to continue. Raises SinkError and Fenced."""
        now, why = self._fingerprint(), None
        try:
            self._journal.read()
        except Damaged as error:
            why = f"the journal is damaged ({error})"
        before = self._journal.values
        found = before.get("checkpoint")
        if before:
            changed, since = fingerprint.difference(before["fingerprint"], now), "done" if "done" in before else "begun"
            why = f"{changed} changed since {'the checkpoint' if found else f'it was {since}'}" if changed else None
        if found is not None and why is None:
            try:
                self.saved = Checkpoint.from_json(found)
            except (ValueError, TypeError, KeyError):
                why = "the checkpoint is damaged"
        if why is not None:
            self._say(why)
        self.attempts = self._attempt or before.get("attempts", 0) + 1
        if self.saved is None:
            self._discard_parts(before)
        self._journal.values = {"fingerprint": now, "attempts": self.attempts, "outputs": self._relative()}
        if self.saved is not None:
            self._journal.values["checkpoint"] = found
        self._write()

    def start_over(self, why: str) -> None:
        """The checkpoint is of no use: says so and drops it. Raises SinkError."""
        self.saved = None
        self._say(why)
        self._discard_parts(self._journal.values)
        self._journal.values.pop("checkpoint", None)
        self._write()

    def take(self, mark: Mark, tracker: TrackerState, tally: dict[str, Any], outputs: dict[str, State]) -> None:
        """A checkpoint is due: it is kept once every output says that its state is durable."""
        self._pending.append(_Pending(mark, tracker, tally, outputs, {}))

    def give_up(self, kind: str, why: str) -> None:
        """An output is no longer made: the last checkpoint says so, and those that wait for it are dropped. Raises
        SinkError and Fenced."""
        self._pending.clear()
        if self.saved is not None:
            self.saved.outputs[kind] = {"lost": why}
            self._journal.values["checkpoint"] = self.saved.to_json()
            self._write()

    def settle(self) -> None:
        """Keeps the newest checkpoint that is durable by now. Raises SinkError and Fenced."""
        newest = None
        while self._pending and (ready := self._pending[0].checkpoint()) is not None:
            self._pending.popleft()
            newest = ready
        if newest is not None:
            self._journal.values["checkpoint"] = newest.to_json()
            self._write()
            self.saved = newest

    def complete(self, entry: dict[str, Any], outputs: dict[str, str]) -> None:
        """The video is done, its outputs have appeared. Raises SinkError and Fenced."""
        sizes = {kind: Path(path).stat().st_size for kind, path in outputs.items()}
        self._journal.values.pop("checkpoint", None)
        self._journal.values["done"] = {"entry": entry, "sizes": sizes}
        self._write()
        self.saved = None

    def forget(self) -> None:
        """Removes the journal. Never raises."""
        self._journal.remove()

    def clear(self) -> None:
        """Removes the journal, and the parts of an earlier run. Never raises."""
        try:
            self._journal.read()
        except Damaged:
            self._journal.values = {"outputs": self._relative()}
        self._discard_parts(self._journal.values)
        self._journal.remove()

    def _write(self) -> None:
        self._fence()
        self._journal.write()

    def _fingerprint_on_disk(self, roots: Sequence[Path]) -> fingerprint.Fingerprint | None:
        try:
            with OpenedFile(self._video.path, roots) as self.input:
                return self._fingerprint()
        except SourceError:
            return None
        finally:
            self.input = None

    def _fingerprint(self) -> fingerprint.Fingerprint:
        return {**self._run_parts, **fingerprint.of_input(self.input)}

    def _relative(self) -> dict[str, str]:
        return {kind: str(path.relative_to(self._journal.folder)) for kind, path in self._outputs.items()}

    def _discard_parts(self, values: dict[str, Any]) -> None:
        for path in values.get("outputs", {}).values():
            discard(part_path(self._journal.folder / path))
            discard(spare_path(self._journal.folder / path))

    def _say(self, why: str) -> None:
        self.notes.append(f"started over: {why}")
        log.warning("%s: started over: %s", self._video.shown, why)
