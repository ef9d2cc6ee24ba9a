"""Detects events as a stream's tracks arrive: crossings, zones entered, long stays, stays ended, tracks begun.

Events depend on the tracks alone, so a resumed run finds them again under the same ids.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from engine.alarms.sending import Notice
from engine.analytics import Clock, Samples, Scene
from engine.analytics.crossings import Approach, Crossing, Crossings
from engine.analytics.samples import Tracked
from engine.analytics.stays import Stay, Stays
from engine.records import StreamInfo, Tracks

log = logging.getLogger(__name__)

KINDS = ("crossing", "enter", "loiter", "stay", "track")
# Rows are batched for this long: many at once cost little more than one.
_EVERY_S = 0.2
# Rows store times rounded to a microsecond.
_ROUNDED_S = 1e-6


class Outbox(Protocol):
    """Accepts events to send, and knows which are still queued. It never blocks."""

    def tell(self, notice: Notice) -> None: ...

    def waiting(self, of: str) -> list[Notice]: ...


@dataclass(frozen=True)
class WatchSettings:
    """Which events of a stream are sent: those of these `kinds`, or, if there are none, those of the scene. `loiter_s`
    is how long a stay must last to be reported while it continues, in zones without a value of their own; None: those
    zones don't report it. An unseen track is gone for good after `gone_after` steps (frames at the nominal rate)."""

    kinds: tuple[str, ...] = ()
    loiter_s: float | None = None
    gone_after: int = 1


@dataclass(frozen=True)
class _Seen:
    """A track that is not gone yet: its class, and the step at which it was last seen."""

    track_id: int
    class_name: str
    step: float


@dataclass(frozen=True)
class _State:
    """A snapshot of a watch: its lines and zones were built from `scene` and `size_wh`; `rows` are not processed yet
    (frame, pts, seconds, track, class, score and box); `waiting` are the queued events: id and body. `held` are tracks
    that were taken for gone, and may be seen again."""

    scene: str
    size_wh: tuple[int, int] | None
    first_s: float | None
    due_s: float
    steps: float
    seen: list[_Seen]
    lines: list[list[tuple[int, Approach]]]
    zones: list[list[tuple[int, Stay | None]]]
    rows: list[tuple[int, int, float, int, int, float, float, float, float, float]]
    waiting: list[tuple[str, str]]
    held: list[int] = field(default_factory=list)  # not in the states of older versions


@cache
def _states() -> TypeAdapter[_State]:
    return TypeAdapter(_State)


@dataclass(frozen=True)
class _Line:
    name: str
    words: tuple[str, str]
    classes: tuple[str, ...] | None
    crossings: Crossings


@dataclass(frozen=True)
class _Zone:
    name: str
    classes: tuple[str, ...] | None
    stays: Stays
    loiter_s: float | None


