"""Where objects were: for each class, how long each cell of the frame was stood in, and by how many tracks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise

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
        if not len(samples):
            return
        height, width = self.shape
        points = anchors(samples.boxes_xyxy, "bottom")
        x = np.clip(points[:, 0] * width / self._size_wh[0], 0, width - 1).astype(np.int64)
        y = np.clip(points[:, 1] * height / self._size_wh[1], 0, height - 1).astype(np.int64)
        # All tracks at once, one after the other, in the order of their ids.
        order = np.argsort(samples.track_ids, kind="stable")
        ids, cells = samples.track_ids[order], (y * width + x)[order]
        kinds, times = samples.class_ids[order], (samples.times_s + samples.offset_s)[order]
        starts = np.flatnonzero(np.diff(ids, prepend=ids[0] - 1))
        steps = np.diff(times, append=times[-1])
        steps[np.append(starts[1:], len(ids)) - 1] = 0.0  # to another track
        steps[(steps < 0) | (steps > _LONGEST_STEP_S)] = 0.0
        # As each row has it: the vote of the whole track is not known before its end.
        for kind in np.unique(kinds).tolist():
            found = self._classes.setdefault(samples.class_names.get(kind, str(kind)), self._empty())
            chosen = kinds == kind
            np.add.at(found.dwell_s, cells[chosen], steps[chosen])
            for track_id, cell in np.unique(np.stack((ids[chosen], cells[chosen]), axis=1), axis=0).tolist():
                seen = found.seen.setdefault(track_id, set())
                if cell not in seen:
                    seen.add(cell)
                    found.tracks[cell] += 1
        for start, stop in pairwise((*starts.tolist(), len(ids))):
            track_id = int(ids[start])
            if (last := self._last.get(track_id)) is not None:  # from the piece before
                step = float(times[start]) - last[0]
                self._classes[last[2]].dwell_s[last[1]] += step if 0 <= step <= _LONGEST_STEP_S else 0.0
            kind = int(kinds[stop - 1])
            name = samples.class_names.get(kind, str(kind))
            self._last[track_id] = (float(times[stop - 1]), int(cells[stop - 1]), name)

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
