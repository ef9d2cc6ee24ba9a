"""The tracks of one video as arrays, each with one class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from engine.analytics import read_tracks
from engine.finished import FinishedVideo


@dataclass(frozen=True)
class TrackBoxes:
    """One track in N frames, in order: frames (N,) int64 from 0, times_s (N,) float64 of the container, scores (N,)
    float64, boxes_xyxy (N, 4) float64 in pixels of the upright frame. `class_name` is the class with the largest sum of
    scores."""

    track_id: int
    class_name: str
    frames: NDArray[np.int64]
    times_s: NDArray[np.float64]
    scores: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float64]

    def clipped(self, size_wh: tuple[int, int]) -> TrackBoxes:
        """Return the track clipped to the frame."""
        boxes = self.boxes_xyxy.copy()
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, size_wh[0])
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, size_wh[1])
        kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        return replace(self, boxes_xyxy=boxes).take(kept)

    def between(self, first: int, last: int) -> TrackBoxes:
        """Return the part in these frames, ends included, renumbered from the first of them."""
        kept = (self.frames >= first) & (self.frames <= last)
        part = self.take(kept)
        return replace(part, frames=part.frames - first)

    def take(self, kept: NDArray[np.bool_] | NDArray[np.intp]) -> TrackBoxes:
        """Return the rows at these indices."""
        return replace(
            self,
            frames=self.frames[kept],
            times_s=self.times_s[kept],
            scores=self.scores[kept],
            boxes_xyxy=self.boxes_xyxy[kept],
        )

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class VideoBoxes:
    """The tracks of one video by id, clipped to its frame. `frames` is the number of the file's frames up to the last
    output one, so frame numbers of rows are below it. `stem` is its place in an export."""

    video: FinishedVideo
    size_wh: tuple[int, int]
    frames: int
    tracks: tuple[TrackBoxes, ...]
    rate: Fraction
    stem: PurePosixPath

    def part(self, first: int, last: int) -> VideoBoxes:
        """Return these frames, ends included, as a separate video."""
        tracks = (track.between(first, last) for track in self.tracks)
        return replace(self, frames=last - first + 1, tracks=tuple(track for track in tracks if len(track)))


def boxes_of(video: FinishedVideo, tick: Callable[[], None] = lambda: None) -> VideoBoxes | None:
    """Read the tracks of a video; None if no frame was examined. Raises InputError."""
    if video.tracks is None or video.size_wh is None:
        return None
    found: defaultdict[int, list[tuple[NDArray[np.float64], ...]]] = defaultdict(list)
    votes: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for samples in read_tracks(video.tracks):
        for track_id, rows in samples.by_track():
            found[track_id].append(
                (rows.frames.astype(np.float64), rows.times_s, rows.scores, *rows.boxes_xyxy.T.astype(np.float64))
            )
            for class_id in np.unique(rows.class_ids):
                name = rows.class_names.get(int(class_id), str(class_id))
                votes[track_id][name] += float(rows.scores[rows.class_ids == class_id].sum())
        tick()
    tracks, highest = [], -1
    for track_id in sorted(found):
        columns = np.concatenate([np.stack(part, axis=1) for part in found[track_id]])
        _, first = np.unique(columns[:, 0], return_index=True)
        columns = columns[first]
        frames = columns[:, 0].astype(np.int64)
        highest = max(highest, int(frames[-1]))
        name = max(sorted(votes[track_id]), key=lambda kind: votes[track_id][kind])
        track = TrackBoxes(track_id, name, frames, columns[:, 1], columns[:, 2], columns[:, 3:7])
        if len(inside := track.clipped(video.size_wh)):
            tracks.append(inside)
    rate = 1 / video.step_s if video.step_s else Fraction(25)
    return VideoBoxes(video, video.size_wh, max(video.frames, highest + 1), tuple(tracks), rate, video.stem)


def classes_of(videos: Sequence[VideoBoxes]) -> tuple[str, ...]:
    """Return the names of all classes, in the same order for all videos."""
    return tuple(sorted({track.class_name for video in videos for track in video.tracks}))