class StreamWatch:
    """Finds the events of one stream. It never raises: a failure here must not fail the video."""

    def __init__(
        self,
        video: str,
        names: Sequence[str],
        scene: Scene | None,
        settings: WatchSettings,
        clock: Callable[[str | None], Clock],
        outbox: Outbox,
    ) -> None:
        """`clock` returns the video's clock for a container's creation time; `outbox` receives each event."""
        self._video, self._names, self._scene = video, names, scene or Scene()
        has_places = bool(self._scene.lines or self._scene.zones)
        self._kinds = frozenset(settings.kinds or (("crossing", "loiter", "stay") if has_places else ("track",)))
        self._settings = settings
        self._clock_of, self._outbox = clock, outbox
        self._drawn = hashlib.sha256(json.dumps(self._scene.table(), sort_keys=True).encode()).hexdigest()
        self._clock: Clock | None = None
        self._live = self._broken = False
        self._begin("")

    def _begin(self, identity: str) -> None:
        self._identity = identity
        self._first_s: float | None = None
        self._due_s = self._steps = 0.0
        self._size_wh: tuple[int, int] | None = None
        self._lines: list[_Line] = []
        self._zones: list[_Zone] = []
        self._rows: list[Tracks] = []
        self._early: Samples | None = None  # rows not yet processed before a kill
        self._seen: dict[int, _Seen] = {}
        self._held: set[int] = set()  # taken for gone; their tracker may report them again

    def open(self, info: StreamInfo, identity: str | None = None, state: dict[str, object] | None = None) -> None:
        """Begin a stream; with `state`, continue from that snapshot and send the events queued then again. Event ids
        derive from `identity`; without one they are random."""
        self._live = info.live
        self._clock = None if info.live else self._clock_of(info.creation_time)
        self._begin(identity or secrets.token_hex(16))
        if state is None:
            return
        try:
            self._restore(_states().validate_json(json.dumps(state), strict=True))
        except (ValidationError, ValueError, TypeError) as error:
            log.warning("%s: the saved state of its events is damaged: %s", self._video, type(error).__name__)
            self._begin(self._identity)
        except Exception as error:  # noqa: BLE001 - see the class
            self._break(error)

    def see(self, tracks: Tracks) -> None:
        """Process the tracks of the next frame."""
        if self._broken:
            return
        try:
            frame = tracks.frame
            if self._first_s is None:
                self._first_s, self._due_s = frame.time_s, frame.time_s + _EVERY_S
            if frame.image is not None and self._size_wh != (frame.image.width, frame.image.height):
                self._look(frame.time_s)
                self._arrange((frame.image.width, frame.image.height))
            if tracks.detections is not None:  # frames that are not inferred don't age a track
                self._steps += tracks.steps
            if len(tracks):  # Without the image, so that it is not kept alive here.
                bare = replace(frame, image=None, audio=())
                self._rows.append(replace(tracks, frame=bare, detections=None, state=None))
            if frame.time_s >= self._due_s:
                self._look(frame.time_s)
            if tracks.alive is not None:
                self._held.intersection_update(tracks.alive.tolist())
        except Exception as error:  # noqa: BLE001 - see the class
            self._break(error)

    def state(self) -> dict[str, object] | None:
        """Return a snapshot as JSON values; None if watching has failed."""
        if self._broken:
            return None
        try:
            rows = _samples(self._rows, self._early)
            found = _State(
                self._drawn,
                self._size_wh,
                self._first_s,
                self._due_s,
                self._steps,
                list(self._seen.values()),
                [line.crossings.state() for line in self._lines],
                [zone.stays.state() for zone in self._zones],
                [] if rows is None else _listed(rows),
                [(notice.id, notice.body.decode("ascii")) for notice in self._outbox.waiting(self._identity)],
                sorted(self._held),
            )
            value: dict[str, object] = _states().dump_python(found, mode="json")
        except Exception as error:  # noqa: BLE001 - see the class
            self._break(error)
            return None
        return value

    def end(self) -> None:
        """Process the end of the stream."""
        if self._broken:
            return
        try:
            self._look(self._due_s)
            for track_id in list(self._seen):
                self._end_track(track_id)
        except Exception as error:  # noqa: BLE001 - see the class
            self._break(error)

    def _break(self, error: Exception) -> None:
        self._broken = True
        log.warning("%s: sends no more events: %s", self._video, error, exc_info=error)

    def _restore(self, state: _State) -> None:
        for event_id, body in state.waiting:
            self._outbox.tell(Notice(event_id, body.encode("ascii"), self._identity))
        self._first_s, self._due_s, self._steps = state.first_s, state.due_s, state.steps
        self._seen = {each.track_id: each for each in state.seen}
        self._held = set(state.held)
        if state.scene != self._drawn:
            return  # lines and zones have changed
        if state.rows:
            self._early = _of_rows(state.rows)
        if state.size_wh is None:
            return
        self._arrange(state.size_wh)
        for line, approaches in zip(self._lines, state.lines, strict=True):
            line.crossings.restore(approaches)
        for zone, stays in zip(self._zones, state.zones, strict=True):
            zone.stays.restore(stays)

    def _arrange(self, size_wh: tuple[int, int]) -> None:
        self._size_wh = size_wh
        self._scene.check_aspect(size_wh, self._video)
        self._lines = [
            _Line(line.name, (line.into, line.out), line.classes, Crossings(self._scene.line_shape(line, size_wh)))
            for line in self._scene.lines
        ]
        loiter_s = self._settings.loiter_s
        self._zones = [
            _Zone(zone.name, zone.classes, Stays(self._scene.zone_shape(zone, size_wh)), zone.loiter_s or loiter_s)
            for zone in self._scene.zones
        ]

    def _look(self, now_s: float) -> None:
        """Process the batched rows."""
        samples = _samples(self._rows, self._early)
        self._rows, self._early, self._due_s = [], None, now_s + _EVERY_S
        if samples is not None:
            self._feed(samples.by_track())
        oldest = self._steps - self._settings.gone_after - 1
        for track_id in [track_id for track_id, seen in self._seen.items() if seen.step < oldest]:
            self._end_track(track_id)
            self._held.add(track_id)

    def _feed(self, tracks: Tracked) -> None:
        for track_id, track in tracks:
            new = track_id not in self._seen and track_id not in self._held
            self._held.discard(track_id)
            self._seen[track_id] = _Seen(track_id, self._names[int(track.class_ids[-1])], self._steps)
            if new:
                self._tell("track", track_id, float(track.times_s[0]), int(track.frames[0]))
        for line in self._lines:
            for crossing in line.crossings.feed(tracks):
                self._crossed(line, crossing)
        for zone in self._zones:
            self._in_zone(zone, tracks)

    def _in_zone(self, zone: _Zone, tracks: Tracked) -> None:
        before = {track_id: zone.stays.of(track_id) for track_id in tracks.ids}
        stays: defaultdict[int, list[Stay]] = defaultdict(list)
        ended = zone.stays.feed(tracks)
        for stay in ended:
            stays[stay.track_id].append(stay)
        for track_id, track in tracks:
            if (now := zone.stays.of(track_id)) is not None:
                stays[track_id].append(now)
            for stay in stays[track_id]:
                earlier = before[track_id]
                known = earlier if earlier is not None and earlier.first == stay.first else None
                if known is None:
                    self._tell_stay("enter", zone, stay)
                if zone.loiter_s is not None and _lasts(stay, zone.loiter_s) and not _lasts(known, zone.loiter_s):
                    due_s = stay.first.time_s + zone.loiter_s - _ROUNDED_S
                    inside, _ = zone.stays.inside(track)
                    since = int(np.flatnonzero(inside & (track.times_s >= due_s))[0])
                    self._tell_stay("loiter", zone, stay, float(track.times_s[since]) - stay.first.time_s)
        for stay in ended:
            self._tell_stay("stay", zone, stay, stay.dwell_s)

    def _end_track(self, track_id: int) -> None:
        for line in self._lines:
            for crossing in line.crossings.end(track_id):
                self._crossed(line, crossing)
        for zone in self._zones:
            for stay in zone.stays.end(track_id):
                self._tell_stay("stay", zone, stay, stay.dwell_s)
        self._seen.pop(track_id, None)

    def _crossed(self, line: _Line, crossing: Crossing) -> None:
        if line.classes is None or self._seen[crossing.track_id].class_name in line.classes:
            direction = line.words[0] if crossing.positive else line.words[1]
            at = crossing.at
            self._tell("crossing", crossing.track_id, at.video_s, round(at.frame), line.name, direction)

    def _tell_stay(self, kind: str, zone: _Zone, stay: Stay, dwell_s: float | None = None) -> None:
        if zone.classes is None or self._seen[stay.track_id].class_name in zone.classes:
            first = stay.first
            frame, born = round(first.frame), stay.born_inside
            self._tell(kind, stay.track_id, first.video_s, frame, zone.name, "", dwell_s, born)

    def _tell(
        self,
        kind: str,
        track_id: int,
        second: float,
        frame: int,
        place: str = "",
        direction: str = "",
        dwell_s: float | None = None,
        born_inside: bool | None = None,
    ) -> None:
        if kind not in self._kinds:
            return
        at = None
        if self._live:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
        elif self._clock is not None and (moment := self._clock.at(second - (self._first_s or 0.0))) is not None:
            at = moment.isoformat(timespec="milliseconds")
        what = (self._identity, kind, track_id, place, direction, frame, round(second, 6))
        event_id = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
        event = {
            "id": event_id,
            "schema": 1,
            "kind": kind,
            "video": self._video,
            "at": at,
            "video_s": round(second, 3),
            "frame": frame,
            "track_id": track_id,
            "class": self._seen[track_id].class_name,
            "place": place,
            "direction": direction,
            "dwell_s": None if dwell_s is None else round(dwell_s, 3),
            "born_inside": born_inside,
        }
        self._outbox.tell(Notice(event_id, _encoded(event), self._identity, self._live))


