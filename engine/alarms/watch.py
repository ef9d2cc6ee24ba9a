"""Events of a stream as its tracks come: lines crossed, stays ended, tracks begun."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from engine.analytics import Clock, Samples, Scene
from engine.analytics.crossings import Crossing, Crossings
from engine.analytics.samples import Tracked
from engine.analytics.stays import Stay, Stays
from engine.records import StreamInfo, Tracks

log = logging.getLogger(__name__)

KINDS = ("crossing", "stay", "track")
# Rows are looked at together for so long, and a track that was not seen for so long has ended.
_EVERY_S, _GONE_S = 0.5, 5.0


class StreamWatch:
    """Finds the events of one stream. `see` and `end` never raise: what goes wrong here is no fault of the video's."""

    def __init__(
        self,
        video: str,
        names: Sequence[str],
        scene: Scene | None,
        kinds: Sequence[str],
        clock: Callable[[str | None], Clock],
        tell: Callable[[Mapping[str, object], Callable[[Mapping[str, object]], bytes]], None],
    ) -> None:
        """`clock` gives the video's clock, from its container's creation time; `tell` takes each event."""
        self._video, self._names, self._scene = video, names, scene or Scene()
        has_places = bool(self._scene.lines or self._scene.zones)
        self._kinds = frozenset(kinds or (("crossing", "stay") if has_places else ("track",)))
        self._clock_of, self._tell = clock, tell
        self._clock: Clock | None = None
        self._live = False
        self._first_s: float | None = None
        self._size_wh: tuple[int, int] | None = None
        self._lines: list[tuple[str, tuple[str, str], tuple[str, ...] | None, Crossings]] = []
        self._zones: list[tuple[str, tuple[str, ...] | None, Stays]] = []
        self._rows: list[Tracks] = []
        self._seen: dict[int, float] = {}
        self._classes: dict[int, str] = {}
        self._broken = False

    def open(self, info: StreamInfo) -> None:
        """Learn what the stream is."""
        self._live = info.live
        self._clock = None if info.live else self._clock_of(info.creation_time)

    def see(self, tracks: Tracks) -> None:
        """Take the tracks of the next frame."""
        if self._broken:
            return
        try:
            frame = tracks.frame
            if self._first_s is None:
                self._first_s = frame.time_s
            if frame.image is not None and self._size_wh != (frame.image.width, frame.image.height):
                self._look()
                self._arrange((frame.image.width, frame.image.height))
            # The image goes on its way: nobody is to hold it here.
            self._rows.append(replace(tracks, frame=replace(frame, image=None, audio=()), detections=None, state=None))
            if frame.time_s - self._rows[0].frame.time_s >= _EVERY_S:
                self._look()
        except Exception as error:  # noqa: BLE001 - see above
            self._break(error)

    def end(self) -> None:
        """Take the end of the stream."""
        if self._broken:
            return
        try:
            self._look()
            for track_id in list(self._seen):
                self._end_track(track_id)
        except Exception as error:  # noqa: BLE001 - see above
            self._break(error)

    def _break(self, error: Exception) -> None:
        self._broken = True
        log.warning("%s: no more events of it are told: %s", self._video, error, exc_info=error)

    def _arrange(self, size_wh: tuple[int, int]) -> None:
        self._size_wh = size_wh
        self._scene.check_aspect(size_wh, self._video)
        self._lines = [
            (line.name, (line.into, line.out), line.classes, Crossings(self._scene.line_shape(line, size_wh)))
            for line in self._scene.lines
        ]
        self._zones = [
            (zone.name, zone.classes, Stays(self._scene.zone_shape(zone, size_wh))) for zone in self._scene.zones
        ]

    def _look(self) -> None:
        """Feed what has gathered."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        now_s = rows[-1].frame.time_s
        if samples := _samples(rows):
            self._feed(samples.by_track())
        for track_id in [track_id for track_id, seen_s in self._seen.items() if now_s - seen_s > _GONE_S]:
            self._end_track(track_id)

    def _feed(self, tracks: Tracked) -> None:
        for track_id, track in tracks:
            name = self._classes[track_id] = self._names[int(track.class_ids[-1])]
            if track_id not in self._seen and "track" in self._kinds:
                self._emit("track", track_id, name, float(track.times_s[0]), int(track.frames[0]))
            self._seen[track_id] = float(track.times_s[-1])
        for place, words, classes, crossings in self._lines:
            for crossing in crossings.feed(tracks):
                self._crossed(place, words, classes, crossing)
        for place, classes, stays in self._zones:
            for stay in stays.feed(tracks):
                self._stayed(place, classes, stay)

    def _end_track(self, track_id: int) -> None:
        for place, words, classes, crossings in self._lines:
            for crossing in crossings.end(track_id):
                self._crossed(place, words, classes, crossing)
        for place, classes, stays in self._zones:
            for stay in stays.end(track_id):
                self._stayed(place, classes, stay)
        self._seen.pop(track_id, None)
        self._classes.pop(track_id, None)

    def _crossed(self, place: str, words: tuple[str, str], classes: Sequence[str] | None, crossing: Crossing) -> None:
        name = self._classes[crossing.track_id]
        if "crossing" in self._kinds and (classes is None or name in classes):
            direction = words[0] if crossing.positive else words[1]
            at = crossing.at
            self._emit("crossing", crossing.track_id, name, at.video_s, round(at.frame), place, direction)

    def _stayed(self, place: str, classes: Sequence[str] | None, stay: Stay) -> None:
        name = self._classes[stay.track_id]
        if "stay" in self._kinds and (classes is None or name in classes):
            first = stay.first
            self._emit("stay", stay.track_id, name, first.video_s, round(first.frame), place, "", stay.dwell_s)

    def _emit(
        self,
        kind: str,
        track_id: int,
        class_name: str,
        second: float,
        frame: int,
        place: str = "",
        direction: str = "",
        dwell_s: float | None = None,
    ) -> None:
        at = None
        if self._live:
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
        elif self._clock is not None and (moment := self._clock.at(second - (self._first_s or 0.0))) is not None:
            at = moment.isoformat(timespec="milliseconds")
        event = {
            "schema": 1,
            "kind": kind,
            "video": self._video,
            "at": at,
            "video_s": round(second, 3),
            "frame": frame,
            "track_id": track_id,
            "class": class_name,
            "place": place,
            "direction": direction,
            "dwell_s": None if dwell_s is None else round(dwell_s, 3),
        }
        self._tell(event, _encoded)


def _encoded(event: Mapping[str, object]) -> bytes:
    """ASCII, whatever stands in names: no receiver can take a part of one for something else."""
    return json.dumps(event).encode() + b"\n"


def _samples(rows: Sequence[Tracks]) -> Samples | None:
    counts = [len(tracks) for tracks in rows]
    if not sum(counts):
        return None

    def each(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.repeat(np.array(values, np.float64), counts)

    return Samples(
        each([tracks.frame.index for tracks in rows]).astype(np.int64),
        each([tracks.frame.pts for tracks in rows]).astype(np.int64),
        each([tracks.frame.time_s for tracks in rows]),
        np.concatenate([tracks.track_ids for tracks in rows]),
        np.concatenate([tracks.class_ids.astype(np.int64) for tracks in rows]),
        np.concatenate([tracks.scores.astype(np.float64) for tracks in rows]),
        np.concatenate([tracks.boxes_xyxy for tracks in rows]),
    )
