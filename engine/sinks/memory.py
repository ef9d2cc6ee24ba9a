"""Sinks in memory: the running totals of a stream, and tracks handed to a Python caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from engine.analytics.stitching import ObjectCounter, ObjectCounterState
from engine.records import Agreements, EndOfStream, StreamInfo, Tracks


@dataclass(frozen=True, kw_only=True)
class CountersState:
    """The totals of a stream at one moment, for a checkpoint; its fields are the keys there. `tracks_by_class` has
    (class id, tracks) of the tracks that have ended, `votes` (track id, class id, sum of scores) of the others.
    `looks` has (how, frames) of a gated stream, `inferred_share` what was inferred of them, in whole frames, and
    `agreements` what its audit has seen. `inferred_by` has (frame, provider) where the provider may change within a
    run; `continued` counts the tracks that the previous file of the camera had. Fields with a default are not in old
    checkpoints."""

    frames: int
    inferred: int
    detections: int
    without_area: int = 0
    tracks_by_class: list[tuple[int, int]]
    non_finite: int = 0
    first_pts_s: float | None = None
    last_pts_s: float
    last_duration_s: float = 0.0
    size_wh: tuple[int, int] | None = None
    votes: list[tuple[int, int, float]]
    steps: float
    looks: list[tuple[str, int]] = field(default_factory=list)
    inferred_share: float = 0.0
    agreements: Agreements | None = None
    objects: ObjectCounterState | None = None
    inferred_by: list[tuple[int, str]] = field(default_factory=list)
    continued: int = 0

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values, with tuples for arrays."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        seen = None if self.agreements is None else asdict(self.agreements)
        return {**values, "agreements": seen, "objects": self.objects.to_json() if self.objects is not None else None}


class Counters:
    """Computes a video's counts for the summary. Memory grows with the number of live tracks, not the video's length.

    A track counts for the class with the highest total score.
    """

    def __init__(self, conf: float = 0.0, *, objects: bool = False) -> None:
        """`conf`: the minimum score of a detection that counts. `objects`: also estimate the number of objects."""
        self.frames = 0
        self.inferred = 0
        self.detections = 0
        self.without_area = 0
        self.ended_by_class: Counter[int] = Counter()
        self.non_finite = 0
        self.size_wh: tuple[int, int] | None = None  # of the upright frames
        self.first_pts_s: float | None = None
        self.last_pts_s = self.last_duration_s = 0.0
        self._conf = conf
        self.looks: Counter[str] = Counter()  # how the frames of a gated stream were looked at
        self.inferred_share = 0.0
        self.agreements: Agreements | None = None
        self.inferred_by: list[tuple[int, str]] = []  # from which frame on, and by which provider
        self._steps = 0.0
        self._votes: dict[int, dict[int, float]] = {}  # of each track that may come again
        self.continued = 0  # tracks that the previous file of the camera had
        self._earlier: frozenset[int] = frozenset()  # those of them that may come again
        self._objects = ObjectCounter() if objects else None

    def go_on(self, earlier: Collection[int]) -> None:
        """Take the tracks that the previous file of the camera left, as `left` returned them."""
        self._earlier = frozenset(earlier)

    def left(self) -> list[int]:
        """Return the tracks that may come again in the next file of the camera."""
        return sorted(self._earlier | self._votes.keys())

    def write(self, tracks: Tracks) -> None:
        self.frames += 1
        frame, detections = tracks.frame, tracks.detections
        if self.size_wh is None and frame.image is not None:
            self.size_wh = frame.image.width, frame.image.height
        self.last_pts_s = frame.time_s
        self.last_duration_s = frame.duration * frame.time_base.numerator / frame.time_base.denominator
        if self.first_pts_s is None:
            self.first_pts_s = self.last_pts_s
        if detections is not None:  # frames that are not inferred don't age a track
            self._steps += tracks.steps
            self.inferred += frame.infer
            self.detections += detections.count_above(self._conf)
            self.non_finite += detections.non_finite
            self.without_area += detections.without_area
            self._vote(tracks)
        if frame.plan is not None:
            self.looks[frame.plan.look.value] += 1
            self.inferred_share += frame.plan.cost + frame.plan.probed
        if frame.inferred_by is not None and (not self.inferred_by or self.inferred_by[-1][1] != frame.inferred_by):
            self.inferred_by.append((frame.index, frame.inferred_by))
        if tracks.agreements is not None:
            self.agreements = tracks.agreements
        if self._objects is not None:
            self._objects.follow(
                self.last_pts_s, self._steps, tracks.track_ids, tracks.class_ids, tracks.scores, tracks.boxes_xyxy
            )
        if tracks.alive is not None:
            # What is told of a gap, from both its sides, may be of a track that began behind it.
            self._forget(frozenset(tracks.alive.tolist()).union(tracks.track_ids.tolist()))

    def _vote(self, tracks: Tracks) -> None:
        if not len(tracks):
            return
        columns = (tracks.track_ids.tolist(), tracks.class_ids.tolist(), tracks.scores.tolist())
        for track_id, class_id, score in zip(*columns, strict=True):
            votes = self._votes.get(track_id)
            if votes is None:
                votes = self._votes[track_id] = {}
                self.continued += track_id in self._earlier
            votes[class_id] = votes.get(class_id, 0.0) + score

    @property
    def objects(self) -> tuple[int, int] | None:
        """The minimum and maximum number of objects behind the tracks so far; None if they are not counted."""
        if self._objects is None:
            return None
        found = self._objects.objects()
        return found.low, found.high

    @property
    def tracks_by_class(self) -> Counter[int]:
        """Tracks so far by class id."""
        return self.ended_by_class + Counter(_winner(votes) for votes in self._votes.values())

    def _forget(self, alive: frozenset[int]) -> None:
        """Drop the tracks that are gone for good: all but those with these ids."""
        for track_id in [track_id for track_id in self._votes if track_id not in alive]:
            self.ended_by_class[_winner(self._votes.pop(track_id))] += 1
        self._earlier &= alive
        if self._objects is not None:
            self._objects.settle(alive)

    @property
    def span_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.last_pts_s + self.last_duration_s - (self.first_pts_s or 0.0)

    def state(self) -> CountersState:
        """Return the totals, for a checkpoint."""
        return CountersState(
            frames=self.frames,
            inferred=self.inferred,
            detections=self.detections,
            without_area=self.without_area,
            tracks_by_class=list(self.ended_by_class.items()),
            non_finite=self.non_finite,
            first_pts_s=self.first_pts_s,
            last_pts_s=self.last_pts_s,
            last_duration_s=self.last_duration_s,
            size_wh=self.size_wh,
            votes=[
                (track_id, class_id, votes) for track_id, of in self._votes.items() for class_id, votes in of.items()
            ],
            steps=self._steps,
            looks=list(self.looks.items()),
            inferred_share=self.inferred_share,
            agreements=self.agreements,
            objects=self._objects.state() if self._objects is not None else None,
            inferred_by=list(self.inferred_by),
            continued=self.continued,
        )

    def restore(self, state: CountersState) -> None:
        """Return to `state`."""
        self.frames, self.inferred, self.detections = state.frames, state.inferred, state.detections
        self.without_area, self.non_finite = state.without_area, state.non_finite
        self.ended_by_class = Counter(dict(state.tracks_by_class))
        self.first_pts_s, self.last_pts_s = state.first_pts_s, state.last_pts_s
        self.last_duration_s = state.last_duration_s
        self.size_wh = state.size_wh
        self.looks = Counter(dict(state.looks))
        self.inferred_share, self.agreements = state.inferred_share, state.agreements
        self.inferred_by = list(state.inferred_by)
        self._steps, self._votes, self.continued = state.steps, {}, state.continued
        for track_id, class_id, votes in state.votes:
            self._votes.setdefault(track_id, {})[class_id] = votes
        if self._objects is not None:
            if (objects := state.objects) is None:
                self._objects = None  # a checkpoint of a version that did not count them
            else:
                self._objects.restore(objects)


def _winner(votes: dict[int, float]) -> int:
    """Return the class with most votes; of several, the one with the lowest number."""
    return min(votes, key=lambda class_id: (-votes[class_id], class_id))


class CallbackSink:
    """Hands each frame's tracks to a function, in order. An exception from it fails the stream."""

    kind = "callback"

    def __init__(self, function: Callable[[Tracks], None]) -> None:
        self._function = function

    def open(self, info: StreamInfo) -> None:
        pass

    def write(self, tracks: Tracks) -> None:
        self._function(tracks)

    def commit(self, end: EndOfStream, path: Path) -> None:
        pass

    def abort(self) -> None:
        pass
