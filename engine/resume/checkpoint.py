"""The checkpoints of one video: taken during processing, and found by the next run.

A checkpoint is a consistent snapshot after one frame: the reader's position, the tracker's state, the counts and the
size of each output. It is saved once every output is durable up to that frame.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from engine.errors import CheckpointMismatch, SourceError
from engine.files.objects import open_input
from engine.files.opened import OpenedFile
from engine.media.inputs import Video
from engine.records import Barrier, TrackerState
from engine.resume import fingerprint, steps
from engine.resume.attempts import Attempt, Earlier, verdict_of
from engine.resume.journal import CheckpointJson, Fingerprint, Journal, Verdict
from engine.sinks.base import OutputState, State
from engine.sinks.memory import CountersState
from engine.summary import VideoResult, VideoStatus

log = logging.getLogger(__name__)

EVERY_S = 5.0

_TOO_LARGE = 1 << 63


class Checkpoint(NamedTuple):
    """A snapshot after a frame. `outputs` has each output's state by kind, `tally` the totals, `events` the state of
    event detection as JSON values, None without it."""

    mark: Barrier
    tracker: TrackerState
    tally: CountersState
    outputs: dict[str, OutputState]
    events: dict[str, object] | None = None

    @property
    def frames(self) -> int:
        return self.mark.frames

    def to_json(self) -> CheckpointJson:
        found: CheckpointJson = {
            "frames": self.frames,
            "mark": asdict(self.mark),
            "tracker": self.tracker.to_json(),
            "tally": self.tally.to_json(),
            "outputs": self.outputs,
        }
        if self.events is not None:
            found["events"] = self.events
        return found

    @classmethod
    def from_json(cls, values: CheckpointJson) -> Checkpoint:
        """Parse what `to_json` returned. Raises ValueError, TypeError, KeyError or OverflowError for anything else."""
        mark = TypeAdapter(Barrier).validate_json(json.dumps(values["mark"]), strict=True)
        tally = TypeAdapter(CountersState).validate_json(json.dumps(values["tally"]), strict=True)
        # For a part of a video, fewer frames are counted than were read.
        if not 0 < tally.frames <= mark.frames == values["frames"] or mark.audio_time_base[1] < 1:
            raise ValueError("its numbers are inconsistent")
        numbers = (mark.pts, mark.duration, mark.first_pts, mark.audio_dts, *(pts for _, pts in mark.anchors))
        if any(abs(number) >= _TOO_LARGE for number in numbers) or not math.isfinite(
            mark.decode_s + tally.last_pts_s + (tally.first_pts_s or 0.0)
        ):
            raise ValueError("its times are invalid")
        found = values["tracker"]
        if not isinstance(found["name"], str) or found["pts"] != mark.pts:
            raise ValueError("its tracker state is of another frame")
        events = values.get("events")
        if not isinstance(events, dict | None):
            raise ValueError("its event state is invalid")
        return cls(mark, TrackerState.from_json(found), tally, values["outputs"], events)

    def check_classes(self, count: int) -> None:
        """Raise ValueError if it contains a class id that a model of `count` classes does not have."""
        named = [*self.tracker.class_ids.tolist(), *(class_id for class_id, _ in self.tally.tracks_by_class)]
        named += [class_id for _, class_id, _ in self.tally.votes]
        if not all(0 <= class_id < count for class_id in named):
            raise ValueError("a class that does not exist")


class _Pending(NamedTuple):
    """A checkpoint whose outputs are not all durable yet."""

    mark: Barrier
    tracker: TrackerState
    tally: CountersState
    outputs: dict[str, State]
    settled: dict[str, OutputState]
    events: dict[str, object] | None = None

    def checkpoint(self) -> Checkpoint | None:
        for kind, state in self.outputs.items():
            if kind not in self.settled:
                settled = state()
                if settled is None:
                    return None
                self.settled[kind] = settled
        return Checkpoint(self.mark, self.tracker, self.tally, self.settled, self.events)


class Checkpoints:
    """Takes and saves the checkpoints of one attempt at a video. Used by one thread at a time: the decoder's at the
    beginning and the end, in between whoever writes.

    `saved` is the last checkpoint; after `begin`, the one to continue from.
    """

    def __init__(
        self,
        video: Video,
        attempt: Attempt,
        run_parts: Fingerprint,
        outputs: dict[str, Path],
        *,
        classes: int,
        count: int | None = None,
    ) -> None:
        """`classes` is the number of the model's classes; `count` is the number of this attempt if the caller counts
        attempts, None: the journals do."""
        self.saved: Checkpoint | None = None
        self.attempts = count or 1
        self.notes: list[str] = []
        self.done_by = ""  # the job that has done it before, if any
        self.before: str | None = None  # digest of what the camera's previous file left
        self.input: OpenedFile | None = None  # opened by the caller, while it is open
        self._video = video
        self._attempt = attempt
        self._run_parts = run_parts
        self._outputs = outputs
        self._classes = classes
        self._count = count
        self._now: Fingerprint = {}
        self._why: str | None = None
        self._from: Earlier | None = None
        self._journal: Journal = {}
        self._pending: deque[_Pending] = deque()

    def done(self, roots: Sequence[Path] = ()) -> VideoResult | None:
        """Return the summary entry of an earlier run that completed this video if it is still valid: with the same
        fingerprint, and outputs that exist with their sizes. The video is opened for comparison, below `roots` if
        given. Reads only."""
        verdict = verdict_of(self._attempt.output, self._video.stem)
        if verdict is None or not self._holds_on_disk(verdict, roots) or not are_there(self._attempt.output, verdict):
            return None
        self.attempts = self._count or verdict.get("attempts", 1)
        self.done_by = str(verdict.get("job", ""))
        return entry_from(self._attempt.output, verdict, self._video.shown)

    def begin(self) -> None:
        """Find where to continue and record the new attempt, before the video is opened. Raises SinkError and
        LeaseLost."""
        attempt, why = self._attempt, self._why
        self._now = self._fingerprint()
        if attempt.damaged is not None:
            why = f"the journal is damaged ({attempt.damaged})"
        self.attempts = self._count or max((each.journal.get("attempts", 0) for each in attempt.earlier), default=0) + 1
        for earlier in reversed(attempt.earlier):
            found = earlier.journal.get("checkpoint")
            if changed := fingerprint.difference(earlier.journal.get("fingerprint", {}), self._now):
                why = why or f"{changed} changed since {'the checkpoint' if found else 'it was begun'}"
            elif found is not None:
                try:
                    checkpoint = Checkpoint.from_json(found)
                    checkpoint.check_classes(self._classes)
                    self.saved, self._from, why = checkpoint, earlier, None
                    break
                except (ValueError, TypeError, KeyError, OverflowError):
                    why = why or "the checkpoint is damaged"
        if why is not None:
            self._say(why)
        self._journal = {"fingerprint": self._now, "attempts": self.attempts, "outputs": self._relative()}
        attempt.keep(self._journal)
        if self.saved is None:
            attempt.sweep()

    @property
    def identity(self) -> str:
        """A digest shared by all attempts at the same results and by no others; known after `begin`."""
        parts = [self._now, os.path.abspath(self._attempt.output), str(self._video.stem)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def part(self, kind: str) -> Path:
        """Return the path of an output's part in the attempt to continue. Raises CheckpointMismatch if there is
        none."""
        assert self._from is not None
        path = self._from.journal["outputs"].get(kind)
        if path is None or self.saved is None or kind not in self.saved.outputs:
            raise CheckpointMismatch(f"the checkpoint knows nothing of {kind}")
        return self._from.parts(path)

    def taken_over(self) -> None:
        """Record that this attempt now has its own copy of all that the checkpoint needs. Raises SinkError and
        LeaseLost."""
        assert self.saved is not None
        steps.reached("parts copied")
        self._journal["checkpoint"] = self.saved.to_json()
        self._attempt.keep(self._journal)
        steps.reached("taken over")
        self._attempt.sweep()

    def start_over(self, why: str) -> None:
        """Discard a useless checkpoint, and report it. Raises SinkError and LeaseLost."""
        self.saved = None
        self._say(why)
        self._journal.pop("checkpoint", None)
        self._attempt.keep(self._journal)
        self._attempt.sweep()

    def take(
        self,
        mark: Barrier,
        tracker: TrackerState,
        tally: CountersState,
        outputs: dict[str, State],
        events: dict[str, object] | None = None,
    ) -> None:
        """Take a due checkpoint; it is saved once every output reports that its state is durable."""
        self._pending.append(_Pending(mark, tracker, tally, outputs, {}, events))

    def give_up(self, kind: str, why: str) -> None:
        """Give up an output: note it in the last checkpoint, and drop pending checkpoints. Raises SinkError and
        LeaseLost."""
        self._pending.clear()
        if self.saved is not None:
            self.saved.outputs[kind] = {"lost": why}
            self._journal["checkpoint"] = self.saved.to_json()
            self._attempt.keep(self._journal)

    def settle(self) -> None:
        """Save the newest checkpoint that is durable by now. Raises SinkError and LeaseLost."""
        newest = None
        while self._pending and (ready := self._pending[0].checkpoint()) is not None:
            self._pending.popleft()
            newest = ready
        if newest is not None:
            self._journal["checkpoint"] = newest.to_json()
            self._attempt.keep(self._journal)
            self.saved = newest

    def holds(self, verdict: Verdict) -> bool:
        """Return whether a verdict is still valid: not that of a failed video, which may succeed now."""
        if verdict["entry"]["status"] == VideoStatus.FAILED or "fingerprint" not in verdict:
            return False
        changed = fingerprint.difference(verdict["fingerprint"], self._fingerprint())
        self._why = f"{changed} changed since it was done" if changed else None
        return changed is None

    def judge(self, verdict: Verdict) -> Verdict:
        """Return a verdict with the facts of this attempt added."""
        return {**verdict, "fingerprint": self._now, "attempts": self.attempts}

    def _holds_on_disk(self, verdict: Verdict, roots: Sequence[Path]) -> bool:
        try:
            with open_input(self._video.path, roots) as self.input:
                return self.holds(verdict)
        except SourceError:
            return False
        finally:
            self.input = None

    def _fingerprint(self) -> Fingerprint:
        before = {} if self.before is None else {"file before": self.before}
        return {**self._run_parts, **fingerprint.of_input(self.input), **before}

    def _relative(self) -> dict[str, str]:
        return {kind: str(path.relative_to(self._attempt.output)) for kind, path in self._outputs.items()}

    def _say(self, why: str) -> None:
        self.notes.append(f"started over: {why}")
        log.warning("%s: started over: %s", self._video.shown, why)


def are_there(output: Path, verdict: Verdict) -> bool:
    """Return whether all outputs of a verdict are published, with unchanged sizes."""
    try:
        return all((output / each["path"]).stat().st_size == each["size"] for each in verdict["made"].values())
    except OSError:
        return False


def entry_from(output: Path, verdict: Verdict, path: str) -> VideoResult:
    """Return the summary entry from another attempt's verdict on the video `path`."""
    outputs = {kind: str(output / each["path"]) for kind, each in verdict["made"].items()}
    return VideoResult.from_json({"path": path, **verdict["entry"]}).done_before(path, outputs)
