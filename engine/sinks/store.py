"""`<stem>.detections.bin`: every frame and its detections, exact and compact, for making tracks again.

A line of magic, a line of JSON (StoreHeader), then for each frame 24 bytes (index, pts, duration, count; -1 where it
was not inferred), and for each of its detections, best first, 22 bytes: x1 y1 x2 y2 score as float32, the class as
uint16. Little-endian. At 25 frames per second with 10 detections each that is 22 MB per hour.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import numpy as np

from engine.analytics.clock import Clock, ClockOrigin, zone_of
from engine.config import RESULT_KEYS, EngineConfig
from engine.errors import ConfigError, InputError, describe_os_error
from engine.records import Detections, Frame, StreamInfo, Tracks
from engine.sinks.rows import RowFile, RowSink

_MAGIC = b"yolo-engine detections 1\n"
_FRAME = struct.Struct("<Iqqi")
_ROW = np.dtype([("box", "<f4", 4), ("score", "<f4"), ("class", "<u2")])
_LONGEST_HEADER = 1 << 22
_MAX_DETECTIONS_PER_FRAME = 30_000
# Keys of the run's configuration that say how its tracks were made: not those by which two runs may differ.
_KEPT = set(RESULT_KEYS - {"class_names"})


@dataclass(frozen=True)
class StoreHeader:
    """The data shared by all frames. `conf` is the minimum stored score; `step_s` and `wall_start` are as in
    StreamInfo."""

    class_names: tuple[str, ...]
    time_base: Fraction
    step_s: Fraction | None
    conf: float
    config: EngineConfig
    wall_start: datetime | None = None

    def to_line(self) -> bytes:
        start = self.wall_start
        values = {
            "classes": self.class_names,
            "time_base": str(self.time_base),
            "step_s": None if self.step_s is None else str(self.step_s),
            "conf": self.conf,
            "config": self.config.model_dump(mode="json", include=_KEPT),
        }
        if start is not None:
            values["wall_start"] = start.isoformat()
            values["zone"] = start.tzinfo.key if isinstance(start.tzinfo, ZoneInfo) else None
        return json.dumps(values).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> StoreHeader:
        """Raise ValueError, KeyError, TypeError or ConfigError for what `to_line` does not give."""
        values = json.loads(line)
        names = values["classes"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its classes are none")
        time_base, conf = Fraction(values["time_base"]), float(values["conf"])
        step_s = None if values["step_s"] is None else Fraction(values["step_s"])
        if time_base <= 0 or (step_s is not None and step_s <= 0) or not 0 <= conf <= 1:
            raise ValueError("its numbers are none")
        start = None
        if values.get("wall_start") is not None:
            start = datetime.fromisoformat(values["wall_start"])
            if start.tzinfo is None:
                raise ValueError("its clock has no zone")
            if values["zone"] is not None:
                start = start.astimezone(zone_of(values["zone"]))
        return cls(tuple(names), time_base, step_s, conf, EngineConfig(**values["config"]), start)


class DetectionStore(RowSink):
    kind = "store"

    def __init__(self, rows: RowFile, class_names: Sequence[str], config: EngineConfig) -> None:
        super().__init__(rows)
        self._names, self._config = tuple(class_names), config

    def open(self, info: StreamInfo) -> None:
        super().open(info)
        conf = self._config.stored_conf
        header = StoreHeader(self._names, info.time_base, info.step_s, conf, self._config, info.wall_start)
        self._rows.add(_MAGIC + header.to_line(), 1)

    def rows(self, tracks: Tracks) -> tuple[bytes, int]:
        frame, found = tracks.frame, tracks.detections
        if found is None:
            return _FRAME.pack(frame.index, frame.pts, frame.duration, -1), 1
        found = found.above(self._config.stored_conf)
        table = np.empty(len(found), _ROW)
        table["box"], table["score"], table["class"] = found.boxes_xyxy, found.scores, found.class_ids
        return _FRAME.pack(frame.index, frame.pts, frame.duration, len(found)) + table.tobytes(), 1 + len(found)


class Store:
    """A file of stored detections. Use it as a context manager. Opening it raises InputError that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: IO[bytes] = open(path, "rb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise InputError(f"{path} can't be read: {describe_os_error(error)}.") from error
        try:
            if self._file.readline(len(_MAGIC)) != _MAGIC:
                raise ValueError("it does not begin as one")
            self.header = StoreHeader.from_line(self._file.readline(_LONGEST_HEADER))
        except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError, ConfigError) as error:
            self._file.close()
            raise InputError(f"{path} is not a file of stored detections, or of another version: {error}.") from error

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def frames(self) -> Iterator[tuple[Frame, Detections | None]]:
        """Yield every frame, without its image, and its detections; None if it was not inferred. Frames have their wall
        clock if it is known and the video's first frame, from which it counts, is stored. Raises InputError if the file
        is truncated or damaged."""
        header, before = self.header, -1
        clock, first_pts = Clock(header.wall_start, ClockOrigin.GIVEN), None
        while head := self._file.read(_FRAME.size):
            if len(head) < _FRAME.size:
                raise self._damaged("is cut short", before)
            index, pts, duration, count = _FRAME.unpack(head)
            if index <= before or not -1 <= count <= _MAX_DETECTIONS_PER_FRAME:
                raise self._damaged("is damaged", before)
            first_pts = pts if index == 0 else first_pts
            wall = None if first_pts is None else clock.at(float((pts - first_pts) * header.time_base))
            frame = Frame(0, index, pts, duration, header.time_base, None, count >= 0, step_s=header.step_s, wall=wall)
            before = index
            yield frame, self._detections(count, before) if count >= 0 else None

    def _detections(self, count: int, index: int) -> Detections:
        body = self._file.read(count * _ROW.itemsize)
        if len(body) < count * _ROW.itemsize:
            raise self._damaged("is cut short", index)
        table: Any = np.frombuffer(body, _ROW)
        boxes, scores = np.ascontiguousarray(table["box"]), np.ascontiguousarray(table["score"])
        class_ids = table["class"].astype(np.int32)
        known = int(class_ids.max(initial=-1)) < len(self.header.class_names)
        if not known or not math.isfinite(float(boxes.sum() + scores.sum())):
            raise self._damaged("is damaged", index)
        return Detections(boxes, scores, class_ids)

    def _damaged(self, what: str, index: int) -> InputError:
        return InputError(f"{self.path} {what} behind frame {index}: run the engine again over its video.")
