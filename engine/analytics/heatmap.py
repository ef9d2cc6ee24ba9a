"""Where objects were: for each class and cell of the frame, the time spent there and the number of tracks.

Times are summed in whole microseconds, as rows store them, so the sums depend neither on how the rows are divided into
chunks nor on whether they are read from a file or taken while tracking.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NamedTuple, TypedDict, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from engine.analytics.geometry import anchors
from engine.analytics.samples import Samples

COLUMNS = 64
"""Cells across a frame; the number of rows makes them about square."""

SCHEMA = 1

# A longer interval between rows is a gap in the track, in which its position is unknown.
_LONGEST_STEP_US = 1_000_000

_Count = Annotated[int, Field(ge=0)]


@dataclass(eq=False, repr=False)
class _Class:
    """The sums of one class, by cell."""

    dwell_us: NDArray[np.int64]
    tracks: NDArray[np.int64]


@dataclass(eq=False, repr=False)
class _Track:
    """The time, cell and class of a track's last row, and the cells it visited, by class."""

    last_us: int
    cell: int
    kind: str
    been: dict[str, set[int]] = field(default_factory=dict)


class TrackState(NamedTuple):
    """A live track, for a checkpoint or for the next file of its camera: the time of its last row in microseconds, its
    cell and class there, and the cells it visited, by class."""

    track_id: int
    last_us: int
    cell: _Count
    kind: str
    been: dict[str, list[_Count]]


class TrackStateJson(TypedDict):
    """A TrackState as JSON values."""

    track_id: int
    last_us: int
    cell: int
    kind: str
    been: dict[str, list[int]]


class HeatmapStateJson(TypedDict):
    """A HeatmapState as JSON values, with tuples for arrays."""

    size_wh: tuple[int, int]
    cells: dict[str, list[tuple[int, int, int]]]
    tracks: list[TrackStateJson]


class HeatmapState(NamedTuple):
    """A snapshot of a heatmap for a checkpoint: the non-empty cells of each class as (cell, tracks, microseconds), and
    the live tracks."""

    size_wh: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    cells: dict[str, list[tuple[_Count, _Count, _Count]]]
    tracks: list[TrackState]

    def to_json(self) -> HeatmapStateJson:
        tracks = [cast("TrackStateJson", each._asdict()) for each in self.tracks]
        return {"size_wh": self.size_wh, "cells": self.cells, "tracks": tracks}

    @classmethod
    def from_json(cls, value: object) -> HeatmapState:
        """Parse what `to_json` returned. Raises ValueError for anything else."""
        return TypeAdapter(cls).validate_json(json.dumps(value), strict=True)


