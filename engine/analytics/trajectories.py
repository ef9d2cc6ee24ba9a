"""What is known of a whole track: its class by vote, when and how long it was seen, how far and how fast it went."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from engine.analytics.geometry import Floats, anchors
from engine.analytics.ground import Ground, speed_m_s
from engine.analytics.samples import Samples

# Places of a track that are kept for its speed; every second is dropped when there are more.
_MAX_PLACES = 64


@dataclass(frozen=True)
class Trajectory:
    """A whole track. Times are seconds of its camera's timeline, lengths pixels; `votes` has each class's sum of
    scores, and `class_name` is the one with most. `best_frame` shows it largest, surest and clear of the frame's edge.
    """

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


@dataclass
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
    last_point: Floats | None = None
    best: float = -1.0
    best_frame: int = 0
    best_video: str = ""
    best_box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    places: list[tuple[float, float, float]] = field(default_factory=list)
    stride: int = 1


class Trajectories:
    """Adds up tracks that are given in pieces. Memory is bounded by the number of tracks, not by their length."""

    def __init__(self, ground: Ground | None = None) -> None:
        self._ground = ground
        self._tracks: dict[int, _Growing] = {}

    def feed(self, track_id: int, samples: Samples, size_wh: tuple[int, int]) -> None:
        """Take the next samples of a track, at least one, from a video whose upright frame has this size."""
        times_s = samples.times_s + samples.offset_s
        track = self._tracks.get(track_id)
        if track is None:
            track = self._tracks[track_id] = _Growing(samples.video, int(samples.frames[0]), float(times_s[0]))
        points = anchors(samples.boxes_xyxy, "bottom")
        whole = points if track.last_point is None else np.vstack((track.last_point, points))
        track.path_px += float(np.hypot(*np.diff(whole, axis=0).T).sum())
        track.last_point = points[-1]
        if self._ground is not None:
            for index in range((-track.rows) % track.stride, len(samples), track.stride):
                track.places.append((float(times_s[index]), float(points[index, 0]), float(points[index, 1])))
            while len(track.places) > _MAX_PLACES:
                track.places = track.places[::2]
                track.stride *= 2
        track.rows += len(samples)
        track.last_frame, track.last_s = int(samples.frames[-1]), float(times_s[-1])
        track.score += float(samples.scores.sum())
        for class_id in np.unique(samples.class_ids):
            name = samples.class_names.get(int(class_id), str(class_id))
            track.votes[name] += float(samples.scores[samples.class_ids == class_id].sum())
        worth = _worth(samples, size_wh)
        best = int(worth.argmax())
        if worth[best] > track.best:
            track.best, track.best_frame, track.best_video = (
                float(worth[best]),
                int(samples.frames[best]),
                samples.video,
            )
            x1, y1, x2, y2 = samples.boxes_xyxy[best].tolist()
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
            path = float(np.hypot(*np.diff(metres, axis=0).T).sum())
            slope = speed_m_s(places[:, 0], metres)
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
    """Return (N,) how good each sample shows the object: score times area, a quarter of that at the frame's edge."""
    x1, y1, x2, y2 = samples.boxes_xyxy.T
    at_edge = (x1 <= 1) | (y1 <= 1) | (x2 >= size_wh[0] - 1) | (y2 >= size_wh[1] - 1)
    area = np.clip(x2 - x1, 0, None) * np.clip(y2 - y1, 0, None)
    return np.asarray(samples.scores * area * np.where(at_edge, 0.25, 1.0))
