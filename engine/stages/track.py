"""Track: each stream's detections, back in order, become tracks. One tracker per stream, dropped when it ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.records import Agreements, Detections, EndOfStream, Filled, Frame, Plan, StartOfStream, TrackerState, Tracks
from engine.stages.agreement import Auditor
from engine.stages.fill import Fill
from engine.stages.gaps import Gaps
from engine.trackers import registry
from engine.trackers.steps import steps_between

# Steps after which no track is alive that was not seen, whatever max_age is.
_BEYOND_ANY_AGE = 200_001.0
# Frames from one that says which ids are alive to the next. Counted by the frames' own numbers: a run that was killed
# says it in the same ones.
_ALIVE_EVERY = 64


@dataclass(frozen=True)
class TrackerSettings:
    """Which tracker, with which parameters (engine.trackers.registry); missing ones have their defaults.

    `conf` is the minimum score of a detection that the tracker gets. `groups` has, for each class, the number of the
    group within which it is matched; None: its own. In a gated frame, `max_detections` of the detected and carried-over
    boxes are kept; if their audited agreement, among boxes with a score of at least `reported`, is below `gate_target`,
    the gate opens. `finer`: it looks more closely than whole frames do. `both`: frames that were not inferred wait for
    the next inferred one, and get their boxes from both sides.
    """

    name: str = registry.DEFAULT
    parameters: Mapping[str, registry.Parameter] = field(default_factory=dict)
    class_aware: bool = True
    conf: float = 0.0
    groups: tuple[int, ...] | None = None
    max_detections: int = 30_000
    gate_target: float = 0.0
    reported: float = 0.0
    finer: bool = False
    both: bool = False

    @classmethod
    def of(cls, config: EngineConfig, class_names: Sequence[str]) -> TrackerSettings:
        """Return a configuration's settings for a model with these classes. Raises ConfigError.

        Parameters for a track's first detections count frames: if only some frames are inferred, fewer suffice.
        """
        parameters = registry.parameters_of(config.tracker, config.model_dump(include=set(registry.KEYS)))
        for key in registry.FIRST_HITS:
            if key in parameters:
                parameters[key] = math.ceil(parameters[key] / (config.frames_between_inferences + 1))
        groups = groups_of(config.class_groups, class_names)
        aware, most = not config.class_agnostic, config.max_detections
        audit = config.gate_target, config.conf, config.gate_scale > 1
        both = config.fill == "both"
        return cls(config.tracker, parameters, aware, config.tracker_conf, groups, most, *audit, both)


def groups_of(groups: Mapping[str, Sequence[str]] | None, class_names: Sequence[str]) -> tuple[int, ...] | None:
    """Return each class's group number: that of the group's first class, or its own. Raises ConfigError if a group
    names a class that the model does not have."""
    if not groups:
        return None
    numbers = list(range(len(class_names)))
    for group, names in groups.items():
        if unknown := [name for name in names if name not in class_names]:
            raise ConfigError(
                f"class_groups: {group} names {unknown[0]!r}, and the model has no such class. "
                f"It has {', '.join(class_names)}."
            )
        members = [number for number, name in enumerate(class_names) if name in names]
        for number in members:
            numbers[number] = members[0]
    return tuple(numbers)


class StreamTracker:
    """The tracks of one stream, frame by frame in order."""

    def __init__(self, settings: TrackerSettings) -> None:
        kind = registry.TRACKERS[settings.name]
        parameters = registry.parameters_of(settings.name, settings.parameters)
        self._name, self._conf = settings.name, settings.conf
        self._kernel = kind.make(parameters, class_aware=settings.class_aware)
        self._groups = None if settings.groups is None else np.array(settings.groups, np.int32)
        self._latest = Detections()
        self._pts: int | None = None  # of the previous frame
        self._gap_s: Fraction | None = None  # to the previous frame, where that was in another file
        self._step: tuple[int, Fraction, Fraction | None, float] | None = None  # ticks, time base, step, how many steps

    def follow(self, frame: Frame, detections: Detections | None) -> Tracks:
        """Return the tracks of the next frame. Without detections (a frame not inferred) the tracker predicts."""
        steps = self._steps_to(frame)
        if detections is None:
            rows = self._kernel.predict(steps)
        else:
            used = detections.above(self._conf)
            given = np.empty((len(used), 5))
            given[:, :4] = used.boxes_xyxy
            given[:, 4] = used.scores
            rows = self._kernel.update(given, self._joined(used.class_ids), steps)
            self._latest = used
        matches, latest = self._kernel.last_matches, self._latest
        return Tracks(
            frame,
            rows[:, :4],
            rows[:, 4].astype(np.int64),
            latest.class_ids[matches],
            latest.scores[matches],
            detections,
            self.state() if frame.mark is not None else None,
            steps,
            alive=self._kernel.alive_ids if frame.index % _ALIVE_EVERY == _ALIVE_EVERY - 1 else None,
        )

    def state(self) -> TrackerState:
        """Return the state on which the next frames depend."""
        latest = self._latest
        return TrackerState(self._name, self._kernel.get_state(), latest.class_ids, latest.scores, self._pts or 0)

    def restore(self, state: TrackerState) -> None:
        """Continue from `state`. Raises ValueError if it belongs to another tracker or other parameters."""
        if state.name != self._name:
            raise ValueError(f"it is of the tracker {state.name:.20}, and {self._name} is wanted")
        self._kernel.set_state(state.kernel)
        # Only classes and scores of the latest detections are looked at; the boxes are in the tracks.
        boxes = np.zeros((len(state.scores), 4), np.float32)
        self._latest, self._pts = Detections(boxes, state.scores, state.class_ids), state.pts

    def carry_on(self, state: TrackerState, gap_s: Fraction) -> None:
        """Continue in another file, whose first frame is `gap_s` seconds after the one of `state`. Raises ValueError as
        `restore` does."""
        self.restore(state)
        self._gap_s = gap_s

    def forget_all(self, state: TrackerState) -> None:
        """Continue only the ids of `state`; its tracks have ended. Raises ValueError as `restore` does."""
        self.restore(state)
        self._kernel.update(np.empty((0, 5)), np.empty(0, np.int32), _BEYOND_ANY_AGE)
        self._latest, self._pts = Detections(), None

    def _steps_to(self, frame: Frame) -> float:
        before, self._pts = self._pts, frame.pts
        if before is None:
            return 1.0
        if self._gap_s is not None:
            before, self._gap_s = frame.pts - max(1, round(self._gap_s / frame.time_base)), None
        ticks, known = frame.pts - before, self._step
        if known is None or known[0] != ticks or known[1] is not frame.time_base or known[2] is not frame.step_s:
            steps = steps_between(before, frame.pts, frame.time_base, frame.step_s)
            known = self._step = ticks, frame.time_base, frame.step_s, steps
        return known[3]

    def _joined(self, class_ids: NDArray[np.int32]) -> NDArray[np.int32]:
        return class_ids if self._groups is None else self._groups[class_ids]


@dataclass
class _Stream:
    tracker: StreamTracker
    fill: Fill
    auditor: Auditor
    gaps: Gaps | None = None  # where frames that were not inferred wait for the next one that is
    next_index: int = 0
    # Frames that came before their turn, by the index at which they follow.
    early: dict[int, tuple[Frame, Detections | None]] = field(default_factory=dict)
    end: EndOfStream | None = None
    shadow: StreamTracker | None = None  # continues with whole frames, in a window
    probes: dict[int, Detections | None] = field(default_factory=dict)  # of whole frames, by index
    asked: set[int] = field(default_factory=set)  # the frames that are to be among them
    last: Frame | None = None  # of the stream, where it is taken once more

    def ready(self) -> tuple[Frame, Detections | None] | None:
        """Return the next frame, once it is complete."""
        item = self.early.get(self.next_index)
        if item is None:
            return None
        frame = item[0]
        if frame.plan is not None and frame.plan.probed and frame.index not in self.probes:
            return None
        return item

    def passed(self, frame: Frame) -> None:
        """Go on behind a frame."""
        del self.early[self.next_index]
        self.next_index = frame.index + 1
        self.asked.clear()


class Track:
    """Restores each stream's order after the parallel workers and runs its tracker. Called by one thread at a time for
    a stream."""

    def __init__(
        self,
        settings: TrackerSettings,
        at_end: Callable[[int, TrackerState], None] | None = None,
        at_window: Callable[[int, int, int], None] | None = None,
        again: Callable[[Frame], None] | None = None,
    ) -> None:
        """`at_end` gets each stream's key and the state of its tracker after its last frame, before the stream's end is
        passed on: the next file of a camera continues from it with `StreamTracker.carry_on`. `at_window` gets, after
        each window of the audit, the stream's key, the stretch and how far the gate is then open. `again` has a frame
        inferred whole that was not, and is to `process` it as a probe; without it, what is between two frames is always
        interpolated."""
        self._settings = settings
        self._at_end = at_end
        self._at_window = at_window
        self._again = again
        self._streams: dict[int, _Stream] = {}

    def restored(self, state: TrackerState) -> StreamTracker:
        """Return a tracker in this state. Raises ValueError if it belongs to other settings."""
        tracker = StreamTracker(self._settings)
        tracker.restore(state)
        return tracker

    def fresh(self) -> StreamTracker:
        """Return a tracker that has seen nothing."""
        return StreamTracker(self._settings)

    def start(self, start: StartOfStream) -> None:
        """Take the start of a resumed stream, before its first frame."""
        fill = self._fill(start.filled)
        auditor = self._auditor(start.agreements)
        gaps = Gaps(start.reported) if self._settings.both else None
        self._streams[start.stream] = _Stream(start.tracker, fill, auditor, gaps, start.frames)

    def process(self, frame: Frame, detections: Detections | None) -> Iterator[Tracks | EndOfStream]:
        """Take a frame in any order and return what is then in order, to be iterated before the next call. A frame that
        is lost only keeps its place."""
        stream = self._of(frame.stream)
        if stream.last is not None and frame.index == stream.last.index:
            stream.early[stream.next_index] = (stream.last, detections)
        elif frame.probe:
            stream.probes[frame.index] = detections
        else:
            stream.early[frame.index - frame.left_out] = (frame, detections)
        return self._ready(stream)

    def end(self, end: EndOfStream) -> Iterator[Tracks | EndOfStream]:
        """Take the end of a stream, which follows its last frame."""
        stream = self._of(end.stream)
        stream.end = end
        return self._ready(stream)

    def _fill(self, filled: Filled | None = None) -> Fill:
        settings = self._settings
        return Fill(settings.max_detections, filled, lowest=settings.conf, reported=settings.reported)

    def _auditor(self, known: Agreements | None = None) -> Auditor:
        settings = self._settings
        return Auditor(settings.gate_target, settings.reported, known, finer=settings.finer)

    def _of(self, key: int) -> _Stream:
        if key not in self._streams:
            gaps = Gaps() if self._settings.both else None
            self._streams[key] = _Stream(StreamTracker(self._settings), self._fill(), self._auditor(), gaps)
        return self._streams[key]

    def _ready(self, stream: _Stream) -> Iterator[Tracks | EndOfStream]:
        while (item := stream.ready()) is not None and not self._lacks(stream, *item):
            stream.passed(item[0])
            if not item[0].is_lost:
                for frame, detections in stream.fill.take(*item, stream.probes):
                    tracks = self._followed(stream, frame, detections)
                    yield from (tracks,) if stream.gaps is None else stream.gaps.take(tracks)
        if stream.end is not None and stream.next_index >= stream.end.frames:
            if self._ends_open(stream):
                yield from self._ready(stream)
                return
            for frame, detections in stream.fill.rest():
                yield self._followed(stream, frame, detections)
            if stream.gaps is not None:
                yield from stream.gaps.rest()
            del self._streams[stream.end.stream]
            if self._at_end is not None:
                self._at_end(stream.end.stream, stream.tracker.state())
            yield stream.end

    def _ends_open(self, stream: _Stream) -> bool:
        """Return whether the stream ended with frames between two others. The last one is then inferred and comes
        again."""
        last = stream.fill.last() if self._again is not None else None
        if last is None:
            return False
        assert self._again is not None
        stream.next_index = last.index - last.left_out
        if last.index in stream.probes:
            stream.early[stream.next_index] = last, stream.probes[last.index]
        else:
            stream.last = last
            self._again(last)
        return True

    def _lacks(self, stream: _Stream, frame: Frame, detections: Detections | None) -> bool:
        """Return whether other frames must be inferred before this one can be taken, and have them inferred."""
        if self._again is None or frame.is_lost:
            return False
        if not stream.asked <= stream.probes.keys():
            return True
        lacking = stream.fill.lacks(frame, detections, stream.probes)
        for each in lacking:
            if each.index not in stream.asked:
                stream.asked.add(each.index)
                self._again(each)
        return bool(lacking)

    def _followed(self, stream: _Stream, frame: Frame, detections: Detections | None) -> Tracks:
        plan = frame.plan
        if plan is not None and plan.audited and stream.shadow is None:
            stream.shadow = self.restored(stream.tracker.state())
        tracks = stream.tracker.follow(frame, detections)
        if plan is not None and tracks.state is not None:
            tracks.state = tracks.state._replace(filled=stream.fill.state())
        probe = stream.probes.pop(frame.index, None)
        if plan is not None and plan.audited:
            self._audit(stream, plan, tracks, probe if plan.probed else tracks.detections)
        return tracks

    def _audit(self, stream: _Stream, plan: Plan, tracks: Tracks, whole: Detections | None) -> None:
        """Compare the tracks of a gated frame with those of the whole frame."""
        frame, shadow = tracks.frame, stream.shadow
        assert shadow is not None
        if whole is not None:  # else the video has failed
            stream.auditor.see(plan, tracks, shadow.follow(frame, whole))
        if plan.window_ends:
            stream.shadow, tracks.agreements = None, stream.auditor.seen.copy()
            if self._at_window is not None:
                self._at_window(frame.stream, plan.stretch, tracks.agreements.level)
