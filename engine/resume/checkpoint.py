"""The checkpoints of one video: taken while it continues, and found again by the next run.

A checkpoint is a cut through the data behind one frame: where the reader stood, what the tracker knew, what was counted
and how far each output had come. It is kept once every output is durable up to that frame.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Checkpoint:
    """`outputs` has each output's state by kind, `tally` the totals, `events` where who looks for events stood, as JSON
    values; None: nobody did."""

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
        """Read what `to_json` gives. Raises ValueError, TypeError, KeyError or OverflowError for anything else."""
        mark = TypeAdapter(Barrier).validate_json(json.dumps(values["mark"]), strict=True)
        tally = TypeAdapter(CountersState).validate_json(json.dumps(values["tally"]), strict=True)
        # Of a part of a video, fewer are counted than were passed.
        if not 0 < tally.frames <= mark.frames == values["frames"] or mark.audio_time_base[1] < 1:
            raise ValueError("its numbers do not fit each other")
        numbers = (mark.pts, mark.duration, mark.first_pts, mark.audio_dts, *(pts for _, pts in mark.anchors))
        if any(abs(number) >= _TOO_LARGE for number in numbers) or not math.isfinite(
            mark.decode_s + tally.last_pts_s + (tally.first_pts_s or 0.0)
        ):
            raise ValueError("its times are none")
        found = values["tracker"]
        if not isinstance(found["name"], str) or found["pts"] != mark.pts:
            raise ValueError("its tracker is of another frame")
        events = values.get("events")
        if not isinstance(events, dict | None):
            raise ValueError("its events are none")
        return cls(mark, TrackerState.from_json(found), tally, values["outputs"], events)

    def check_classes(self, count: int) -> None:
        """Raise ValueError if it names a class that a model of `count` classes does not have."""
        named = [*self.tracker.class_ids.tolist(), *(class_id for class_id, _ in self.tally.tracks_by_class)]
        named += [class_id for _, class_id, _ in self.tally.votes]
        if not all(0 <= class_id < count for class_id in named):
            raise ValueError("a class that there is not")


@dataclass(frozen=True)
class _Pending:
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
    """Takes and keeps the checkpoints of one attempt at a video. Used by one thread at a time: its decoder's, then its
    sinks'.

    `saved` is the last checkpoint; after `begin`, the one to continue at.
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
        """`classes` is how many the model knows; `count` the number of this attempt where the caller counts them, None:
        the journals do."""
        self.saved: Checkpoint | None = None
        self.attempts = count or 1
        self.notes: list[str] = []
        self.done_by = ""  # the job, where it was done before
        self.before: str | None = None  # what the file before of the same camera left, in short
        self.input: OpenedFile | None = None  # as the caller has opened it, while it is open
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
        """Return the summary entry of an earlier run that completed this video, where it still holds: same fingerprint,
        and its outputs are there with their sizes. The video is opened to be compared, below `roots` if there are any.
        Takes no part in the work."""
        verdict = verdict_of(self._attempt.output, self._video.stem)
        if verdict is None or not self._holds_on_disk(verdict, roots) or not are_there(self._attempt.output, verdict):
            return None
        self.attempts = self._count or verdict.get("attempts", 1)
        self.done_by = str(verdict.get("job", ""))
        return entry_from(self._attempt.output, verdict, self._video.shown)

    def begin(self) -> None:
        """Find where to continue, and note the new attempt, before the video is opened. Raises SinkError,
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
        """What all attempts at these results have in common, and no others: in short, known from `begin` on."""
        parts = [self._now, os.path.abspath(self._attempt.output), str(self._video.stem)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def part(self, kind: str) -> Path:
        """Return where the attempt that is continued had its part of an output. Raises CheckpointMismatch if it had
        none."""
        assert self._from is not None
        path = self._from.journal["outputs"].get(kind)
        if path is None or self.saved is None or kind not in self.saved.outputs:
            raise CheckpointMismatch(f"the checkpoint knows nothing of {kind}")
        return self._from.parts(path)

    def taken_over(self) -> None:
        """Note that all that the checkpoint needs is this attempt's own by now. Raises SinkError and LeaseLost."""
        assert self.saved is not None
        steps.reached("parts copied")
        self._journal["checkpoint"] = self.saved.to_json()
        self._attempt.keep(self._journal)
        steps.reached("taken over")
        self._attempt.sweep()

    def start_over(self, why: str) -> None:
        """Drop a checkpoint that is useless, and say so. Raises SinkError and LeaseLost."""
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
        """Take a checkpoint that is due: it is kept once every output says that its state is durable."""
        self._pending.append(_Pending(mark, tracker, tally, outputs, {}, events))

    def give_up(self, kind: str, why: str) -> None:
        """Give up an output that is no longer made: the last checkpoint says so, and those that wait for it are
        dropped. Raises SinkError and LeaseLost."""
        self._pending.clear()
        if self.saved is not None:
            self.saved.outputs[kind] = {"lost": why}
            self._journal["checkpoint"] = self.saved.to_json()
            self._attempt.keep(self._journal)

    def settle(self) -> None:
        """Keep the newest checkpoint that is durable by now. Raises SinkError and LeaseLost."""
        newest = None
        while self._pending and (ready := self._pending[0].checkpoint()) is not None:
            self._pending.popleft()
            newest = ready
        if newest is not None:
            self._journal["checkpoint"] = newest.to_json()
            self._attempt.keep(self._journal)
            self.saved = newest

    def holds(self, verdict: Verdict) -> bool:
        """Return whether a verdict would be the same today. That of a failed video may not."""
        if verdict["entry"]["status"] == VideoStatus.FAILED or "fingerprint" not in verdict:
            return False
        changed = fingerprint.difference(verdict["fingerprint"], self._fingerprint())
        self._why = f"{changed} changed since it was done" if changed else None
        return changed is None

    def judge(self, verdict: Verdict) -> Verdict:
        """Return a verdict with what it says of this attempt."""
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
    """Return whether all outputs of a verdict have appeared, with the sizes that they had."""
    try:
        return all((output / each["path"]).stat().st_size == each["size"] for each in verdict["made"].values())
    except OSError:
        return False


def entry_from(output: Path, verdict: Verdict, path: str) -> VideoResult:
    """Return the summary entry of a verdict that another attempt has found at the video `path`."""
    outputs = {kind: str(output / each["path"]) for kind, each in verdict["made"].items()}
    return VideoResult.from_json({"path": path, **verdict["entry"]}).done_before(path, outputs)
