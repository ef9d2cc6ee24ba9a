"""Happenings (events and tracks) in a run's videos, selected by kind, class, place and duration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor

from engine.analytics import Answers, Event, EventKind, Trajectory
from engine.analytics.answering import answer
from engine.analytics.timeline import Film, Placed, lay_out
from engine.analytics.vocabulary import TRACK, Vocabulary
from engine.finished.folder import FinishedRun, FinishedVideo

# Rows store times rounded to a microsecond.
_TICK_S = 1e-6
# The last frame may be longer than the others.
_SEAM_STEPS = 1.5


@dataclass(frozen=True)
class Selection:
    """A filter of happenings; None or empty: all. Durations of stays and tracks are in seconds; a crossing lasts 0."""

    kinds: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    longer_s: float | None = None
    shorter_s: float | None = None

    def takes(self, happening: Happening) -> bool:
        """Return whether a happening passes the filter."""
        lasts = happening.ends_s - happening.begins_s
        return (
            (not self.classes or happening.class_name in self.classes)
            and (not self.places or happening.place in self.places)
            and (not self.directions or happening.direction in self.directions)
            and (self.longer_s is None or lasts >= self.longer_s)
            and (self.shorter_s is None or lasts <= self.shorter_s)
        )


@dataclass(frozen=True)
class Span:
    """The part of a happening in one video, from its first to its last frame, in seconds of the container. If it
    happened between two frames, `frames` are these."""

    video: int
    begins_s: float
    ends_s: float
    frames: tuple[int, int] | None = None


@dataclass(frozen=True)
class Happening:
    """An event, or a whole track. Times are seconds of its camera's timeline; `at` is the clock time of its beginning,
    None without a clock. `spans` are its parts, by the run's videos."""

    kind: str
    camera: str
    track_id: int
    class_name: str
    place: str
    direction: str
    begins_s: float
    ends_s: float
    at: datetime | None
    spans: tuple[Span, ...]


def happenings_of(
    run: FinishedRun, selection: Selection, tick: Callable[[], None] = lambda: None
) -> Iterator[Happening]:
    """Return the selected happenings, by camera and time. Raises InputError if rows can't be read."""
    numbers = {id(film): number for number, film in enumerate(run.films)}
    by_camera: defaultdict[str, list[Film]] = defaultdict(list)
    for film in run.films:
        by_camera[film.camera].append(film)
    kinds = Vocabulary.of(run.settings.scenes, None).kinds(selection.kinds)
    for found in run.counted or answer(run.films, run.settings, tick=tick):
        answers = found.answers
        placed, _ = lay_out(by_camera[answers.camera], run.settings.max_gap_s, run.settings.max_overlap_s)
        parts = [(numbers[id(each.film)], each) for each in placed if each.film.examined_s is not None]
        events = [event for event in answers.events if event.kind.value in kinds]
        all_of_it = [_of_event(answers, event, parts, run.videos) for event in events]
        if TRACK in kinds:
            all_of_it += [_of_track(answers, track, parts) for track in answers.tracks]
        all_of_it.sort(key=lambda each: (each.begins_s, each.ends_s, each.track_id, each.kind))
        yield from (each for each in all_of_it if each.spans and selection.takes(each))


def _of_track(answers: Answers, track: Trajectory, parts: list[tuple[int, Placed]]) -> Happening:
    spans = _spans(track.first_s, track.last_s, parts)
    first_s, last_s, at = track.first_s, track.last_s, answers.clock.at(track.first_s)
    return Happening(TRACK, answers.camera, track.track_id, track.class_name, "", "", first_s, last_s, at, spans)


def _of_event(
    answers: Answers, event: Event, parts: list[tuple[int, Placed]], videos: Sequence[FinishedVideo]
) -> Happening:
    begins_s = event.at.time_s
    ends_s = begins_s + (event.dwell_s or 0.0 if event.kind is EventKind.STAY else 0.0)
    spans = _spans(begins_s, ends_s, parts) if event.kind is EventKind.STAY else _moment(event, parts, videos)
    return Happening(
        event.kind.value,
        answers.camera,
        event.track_id,
        event.class_name,
        event.place,
        event.direction,
        begins_s,
        ends_s,
        answers.clock.at(begins_s),
        spans,
    )


def _moment(event: Event, parts: list[tuple[int, Placed]], videos: Sequence[FinishedVideo]) -> tuple[Span, ...]:
    """Return the frames between which something happened; between two files, the frame of each at the seam."""
    place = next(place for place, (number, _) in enumerate(parts) if videos[number].name == event.at.video)
    number, placed = parts[place]
    frames = floor(event.at.frame), ceil(event.at.frame)
    found = [Span(number, event.at.video_s, event.at.video_s, frames)]
    assert placed.film.examined_s is not None
    if place and event.at.time_s < placed.film.examined_s[0] + placed.offset_s - _TICK_S:
        before, earlier = parts[place - 1]
        assert earlier.film.examined_s is not None
        _, end_s = earlier.film.examined_s
        # Its last frame begins a step before it ends.
        found.insert(0, Span(before, end_s - _SEAM_STEPS * float(videos[before].step_s or 0), end_s))
    return tuple(found)


def _spans(begins_s: float, ends_s: float, parts: list[tuple[int, Placed]]) -> tuple[Span, ...]:
    """Split an interval of the timeline at the boundaries of its videos."""
    found = []
    for number, placed in parts:
        assert placed.film.examined_s is not None
        first_s, last_s = placed.film.examined_s
        begin, end = max(begins_s - placed.offset_s, first_s), min(ends_s - placed.offset_s, last_s)
        if begin <= end + _TICK_S and begin < last_s - _TICK_S:
            found.append(Span(number, begin, max(begin, end)))
    return tuple(found)
