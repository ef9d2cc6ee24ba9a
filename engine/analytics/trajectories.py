"""A whole track in numbers: its class by vote, when and for how long it was seen, its path length and speed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import hypot
from typing import NamedTuple

import numpy as np

from engine.analytics.geometry import Floats, anchors
from engine.analytics.ground import Ground, speed_m_s
from engine.analytics.samples import Samples, Tracked

# Places kept per track for its speed; when there are more, every second one is dropped.
_MAX_PLACES = 64


class Trajectory(NamedTuple):
    """A whole track. Times are seconds of its camera's timeline, lengths are pixels. `votes` has the sum of scores of
    each class, `class_name` is the one with the largest. In `best_frame` the object is large, its score high, and it is
    clear of the frame's edge."""

    track_id: int
    video: str
    class_name: str
    votes: dict[str, float]
    first_frame: int
    last_frame: int
    first_s: float
    last_s: float
    rows: int
    path_px: float
    mean_score: float
    best_frame: int
    best_video: str
    best_box_xyxy: tuple[float, float, float, float]
    speed_kmh: float | None = None
    path_m: float | None = None

    @property
    def duration_s(self) -> float:
        return self.last_s - self.first_s


@dataclass(slots=True, eq=False, repr=False)
class _Growing:
    video: str
    first_frame: int
    first_s: float
    last_frame: int = 0
    last_s: float = 0.0
    rows: int = 0
    score: float = 0.0
    path_px: float = 0.0
    votes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    last_x: float = 0.0
    last_y: float = 0.0
    best: float = -1.0
    best_frame: int = 0
    best_video: str = ""
    best_box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    places: list[tuple[float, float, float]] = field(default_factory=list)
    stride: int = 1


class Trajectories:
    """Accumulates tracks that arrive in chunks. Memory is bounded by the number of tracks, not by their length."""

    def __init__(self, ground: Ground | None = None) -> None:
        self._ground = ground
        self._tracks: dict[int, _Growing] = {}

    def feed(self, tracks: Tracked, size_wh: tuple[int, int]) -> None:
        """Add the next samples of some tracks, from a video whose upright frame has this size."""
        rows, starts = tracks.samples, tracks.starts
        times_s = rows.times_s + rows.offset_s
        points = anchors(rows.boxes_xyxy, "bottom")
        steps = np.zeros(len(rows))
        steps[1:] = np.hypot(*np.diff(points, axis=0).T)
        steps[starts] = 0.0  # to another track
        ways, scores = np.add.reduceat(steps, starts).tolist(), np.add.reduceat(rows.scores, starts).tolist()
        least = np.minimum.reduceat(rows.class_ids, starts).tolist()
        most = np.maximum.reduceat(rows.class_ids, starts).tolist()
        worth = _worth(rows, size_wh)
        worths = np.maximum.reduceat(worth, starts)
        where = np.flatnonzero(worth == tracks.repeated(worths))
        best = where[np.searchsorted(where, starts)]  # each track's first best sample
        firsts = zip(rows.frames[starts].tolist(), times_s[starts].tolist(), points[starts].tolist(), strict=True)
        bests = zip(worths.tolist(), rows.frames[best].tolist(), rows.boxes_xyxy[best].tolist(), strict=True)
        ends = points[tracks.stops - 1].tolist()
        for number, (track_id, start, stop) in enumerate(tracks.spans):
            first_frame, first_s, (x, y) = next(firsts)
            worth_of_best, best_frame, best_box = next(bests)
            track = self._tracks.get(track_id)
            if track is None:
                track = self._tracks[track_id] = _Growing(rows.video, first_frame, first_s)
            else:
                track.path_px += hypot(x - track.last_x, y - track.last_y)
            track.path_px += ways[number]
            track.last_x, track.last_y = ends[number]
            if self._ground is not None:
                for index in range(start + (-track.rows) % track.stride, stop, track.stride):
                    track.places.append((float(times_s[index]), float(points[index, 0]), float(points[index, 1])))
                while len(track.places) > _MAX_PLACES:
                    track.places = track.places[::2]
                    track.stride *= 2
            track.rows += stop - start
            last = tracks.last.rows[number]
            track.last_frame, track.last_s = last.frame, last.time_s + last.offset_s
            track.score += scores[number]
            if least[number] == most[number]:
                name = rows.class_names.get(least[number], str(least[number]))
                track.votes[name] += scores[number]
            else:
                kinds, sure = rows.class_ids[start:stop], rows.scores[start:stop]
                for class_id in sorted(set(kinds.tolist())):
                    name = rows.class_names.get(class_id, str(class_id))
                    track.votes[name] += float(sure[kinds == class_id].sum())
            if worth_of_best > track.best:
                track.best, track.best_frame, track.best_video = worth_of_best, best_frame, rows.video
                x1, y1, x2, y2 = best_box
                track.best_box = (x1, y1, x2, y2)

    @property
    def ids(self) -> list[int]:
        return sorted(self._tracks)

    def end(self) -> list[Trajectory]:
        """Return all tracks, by id."""
        return [self._whole(track_id, track) for track_id, track in sorted(self._tracks.items())]

    def _whole(self, track_id: int, track: _Growing) -> Trajectory:
        name = max(sorted(track.votes), key=lambda kind: track.votes[kind])
        speed = path = None
        if self._ground is not None and track.places:
            places = np.array(track.places)
            metres = self._ground.metres(places[:, 1:])
            on_ground = np.isfinite(metres).all(axis=1)
            times_s, metres = places[on_ground, 0], metres[on_ground]
            path = float(np.hypot(*np.diff(metres, axis=0).T).sum()) if len(metres) else None
            slope = speed_m_s(times_s, metres)
            speed = slope * 3.6 if slope is not None else None
        return Trajectory(
            track_id,
            track.video,
            name,
            {kind: track.votes[kind] for kind in sorted(track.votes)},
            track.first_frame,
            track.last_frame,
            track.first_s,
            track.last_s,
            track.rows,
            track.path_px,
            track.score / track.rows,
            track.best_frame,
            track.best_video,
            track.best_box,
            speed,
            path,
        )


def _worth(samples: Samples, size_wh: tuple[int, int]) -> Floats:
    """Return (N,) how well each sample shows the object: score times area, a quarter of that at the frame's edge."""
    x1, y1, x2, y2 = samples.boxes_xyxy.T
    at_edge = (x1 <= 1) | (y1 <= 1) | (x2 >= size_wh[0] - 1) | (y2 >= size_wh[1] - 1)
    area = np.clip(x2 - x1, 0, None) * np.clip(y2 - y1, 0, None)
    return np.asarray(samples.scores * area * np.where(at_edge, 0.25, 1.0))
