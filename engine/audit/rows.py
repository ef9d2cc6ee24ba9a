"""Checks that the rows of the data files agree with each other and with the manifest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from engine.audit.claims import Claim
from engine.audit.findings import Finding, Kind, named

_SCORES, _PIXELS = 0.002, 0.5
_SHARE = 0.005
"""Tolerances for the same model on another processor, including the rounding in files: of a score, of a box's side in
pixels, and of that relative to the box's larger side."""


@dataclass(frozen=True)
class Row:
    """A box of a frame, x1 y1 x2 y2. `track_id` is 0 for a detection; pts is 0 and `class_id` -1 if the file has
    none."""

    frame: int
    pts: int
    track_id: int
    class_id: int
    score: float
    box: tuple[float, float, float, float]

    def __str__(self) -> str:
        who = f"track {self.track_id}" if self.track_id else f"a box of score {self.score:.2f}"
        return f"frame {self.frame}: {who} at {', '.join(f'{side:.0f}' for side in self.box)}"

    def is_like(self, other: Row) -> bool:
        """Return whether another row is equal within the tolerances of two processors."""
        pixels = max(_PIXELS, _SHARE * max(self.box[2] - self.box[0], self.box[3] - self.box[1]))
        return (
            -1 in (self.class_id, other.class_id) or self.class_id == other.class_id
        ) and abs(self.score - other.score) <= _SCORES and all(
            abs(mine - its) <= pixels for mine, its in zip(self.box, other.box, strict=True)
        )  # fmt: skip


class Unreadable(Exception):
    """A data file has a line that is not a row, or its rows are not in frame order."""


def read(kind: str, path: Path) -> Iterator[tuple[int, list[Row]]]:
    """Yield the rows of `tracks`, `detections` or `mot`, frame by frame. Raises Unreadable and OSError."""
    parse = _of_mot if kind == "mot" else _of_json
    before = -1
    for frame, rows in groupby(_rows(path, parse), key=lambda row: row.frame):
        if frame <= before:
            raise Unreadable(f"frame {frame} follows frame {before}")
        before = frame
        yield frame, list(rows)


def _rows(path: Path, parse: Callable[[str], Row]) -> Iterator[Row]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            try:
                row = parse(line)
                if not (line.endswith("\n") and math.isfinite(row.score + sum(row.box))):
                    raise ValueError
            except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError):
                raise Unreadable(f"line {number:,} is not a row") from None
            yield row


def _of_json(line: str) -> Row:
    value = json.loads(line)
    x1, y1, x2, y2 = map(float, value["box_xyxy"])
    track_id = int(value.get("track_id", 0))
    return Row(int(value["frame"]), int(value["pts"]), track_id, int(value["class_id"]), float(value["score"]),
               (x1, y1, x2, y2))  # fmt: skip


def _of_mot(line: str) -> Row:
    frame, track_id, left, top, width, height, score = line.split(",")[:7]
    x, y = float(left), float(top)
    box = x, y, x + float(width), y + float(height)
    return Row(int(frame) - 1, 0, int(track_id), -1, float(score), box)


def check_rows(claim: Claim) -> Iterator[Finding]:
    """Check that the data files of a video can be read and agree with the manifest's counts and with each other."""
    tracks = _Counted()
    for kind in ("tracks", "mot", "detections"):
        if (path := claim.outputs.get(kind)) is None:
            continue
        counted = _Counted()
        try:
            for _, rows in read(kind, path):
                counted.add(rows)
        except OSError:
            continue  # already reported as missing
        except Unreadable as error:
            yield Finding(Kind.CHANGED, claim.name, claim.shown(kind), str(error))
            continue
        tracks = counted if kind == "tracks" else tracks
        wrong = None
        if kind == "detections" and counted.rows != claim.detections:
            wrong = f"{counted.rows:,} rows, but the manifest counts {claim.detections:,} detections"
        elif kind != "detections" and len(counted.ids) != claim.tracks:
            wrong = f"{len(counted.ids):,} ids, but the manifest counts {claim.tracks:,} tracks"
        if wrong:
            yield Finding(Kind.ROW, claim.name, claim.shown(kind), wrong)
    if {"tracks", "mot"} <= claim.outputs.keys():
        yield from _check_mot(claim)


class _Counted:
    def __init__(self) -> None:
        self.rows = 0
        self.ids: set[int] = set()

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += len(rows)
        self.ids.update(row.track_id for row in rows)


def _check_mot(claim: Claim) -> Iterator[Finding]:
    """Compare `mot` with `tracks`, which must hold the same rows."""
    one, other = claim.outputs["tracks"], claim.outputs["mot"]
    try:
        yield from differences(read("mot", other), read("tracks", one), claim, "tracks", "mot.txt has")
    except (OSError, Unreadable):
        return  # already reported


def differences(
    right: Iterable[tuple[int, list[Row]]], there: Iterable[tuple[int, list[Row]]], claim: Claim, kind: str, who: str
) -> Iterator[Finding]:
    """Compare the rows `there`, in the output `kind`, with the `right` ones, frame by frame. `who` names the origin of
    these, with a verb. Passes on OSError and Unreadable."""
    frames: list[str] = []
    missing: list[str] = []
    extra: list[str] = []
    other: list[str] = []
    for frame, wanted, found in _beside(right, there):
        if wanted and not found:
            frames.append(f"frame {frame} ({len(wanted)} rows)")
            continue
        mine, its = {row.track_id: row for row in wanted}, {row.track_id: row for row in found}
        if 0 in mine or 0 in its:  # detections have no ids
            missing += [str(row) for row in without_like(wanted, found)]
            extra += [str(row) for row in without_like(found, wanted)]
            continue
        missing += [str(mine[key]) for key in sorted(mine.keys() - its.keys())]
        extra += [str(its[key]) for key in sorted(its.keys() - mine.keys())]
        other += [str(mine[key]) for key in sorted(mine.keys() & its.keys()) if not mine[key].is_like(its[key])]
    shown = claim.shown(kind)
    for what, detail, these in (
        (Kind.FRAME, f"{who} rows of it, and it has none", frames),
        (Kind.ROW, f"missing: {who} it", missing),
        (Kind.ROW, f"one too many: {who} no such", extra),
        (Kind.ROW, f"other numbers than {who}", other),
    ):
        if these:
            yield Finding(what, claim.name, shown, f"{detail}: {named(these)}")


def without_like(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Return those of `rows` without a match among the `others`; each of those matches one row."""
    left = list(others)
    alone = []
    for row in rows:
        if (like := next((each for each in left if row.is_like(each)), None)) is None:
            alone.append(row)
        else:
            left.remove(like)
    return alone


def _beside(
    right: Iterable[tuple[int, list[Row]]], there: Iterable[tuple[int, list[Row]]]
) -> Iterator[tuple[int, list[Row], list[Row]]]:
    """Yield each frame of either with the rows of both."""
    ended: Any = (math.inf, [])
    one, other = iter(right), iter(there)
    wanted, found = next(one, ended), next(other, ended)
    while (frame := min(wanted[0], found[0])) != math.inf:
        yield (
            int(frame),
            wanted[1] if wanted[0] == frame else [],
            found[1] if found[0] == frame else [],
        )
        wanted = next(one, ended) if wanted[0] == frame else wanted
        found = next(other, ended) if found[0] == frame else found
