"""From the tracks of one camera to events: one pure function, the same for every caller.

It reads rows in chunks; between chunks it keeps a few numbers per track, and the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from engine.analytics.clock import Clock, ClockOrigin
from engine.analytics.crossings import Crossing, Crossings
from engine.analytics.ground import Ground
from engine.analytics.samples import Moment, Samples, Tracked
from engine.analytics.scene import Scene, SceneLine, SceneZone
from engine.analytics.stays import Stay, Stays
from engine.analytics.trajectories import Trajectories, Trajectory

_NO_CLOCK = Clock(None, ClockOrigin.NONE)


class EventKind(StrEnum):
    """The kinds of events, in the order in which simultaneous events are listed."""

    CROSSING = "crossing"
    ENTER = "enter"
    STAY = "stay"
    LEAVE = "leave"


class Recording(NamedTuple):
    """One video of a camera, with its tracks.

    `offset_s` plus a container time is a time on the camera's timeline. `examined_s` is the examined part of the
    timeline, None if no frame was examined (a file that failed); `left_out_s` are intervals within it that were not
    examined. `size_wh` is the size of the upright frame.
    """

    video: str
    size_wh: tuple[int, int]
    rows: Iterable[Samples]
    examined_s: tuple[float, float] | None
    offset_s: float = 0.0
    left_out_s: tuple[tuple[float, float], ...] = ()

    def parts_s(self) -> Iterator[tuple[float, float]]:
        """Yield the parts of the timeline that were examined."""
        if self.examined_s is None:
            return
        first, end = self.examined_s
        for begins, ends in self.left_out_s:
            if begins > first:
                yield first, min(begins, end)
            first = max(first, ends)
        if first < end or not self.left_out_s:
            yield first, end


class Event(NamedTuple):
    """Something that happened, when and where. `place` names the line or zone, `direction` the way across a line. Only
    a stay has `dwell_s`, `born_inside` (it began with the track) and `ended_inside` (the track ended first).
    """

    at: Moment
    track_id: int
    class_name: str
    kind: EventKind
    place: str
    direction: str = ""
    dwell_s: float | None = None
    born_inside: bool = False
    ended_inside: bool = False


class Answers(NamedTuple):
    """All results of one camera: tracks sorted by id, events by time, the examined intervals, and the clock at time 0
    of the timeline. `unexamined_s` are the intervals of files of which nothing was examined, as far as known."""

    camera: str
    tracks: tuple[Trajectory, ...]
    events: tuple[Event, ...]
    examined_s: tuple[tuple[float, float], ...]
    clock: Clock = _NO_CLOCK
    scene: Scene | None = None
    ground_residual_m: float | None = None
    unexamined_s: tuple[tuple[float, float], ...] = ()


def analyse(
    recordings: Iterable[Recording], scene: Scene | None = None, clock: Clock | None = None, camera: str = ""
) -> Answers:
    """Find the events in the recordings of one camera, given in chronological order.

    A track id identifies the same object in all recordings. Raises InputError if a recording's aspect ratio differs
    from the scene's, or if rows can't be read.
    """
    scene = scene or Scene()
    finder: _Finder | None = None
    examined: list[tuple[float, float]] = []
    for recording in recordings:
        examined += recording.parts_s()
        scene.check_aspect(recording.size_wh, recording.video)
        if finder is None or finder.size_wh != recording.size_wh:
            finder = _Finder(scene, recording.size_wh, finder)
        for samples in recording.rows:
            finder.feed(replace(samples, video=recording.video, offset_s=recording.offset_s).by_track())
    tracks, events = finder.end() if finder is not None else ([], [])
    return Answers(
        camera,
        tuple(tracks),
        tuple(events),
        tuple(examined),
        clock or _NO_CLOCK,
        scene,
        finder.ground.residual_m if finder is not None and finder.ground is not None else None,
    )


class _Finder:
    """The state of an analysis along the timeline, for one frame size."""

    def __init__(self, scene: Scene, size_wh: tuple[int, int], before: _Finder | None) -> None:
        self.size_wh = size_wh
        self.ground = Ground.fit(scene.map.image, scene.map.metres, size_wh) if scene.map else None
        self._lines = [(line, Crossings(scene.line_shape(line, size_wh))) for line in scene.lines]
        self._zones = [(zone, Stays(scene.zone_shape(zone, size_wh))) for zone in scene.zones]
        self._tracks: Trajectories = before._tracks if before else Trajectories(self.ground)
        # A new size ends open crossings and stays: pixel coordinates of two sizes can't be compared.
        self._found: list[tuple[SceneLine | SceneZone, Crossing | Stay]] = before._all_found() if before else []

    def feed(self, tracks: Tracked) -> None:
        self._tracks.feed(tracks, self.size_wh)
        for line, crossings in self._lines:
            self._found += [(line, crossing) for crossing in crossings.feed(tracks)]
        for zone, stays in self._zones:
            self._found += [(zone, stay) for stay in stays.feed(tracks)]

    def end(self) -> tuple[list[Trajectory], list[Event]]:
        tracks = self._tracks.end()
        classes = {track.track_id: track.class_name for track in tracks}
        events = [
            event
            for place, found in self._all_found()
            if place.classes is None or classes[found.track_id] in place.classes
            for event in _events(place, found, classes[found.track_id])
        ]
        order = list(EventKind)
        events.sort(key=lambda event: (event.at.time_s, order.index(event.kind), event.place, event.track_id))
        return tracks, events

    def _all_found(self) -> list[tuple[SceneLine | SceneZone, Crossing | Stay]]:
        """Return everything found, including what only the end of a track decides."""
        for track_id in self._tracks.ids:
            for line, crossings in self._lines:
                self._found += [(line, crossing) for crossing in crossings.end(track_id)]
            for zone, stays in self._zones:
                self._found += [(zone, stay) for stay in stays.end(track_id)]
        return self._found


def _events(place: SceneLine | SceneZone, found: Crossing | Stay, class_name: str) -> list[Event]:
    if isinstance(found, Crossing):
        assert isinstance(place, SceneLine)
        direction = place.into if found.positive else place.out
        return [Event(found.at, found.track_id, class_name, EventKind.CROSSING, place.name, direction)]

    def event(kind: EventKind, at: Moment) -> Event:
        dwell_s = found.dwell_s if kind is EventKind.STAY else None
        ends = (found.born_inside, found.ended_inside)
        return Event(at, found.track_id, class_name, kind, place.name, "", dwell_s, *ends)

    events = [] if found.born_inside else [event(EventKind.ENTER, found.first)]
    events += [] if found.ended_inside else [event(EventKind.LEAVE, found.last)]
    return [*events, event(EventKind.STAY, found.first)]
