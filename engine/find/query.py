"""Queries of an index, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from engine.errors import InputError
from engine.find.index import Index
from engine.text.did_you_mean import there_is


@dataclass(frozen=True)
class Question:
    """A query; None or empty: no restriction.

    `zones` selects stays in one of them, `lines` crossings, neither selects whole tracks. `between` is a range of local
    times of day, possibly across midnight, that results overlap; `first` and `last` are local times that bound them.
    `longer_s` and `shorter_s` are durations of a stay or a track.
    """

    classes: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    directions: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    between: tuple[time, time] | None = None
    first: datetime | None = None
    last: datetime | None = None
    longer_s: float | None = None
    shorter_s: float | None = None
    limit: int = 100


@dataclass(frozen=True)
class Found:
    """One result. It begins at `video_s`, in seconds as a player shows them; `at` and `until` are local times with UTC
    offset, "" without a clock. `best_frame` of `best_video` shows the track best. `hides`: its run blurs."""

    folder: str
    camera: str
    video: str
    source: str
    track_id: int
    class_name: str
    kind: str
    place: str
    direction: str
    at: str
    until: str
    video_s: float
    duration_s: float
    best_video: str
    best_frame: int | None
    hides: bool


@dataclass(frozen=True)
class Answer:
    """The results up to the limit, and their total number; `without_clock` counts those without a known time."""

    found: tuple[Found, ...]
    total: int
    without_clock: int


def ask(index: Index, question: Question) -> Answer:
    """Run a query; results are in order of time. Raises InputError if nothing can match, for example because no run has
    such a class, zone or line."""
    events = bool(question.zones or question.lines)
    source = _EVENTS if events else _TRACKS
    where, values = _conditions(question)
    _check(index, question)
    timed, timed_values = _times(question)
    without_clock = 0
    if timed:
        plain = f"SELECT count(*) FROM ({source}) WHERE begins IS NULL AND {where}"
        without_clock = index.connection.execute(plain, values).fetchone()[0]
    condition = " AND ".join([where, *timed])
    given = values + timed_values
    total = index.connection.execute(f"SELECT count(*) FROM ({source}) WHERE {condition}", given).fetchone()[0]
    # The names of videos and folders are looked up only for the results shown.
    shown = (
        f"WITH hits AS (SELECT * FROM ({source}) WHERE {condition}"
        " ORDER BY begins NULLS LAST, folder, camera, time_s, track_id LIMIT ?)"
        " SELECT f.path, h.camera, h.video, v.source, h.track_id, h.class, h.kind, h.place, h.direction,"
        " strftime(h.begins, '%Y-%m-%dT%H:%M:%S.%g'), strftime(h.ends, '%Y-%m-%dT%H:%M:%S.%g'), h.zone,"
        " h.time_s - coalesce(v.begins_s, 0), h.duration_s, h.best_video, h.best_frame, f.hides"
        " FROM hits h JOIN folders f ON f.folder = h.folder"
        " LEFT JOIN videos v ON v.folder = h.folder AND v.video = h.video"
        " ORDER BY h.begins NULLS LAST, h.folder, h.camera, h.time_s, h.track_id"
    )
    rows = index.connection.execute(shown, [*given, question.limit]).fetchall()
    return Answer(tuple(map(_found, rows)), total, without_clock)


def _found(row: Sequence[Any]) -> Found:
    *names, begins, ends, zone, video_s, duration_s, best_video, best_frame, hides = row
    folder, camera, video, source, track_id, class_name, kind, place, direction = names
    return Found(
        folder,
        camera,
        video,
        source or "",
        track_id,
        class_name,
        kind,
        place or "",
        direction or "",
        f"{begins}{zone or ''}" if begins else "",
        f"{ends}{zone or ''}" if ends else "",
        round(max(0.0, video_s), 3),
        round(duration_s or 0.0, 3),
        best_video or "",
        best_frame,
        hides,
    )


_TRACKS = "SELECT *, 'track' AS kind, '' AS place, '' AS direction FROM tracks"
_EVENTS = "SELECT * FROM events"


def _conditions(question: Question) -> tuple[str, list[Any]]:
    parts: list[str] = ["TRUE"]
    values: list[Any] = []

    def one_of(column: str, names: Sequence[str]) -> None:
        if names:
            parts.append(f"{column} IN ({', '.join('?' * len(names))})")
            values.extend(names)

    one_of("class", question.classes)
    one_of("camera", question.cameras)
    one_of("direction", question.directions)
    places = []
    for kind, names in (("stay", question.zones), ("crossing", question.lines)):
        if names:
            places.append(f"(kind = '{kind}' AND place IN ({', '.join('?' * len(names))}))")
            values.extend(names)
    if places:
        parts.append(f"({' OR '.join(places)})")
    if question.longer_s is not None:
        parts.append("duration_s >= ?")
        values.append(question.longer_s)
    if question.shorter_s is not None:
        parts.append("duration_s <= ?")
        values.append(question.shorter_s)
    return " AND ".join(parts), values


def _times(question: Question) -> tuple[list[str], list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    if question.first is not None:
        parts.append("ends >= ?")
        values.append(question.first)
    if question.last is not None:
        parts.append("begins < ?")
        values.append(question.last)
    if question.between is not None:
        first, last = question.between
        # It overlaps the range if it begins within it, or before it and lasts into it.
        start, length = _seconds(first), (_seconds(last) - _seconds(first)) % 86_400 or 86_400
        since = "((of_day - ? + 86400) % 86400)"
        parts.append(f"({since} < ? OR {since} + duration_s >= 86400)")
        values += [start, length, start]
    return parts, values


def _seconds(moment: time) -> float:
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6


def _check(index: Index, question: Question) -> None:
    """Raise InputError if nothing in the index can match: a name occurs in none of its runs, or limits exclude each
    other."""
    if question.longer_s is not None and question.shorter_s is not None and question.longer_s > question.shorter_s:
        raise InputError(f"Nothing lasts at least {question.longer_s:g} s and at most {question.shorter_s:g} s.")
    if question.first is not None and question.last is not None and question.first >= question.last:
        raise InputError(f"No time is after {question.first} and before {question.last}.")
    if question.longer_s and question.lines and not question.zones:
        raise InputError("A crossing has no duration: only stays and tracks do.")
    if question.directions and not question.lines:
        raise InputError("Only crossings have a direction: name the lines.")
    asked = {
        "class": question.classes,
        "camera": question.cameras,
        "zone": question.zones,
        "line": question.lines,
        "direction": question.directions,
    }
    for what, names in asked.items():
        if not names:
            continue
        rows = index.connection.execute("SELECT DISTINCT name FROM names WHERE what = ?", [what]).fetchall()
        known = {name for (name,) in rows if name}
        for name in names:
            if name not in known:
                raise InputError(f"No {what} {name!r} in the runs below {index.root}. {there_is(name, known)}")
