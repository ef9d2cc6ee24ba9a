"""A file's place behind the one before it of the same camera: when it begins on the camera's timeline, which of its
frames were there before, and the tracker that continues.

What a file leaves to the next is kept with its verdict, as JSON values, so that a run that was killed continues with
it.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from fractions import Fraction
from typing import TYPE_CHECKING

from engine.analytics.clock import Clock, ClockOrigin
from engine.analytics.naming import camera_of, name_of, natural
from engine.analytics.settings import AnswerSettings
from engine.analytics.timeline import Film, Placed, place
from engine.media.inputs import Video
from engine.records import Frame, StreamInfo, TrackerState
from engine.resume.journal import CarriedJson
from engine.stages.track import StreamTracker, Track
from engine.summary import SequenceJson

if TYPE_CHECKING:
    from engine.analytics.heatmap import HeatmapState
    from engine.sinks.scene_overlay import CountsJson

# Frames whose sketches are kept: two seconds of 60 a second.
_MAX_TAIL = 120

# How far, in shares of a frame's length, the first frame of a file may be off its nominal place behind the last one.
_NEAR = Fraction(1, 20)


def chains(videos: Sequence[Video], settings: AnswerSettings) -> dict[int, int]:
    """Return for each video, by its number, the one before it of the same camera, if there is one: by the clocks in
    their names where all have one, else by their names."""
    if settings.camera is None:
        return {}
    names = [name_of({"path": video.path, "stem": video.stem}) for video in videos]
    cameras: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        cameras.setdefault(camera_of(name, settings.camera), []).append(number)
    before: dict[int, int] = {}
    for numbers in cameras.values():
        starts = {number: settings.clock(names[number], None).start for number in numbers}
        timed = all(start is not None for start in starts.values())

        def order(
            number: int, timed: bool = timed, starts: dict[int, datetime | None] = starts
        ) -> tuple[float, tuple[tuple[int, int, str], ...]]:
            start = starts[number]
            return start.timestamp() if timed and start is not None else 0.0, natural(names[number])

        numbers.sort(key=order)
        before |= dict(zip(numbers[1:], numbers[:-1], strict=True))
    return before


class Place:
    """The place of one file. `begin` it, `arrive` at its first frame, `leave` at its end."""

    def __init__(self, video: Video, settings: AnswerSettings, before: Callable[[], CarriedJson | None]) -> None:
        """`before` gives what the file before left, once that one has ended; None: there is none."""
        self._name = name_of({"path": video.path, "stem": video.stem})
        self._settings = settings
        self._before = before
        self._carried: CarriedJson | None = None
        self._placed: Placed | None = None
        self._film: Film | None = None
        self._last: Fraction | None = None  # of the previous file, on this one's clock
        self._uncertain = False
        self._overlap_s = 0.0
        self.tail: deque[int] = deque(maxlen=_MAX_TAIL)
        """Sketches of the last frames, as far back as an overlap may reach."""
        self.state: TrackerState | None = None
        """The tracker behind the last frame, once it is there."""

    def begin(self) -> None:
        self._carried = self._before()

    @property
    def digest(self) -> str:
        """What the file before left, in short: results depend on it."""
        return hashlib.sha256(json.dumps(self._carried, sort_keys=True).encode()).hexdigest()

    @property
    def has_arrived(self) -> bool:
        return self._placed is not None

    def arrive(self, first_pts: int, info: StreamInfo) -> None:
        """Take the time of the file's first frame; only the first time that it is told."""
        if self._placed is not None:
            return
        settings, carried = self._settings, self._carried
        first_s = float(first_pts * info.time_base)
        clock = settings.clock(self._name, info.creation_time)
        film = Film(self._name, "", None, first_s, (first_s, first_s), None, clock)
        before = first = None
        if carried is not None:
            ended = (carried["first_s"], carried["end_s"])
            before = Placed(Film("", "", None, ended[0], ended, None, _clock(carried["start"])), carried["offset_s"])
            first = Placed(Film("", "", clock=_clock(carried["zero"])), 0.0)
        self._film, self._placed = film, place(film, before, first, settings.max_gap_s, settings.max_overlap_s)
        if before is not None and self._placed.joined and first_s + self._placed.offset_s == _end(before):
            self._uncertain = self._placed.offset_s != before.offset_s  # it was taken to follow at once
        if before is not None and not self._placed.joined:
            self._overlap_s = max(0.0, _end(before) - first_s - self._placed.offset_s)
        if carried is not None:
            shift = Fraction(carried["offset_s"]) - Fraction(self._placed.offset_s)
            self._last = Fraction(carried["last"]) + shift.limit_denominator(1_000_000)

    @property
    def heads(self) -> int:
        """How many frames at the file's head must be looked at to tell which of them the file before had: none where
        times tell it, or there is nothing before."""
        if self._carried is None or (self._placed is not None and not self._uncertain):
            return 0
        return len(self._carried.get("tail", ()))

    def recognise(self, sketches: Sequence[int], pts: Sequence[int], info: StreamInfo) -> None:
        """Take the sketches and pts of the file's first frames: where they are the last ones of the previous file, as
        many as there can be, it begins that much earlier. A still image tells nothing."""
        if self._carried is None or self._placed is None or self._last is None or not self._uncertain:
            return
        tail = self._carried.get("tail", [])
        for count in range(min(len(tail), len(sketches)), 1, -1):
            if tail[-count:] == list(sketches[:count]):
                if len(set(sketches[:count])) < 2:
                    return
                at = pts[count - 1] * info.time_base
                earlier = self._last - at
                if float((pts[count - 1] - pts[0]) * info.time_base) > self._settings.max_overlap_s:
                    continue
                self._placed = self._placed._replace(offset_s=self._placed.offset_s + float(earlier))
                self._last = at
                return

    def drops(self, pts: int, info: StreamInfo) -> bool:
        """Return whether a frame was there in the previous file: it does not lie behind that one's last."""
        if self._placed is None or not self._placed.joined or self._last is None:
            return False
        step_s = info.step_s or Fraction(0)
        return pts * info.time_base <= self._last + step_s / 2

    def tracker(self, track: Track, frame: Frame, info: StreamInfo) -> StreamTracker | None:
        """Return the tracker that continues at the file's first frame; None: it begins again. Where too much is missing
        between the files, it continues with its ids alone."""
        if self._carried is None or self._placed is None or self._last is None:
            return None
        state = TrackerState.from_json(self._carried["tracker"])
        tracker = track.fresh()
        if not self._placed.joined:
            tracker.forget_all(state)
            return tracker
        gap_s = frame.pts * frame.time_base - self._last
        if info.step_s and abs(gap_s - info.step_s) <= _NEAR * info.step_s:
            gap_s = info.step_s
        tracker.carry_on(state, max(gap_s, frame.time_base))
        return tracker

    def facts(self, continued: int) -> SequenceJson | None:
        """Return what the entry says: the camera, what leads from the file's times to the camera's timeline, and how
        many of the file's tracks the files before had."""
        if self._placed is None:
            return None
        camera = camera_of(self._name, self._settings.camera)
        found: SequenceJson = {
            "camera": camera,
            "offset_s": round(self._placed.offset_s, 6),
            "joined": self._placed.joined,
        }
        return {**found, "continued": continued} if continued else found

    def notes(self) -> Iterator[str]:
        """Yield remarks for the entry."""
        if self._overlap_s:
            yield (
                f"it begins {self._overlap_s:,.1f} seconds before the previous file of its camera ends, more than "
                "max_overlap_s: what happens then is counted in both"
            )

    @property
    def offset_us(self) -> int:
        """What leads from the file's times to the camera's timeline, as its entry has it, in microseconds."""
        return round(self._placed.offset_s * 1e6) if self._placed is not None else 0

    def heatmap_before(self) -> tuple[HeatmapState | None, int]:
        """Return what the file before left of a heatmap, by times of the camera's timeline, and how far these are ahead
        of this file's, in microseconds."""
        found = self._carried.get("heatmap") if self._carried is not None else None
        if found is None:
            return None, self.offset_us
        from engine.analytics.heatmap import HeatmapState  # a run without one starts without it

        return HeatmapState.from_json(found), self.offset_us

    def counts_before(self) -> tuple[CountsJson | None, bool]:
        """Return what the file before left of the counts that are drawn, and whether this one is joined to it."""
        joined = self._placed is not None and self._placed.joined
        return (self._carried.get("counts") if self._carried is not None else None), joined

    def tracks_before(self) -> list[int]:
        """Return the tracks of the files before that may come again."""
        return self._carried.get("tracks", []) if self._carried is not None else []

    def leave(
        self,
        tracks: list[int],
        heatmap: HeatmapState | None,
        counts: CountsJson | None,
        time_base: Fraction,
        end_s: float,
    ) -> CarriedJson | None:
        """Return what the next file needs; None if there is nothing new. `tracks` may come again. Without a `heatmap`
        or `counts` of this file that one continues with what was left to this."""
        if self.state is None or self._placed is None or self._film is None:
            return self._carried
        start = self._film.clock.start
        left = heatmap.to_json() if heatmap is not None else self._carried.get("heatmap") if self._carried else None
        carried: CarriedJson = {
            "tracker": self.state.to_json(),
            "tail": list(self.tail),
            "first_s": self._film.first_s,
            "end_s": end_s,
            "last": str(self.state.pts * time_base),
            "offset_s": self._placed.offset_s,
            "start": start.isoformat() if start is not None else None,
            "zero": self._carried["zero"] if self._carried else (start.isoformat() if start is not None else None),
            "tracks": tracks,
        }
        if left is not None:
            carried["heatmap"] = left
        if counts is None and self._carried is not None:
            counts = self._carried.get("counts")
        if counts is not None:
            carried["counts"] = counts
        return carried


def _end(placed: Placed) -> float:
    examined = placed.film.examined_s
    return (examined[1] if examined is not None else 0.0) + placed.offset_s


def _clock(start: str | None) -> Clock:
    if start is None:
        return Clock(None, ClockOrigin.NONE)
    return Clock(datetime.fromisoformat(start), ClockOrigin.NAME)