def _lasts(stay: Stay | None, seconds: float) -> bool:
    return stay is not None and stay.dwell_s >= seconds - _ROUNDED_S


def _encoded(event: Mapping[str, object]) -> bytes:
    """Encode as ASCII JSON, so that no receiver can misread a name."""
    return json.dumps(event).encode("ascii") + b"\n"


def _samples(rows: Sequence[Tracks], early: Samples | None) -> Samples | None:
    """Return rows as samples, after the `early` ones; None if there are none."""
    if not rows:
        return early
    counts = [len(tracks) for tracks in rows]

    def each(values: Sequence[float]) -> NDArray[np.float64]:
        return np.repeat(np.array(values, np.float64), counts)

    found = Samples(
        each([tracks.frame.index for tracks in rows]).astype(np.int64),
        np.repeat(np.array([tracks.frame.pts for tracks in rows], np.int64), counts),
        each([tracks.frame.time_s for tracks in rows]),
        np.concatenate([tracks.track_ids for tracks in rows]),
        np.concatenate([tracks.class_ids.astype(np.int64) for tracks in rows]),
        np.concatenate([tracks.scores.astype(np.float64) for tracks in rows]),
        np.concatenate([tracks.boxes_xyxy for tracks in rows]),
    )
    return found if early is None else _of_rows([*_listed(early), *_listed(found)])


def _listed(samples: Samples) -> list[tuple[int, int, float, int, int, float, float, float, float, float]]:
    columns = (samples.frames, samples.pts, samples.times_s, samples.track_ids, samples.class_ids, samples.scores)
    return list(zip(*(column.tolist() for column in (*columns, *samples.boxes_xyxy.T)), strict=True))


def _of_rows(rows: Sequence[tuple[int, int, float, int, int, float, float, float, float, float]]) -> Samples:
    frames, pts, times_s, ids, classes, scores, *box = zip(*rows, strict=True)
    return Samples(
        np.array(frames, np.int64),
        np.array(pts, np.int64),
        np.array(times_s, np.float64),
        np.array(ids, np.int64),
        np.array(classes, np.int64),
        np.array(scores, np.float64),
        np.array(box, np.float64).T,
    )
