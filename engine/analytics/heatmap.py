"""Where objects were: for each class, how long each cell of the frame was stood in, and by how many tracks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import anchors
from engine.analytics.samples import Samples

COLUMNS = 64
"""Cells across a frame; as many down as make them square."""

# Rows further apart are of a hole in the track, in which nobody knows where it was.
_LONGEST_STEP_S = 1.0


@dataclass
class _Class:
    dwell_s: NDArray[np.float64]
    tracks: NDArray[np.int64]
    seen: dict[int, set[int]] = field(default_factory=dict)
    """The cells that each track was in."""


class Heatmap:
    """The heatmap of one camera, from rows given in pieces. A track counts once in a cell, however often it comes back;
    its dwell there is the time to its next row. The point is the middle of the box's lower edge, as for lines."""

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.shape = (max(1, round(COLUMNS * size_wh[1] / size_wh[0])), COLUMNS)
        self._size_wh = size_wh
        self._classes: dict[str, _Class] = {}
        self._last: dict[int, tuple[float, int, str]] = {}  # of each track: time, cell, class of its last row

    def feed(self, samples: Samples) -> None:
        """Take the next rows, of frames of the heatmap's size."""
        height, width = self.shape
        for track_id, track in samples.by_track():
            points = anchors(track.boxes_xyxy, "bottom")
            x = np.clip(points[:, 0] * width / self._size_wh[0], 0, width - 1).astype(np.int64)
            y = np.clip(points[:, 1] * height / self._size_wh[1], 0, height - 1).astype(np.int64)
            cells, times = y * width + x, track.times_s + track.offset_s
            # As each row has it: the vote of the whole track is not known before its end.
            names = [track.class_names.get(int(class_id), str(class_id)) for class_id in track.class_ids]
            if (last := self._last.get(track_id)) is not None:
                times = np.concatenate(([last[0]], times))
                cells = np.concatenate(([last[1]], cells))
                names = [last[2], *names]
            steps = np.diff(times, append=times[-1])
            steps[(steps < 0) | (steps > _LONGEST_STEP_S)] = 0.0
            of_class = np.array(names)
            for name in dict.fromkeys(names):
                chosen = of_class == name
                found = self._classes.setdefault(name, self._empty())
                np.add.at(found.dwell_s, cells[chosen], steps[chosen])
                seen = found.seen.setdefault(track_id, set())
                fresh = list(set(cells[chosen].tolist()) - seen)
                seen.update(fresh)
                found.tracks[fresh] += 1
            self._last[track_id] = (float(times[-1]), int(cells[-1]), names[-1])

    def table(self) -> dict[str, object]:
        """Return JSON values: `cells` (columns, rows), and of each class the cells that are not empty, as (column, row,
        tracks, seconds)."""
        classes = {}
        for name, found in sorted(self._classes.items()):
            cells = np.flatnonzero(found.tracks).tolist()
            classes[name] = [
                [cell % COLUMNS, cell // COLUMNS, int(found.tracks[cell]), round(float(found.dwell_s[cell]), 3)]
                for cell in cells
            ]
        return {"cells": [self.shape[1], self.shape[0]], "size_wh": list(self._size_wh), "classes": classes}

    def _empty(self) -> _Class:
        count = self.shape[0] * self.shape[1]
        return _Class(np.zeros(count), np.zeros(count, np.int64))


def to_json(heatmaps: dict[str, Heatmap]) -> str:
    """Return the heatmaps of all cameras, by name, as a JSON text."""
    return json.dumps({"schema": 1, "cameras": {name: each.table() for name, each in sorted(heatmaps.items())}}) + "\n"