class Heatmap:
    """The heatmap of one camera, from rows given in chunks. A track counts once in a cell, however often it returns;
    its dwell there is the time to its next row. The point is the middle of the box's lower edge, as for lines.

    Memory is bounded by the number of cells and of tracks not yet forgotten.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.size_wh = size_wh
        self.shape = (max(1, round(COLUMNS * size_wh[1] / size_wh[0])), COLUMNS)
        self._classes: dict[str, _Class] = {}
        self._tracks: dict[int, _Track] = {}

    def feed(self, samples: Samples) -> None:
        """Add the next rows, of frames of the heatmap's size."""
        if not len(samples):
            return
        tracks = samples.by_track()
        rows, starts = tracks.samples, tracks.starts
        height, width = self.shape
        points = anchors(rows.boxes_xyxy, "bottom")
        x = np.clip(points[:, 0] * width / self.size_wh[0], 0, width - 1).astype(np.int64)
        y = np.clip(points[:, 1] * height / self.size_wh[1], 0, height - 1).astype(np.int64)
        cells, kinds = y * width + x, rows.class_ids
        times = microseconds(rows.times_s) + round(rows.offset_s * 1e6)
        steps = np.diff(times, append=times[-1])
        steps[tracks.stops - 1] = 0  # to another track
        steps[(steps < 0) | (steps > _LONGEST_STEP_US)] = 0
        names = {kind: rows.class_names.get(kind, str(kind)) for kind in sorted(set(kinds.tolist()))}
        # Each row's own class: the vote of the whole track is not known before its end.
        for kind, name in names.items():
            # Integers that float64 represents exactly.
            self.of_class(name).dwell_us += np.bincount(
                cells, np.where(kinds == kind, steps, 0), minlength=width * height
            ).astype(np.int64)
        first_us, first_cells = times[starts].tolist(), cells[starts].tolist()
        last_us, last_cells = times[tracks.stops - 1].tolist(), cells[tracks.stops - 1].tolist()
        last_kinds = kinds[tracks.stops - 1].tolist()
        found = []
        for number, track_id in enumerate(tracks.ids):
            track = self._tracks.get(track_id)
            if track is None:
                track = self._tracks[track_id] = _Track(first_us[number], first_cells[number], "")
            else:  # from the previous chunk
                step = first_us[number] - track.last_us
                self.of_class(track.kind).dwell_us[track.cell] += step if 0 <= step <= _LONGEST_STEP_US else 0
            track.last_us, track.cell, track.kind = last_us[number], last_cells[number], names[last_kinds[number]]
            found.append(track)
        # Rows where a track enters another cell or changes class: most rows equal the previous one.
        comes = (np.diff(cells, prepend=-1) != 0) | (np.diff(kinds, prepend=-1) != 0)
        comes[starts] = True
        at = np.flatnonzero(comes)
        of_track = np.searchsorted(tracks.stops, at, side="right").tolist()
        for number, cell, kind in zip(of_track, cells[at].tolist(), kinds[at].tolist(), strict=True):
            name = names[kind]
            been = found[number].been.setdefault(name, set())
            if cell not in been:
                been.add(cell)
                self._classes[name].tracks[cell] += 1

    def keep(self, track_ids: Collection[int]) -> None:
        """Forget all tracks but these: the others are gone for good."""
        self._tracks = {track_id: track for track_id, track in self._tracks.items() if track_id in track_ids}

    def add(self, state: HeatmapState) -> None:
        """Add the cells of another heatmap, of frames of the same size and of other tracks."""
        for name, cells in state.cells.items():
            found = self.of_class(name)
            at, tracks, dwell_us = np.array(cells, np.int64).reshape(-1, 3).T
            np.add.at(found.tracks, at, tracks)
            np.add.at(found.dwell_us, at, dwell_us)

    def go_on(self, tracks: Iterable[TrackState], offset_us: int = 0) -> None:
        """Continue live tracks of an earlier file, whose times are `offset_us` ahead of those of the coming rows."""
        for each in tracks:
            been = {name: set(cells) for name, cells in each.been.items()}
            self._tracks[each.track_id] = _Track(each.last_us - offset_us, each.cell, each.kind, been)

    def alive(self, offset_us: int = 0) -> list[TrackState]:
        """Return the tracks not forgotten, for `go_on`, with times `offset_us` ahead of the rows'."""
        return [
            TrackState(
                track_id,
                track.last_us + offset_us,
                track.cell,
                track.kind,
                {name: sorted(cells) for name, cells in track.been.items()},
            )
            for track_id, track in self._tracks.items()
        ]

    def state(self) -> HeatmapState:
        """Return a snapshot for a checkpoint."""
        cells = {}
        for name, found in sorted(self._classes.items()):
            at = np.flatnonzero(found.tracks | found.dwell_us)
            columns = at.tolist(), found.tracks[at].tolist(), found.dwell_us[at].tolist()
            cells[name] = list(zip(*columns, strict=True))
        return HeatmapState(self.size_wh, cells, self.alive())

    @classmethod
    def of(cls, state: HeatmapState) -> Heatmap:
        """Rebuild a heatmap from a snapshot. Raises ValueError if it names a cell that does not exist."""
        found = cls(state.size_wh)
        count = found.shape[0] * found.shape[1]
        named = [cell for cells in state.cells.values() for cell, *_ in cells]
        named += [
            cell for each in state.tracks for cell in (each.cell, *(c for been in each.been.values() for c in been))
        ]
        if max(named, default=0) >= count:
            raise ValueError(f"a cell index beyond the {count} cells")
        found.add(state)
        found.go_on(state.tracks)
        return found

    def table(self, decimals: int = 3) -> dict[str, object]:
        """Return JSON values: `cells` (columns, rows), and the non-empty cells of each class as (column, row, tracks,
        seconds). With six decimals they are exact."""
        classes = {}
        for name, found in sorted(self._classes.items()):
            at = np.flatnonzero(found.tracks | found.dwell_us)
            places = (at % COLUMNS).tolist(), (at // COLUMNS).tolist()
            dwell_s = _rounded_s(found.dwell_us[at], decimals)
            classes[name] = list(map(list, zip(*places, found.tracks[at].tolist(), dwell_s, strict=True)))
        return {"cells": [self.shape[1], self.shape[0]], "size_wh": list(self.size_wh), "classes": classes}

    def of_class(self, name: str) -> _Class:
        """Return the counts of a class, zeros if it is new."""
        if name not in self._classes:
            count = self.shape[0] * self.shape[1]
            self._classes[name] = _Class(np.zeros(count, np.int64), np.zeros(count, np.int64))
        return self._classes[name]


def _rounded_s(times_us: NDArray[np.int64], decimals: int) -> list[float]:
    """Return `round(time / 1e6, decimals)` of each time in whole microseconds; `decimals` is at most 6. Whole numbers
    are rounded in a tenth of the time that decimals take."""
    step = 10 ** (6 - decimals)
    found: list[float] = ((times_us + step // 2) // step / 10.0**decimals).tolist()
    # Midway between two, the float decides, which is not exactly there.
    for index in np.flatnonzero(times_us % step * 2 == step).tolist():
        found[index] = round(int(times_us[index]) / 1e6, decimals)
    return found


def microseconds(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round times in seconds to whole microseconds."""
    return np.asarray(np.rint(times_s * 1e6), np.int64)


def to_file(heatmap: Heatmap | None) -> bytes:
    """Serialise the heatmap of one video exactly; None: no frame was examined."""
    table = heatmap.table(6) if heatmap is not None else {"classes": {}}
    return (json.dumps({"schema": SCHEMA, **table}) + "\n").encode()


def read_file(path: Path) -> HeatmapState:
    """Read what `to_file` wrote. Raises OSError, or ValueError, KeyError or TypeError if it is something else."""
    values = json.loads(path.read_bytes())
    width, height = values["size_wh"]
    cells = {
        str(name): [
            (int(row) * COLUMNS + int(column), int(tracks), round(dwell_s * 1e6))
            for column, row, tracks, dwell_s in found
        ]
        for name, found in values["classes"].items()
    }
    return HeatmapState((int(width), int(height)), cells, [])


def to_json(heatmaps: Mapping[str, Heatmap]) -> str:
    """Return the heatmaps of all cameras, by name, as JSON text."""
    cameras = {name: each.table() for name, each in sorted(heatmaps.items())}
    return json.dumps({"schema": SCHEMA, "cameras": cameras}) + "\n"
