"""The tables: tracks, events, counts, origins and destinations, travel times. CSV always, other formats when asked.

Columns are stable; `SCHEMA` is increased when one changes its meaning or is removed. Units are in the column names or
below:

    tracks.csv        one row per track      votes: class=sum of scores; lengths in pixels, `path_m` and `speed_kmh`
                                             if the scene has a map
    events.csv        one row per event      kind: crossing, enter, leave, stay; dwell_s only of a stay; x, y in pixels
    counts.csv        one row per bin, line, direction and class; count is empty if nothing was examined and there was
                                             no crossing
    od.csv            one row per pair of a track's first and last place
    travel_times.csv  one row per pair of lines that a track crosses one after the other
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median, quantiles
from typing import TypeAlias

from engine.analytics.analysis import Answers, Event, EventKind
from engine.analytics.bins import counts_of
from engine.analytics.settings import DEFAULT_BIN_S

SCHEMA = 1
Value: TypeAlias = str | int | float | None
Row: TypeAlias = dict[str, Value]

COLUMNS: dict[str, tuple[str, ...]] = {
    "tracks": tuple(
        "camera track_id class votes video first_time last_time first_s last_s duration_s first_frame last_frame rows"
        " mean_score path_px path_m speed_kmh entered_from left_to best_video best_frame".split()
    ),
    "events": tuple(
        "time time_s camera video video_s pts frame track_id class kind place direction dwell_s born_inside"
        " ended_inside x y".split()
    ),
    "counts": tuple("camera bin_start bin_end examined_s line direction class count".split()),
    "od": tuple("camera from to class tracks".split()),
    "travel_times": tuple("camera from to class tracks median_s p15_s p85_s min_s max_s".split()),
}


def tables_of(answers: Answers, bin_s: float = DEFAULT_BIN_S) -> dict[str, list[Row]]:
    """Return the rows of one camera's tables, by table name."""
    return {
        "tracks": list(_tracks(answers)),
        "events": [_event(answers, event) for event in answers.events],
        "counts": list(_counts(answers, bin_s)),
        "od": list(_origins(answers)),
        "travel_times": list(_travel_times(answers)),
    }


def to_csv(name: str, rows: Sequence[Row]) -> str:
    """Return a table as CSV (RFC 4180), with a header even if it has no rows. Text that a spreadsheet would take for a
    formula is prefixed with an apostrophe, also behind a semicolon, at which many of them divide a cell."""
    return csv_of(COLUMNS[name], rows)


def csv_of(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Return rows as `to_csv` does, with any columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    # A DictWriter, and a call for each value, take four times as long.
    writer.writerows(
        [
            _FORMULA.sub("'", value)
            if isinstance(value := row[key], str) and (value.startswith(_OPENINGS) or ";" in value)
            else value
            for key in columns
        ]
        for row in rows
    )
    return out.getvalue()


def rows_of(text: str) -> list[dict[str, str]]:
    """Read rows that `csv_of` wrote, without the apostrophes. Raises ValueError if the text is not CSV."""
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), restval=""))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [{key: _APOSTROPHE.sub("", value) for key, value in row.items() if isinstance(key, str)} for row in rows]


def _tracks(answers: Answers) -> Iterator[Row]:
    first, last = _ends(answers.events)
    for track in answers.tracks:
        yield {
            "camera": answers.camera,
            "track_id": track.track_id,
            "class": track.class_name,
            "votes": " ".join(f"{name}={score:.4f}" for name, score in track.votes.items()),
            "video": track.video,
            "first_time": _time(answers.clock.at(track.first_s)),
            "last_time": _time(answers.clock.at(track.last_s)),
            "first_s": _seconds(track.first_s),
            "last_s": _seconds(track.last_s),
            "duration_s": _seconds(track.duration_s),
            "first_frame": track.first_frame,
            "last_frame": track.last_frame,
            "rows": track.rows,
            "mean_score": round(track.mean_score, 4),
            "path_px": round(track.path_px, 1),
            "path_m": None if track.path_m is None else round(track.path_m, 2),
            "speed_kmh": None if track.speed_kmh is None else round(track.speed_kmh, 1),
            "entered_from": first.get(track.track_id, ""),
            "left_to": last.get(track.track_id, ""),
            "best_video": track.best_video,
            "best_frame": track.best_frame,
        }


def _event(answers: Answers, event: Event) -> Row:
    stay = event.kind is EventKind.STAY
    return {
        "time": _time(answers.clock.at(event.at.time_s)),
        "time_s": _seconds(event.at.time_s),
        "camera": answers.camera,
        "video": event.at.video,
        "video_s": _seconds(event.at.video_s),
        "pts": event.at.pts,
        "frame": round(event.at.frame, 3),
        "track_id": event.track_id,
        "class": event.class_name,
        "kind": event.kind.value,
        "place": event.place,
        "direction": event.direction,
        "dwell_s": None if event.dwell_s is None else _seconds(event.dwell_s),
        "born_inside": int(event.born_inside) if stay else None,
        "ended_inside": int(event.ended_inside) if stay else None,
        "x": round(event.at.x, 2),
        "y": round(event.at.y, 2),
    }


def _counts(answers: Answers, bin_s: float) -> Iterator[Row]:
    for count in counts_of(answers, bin_s):
        yield {
            "camera": answers.camera,
            "bin_start": _time(count.bin.starts) or _seconds(count.bin.start_s),
            "bin_end": _time(count.bin.ends) or _seconds(count.bin.end_s),
            "examined_s": _seconds(count.bin.examined_s),
            "line": count.line,
            "direction": count.direction,
            "class": count.class_name,
            "count": count.count,
        }


def _origins(answers: Answers) -> Iterator[Row]:
    """Yield origins and destinations: the first and last place of each track that met two or more."""
    first, last = _ends(answers.events)
    met: defaultdict[int, int] = defaultdict(int)
    for event in answers.events:
        met[event.track_id] += event.kind in (EventKind.CROSSING, EventKind.STAY)
    pairs: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for track in answers.tracks:
        if met[track.track_id] >= 2:
            pairs[first[track.track_id], last[track.track_id], track.class_name] += 1
    for (start, end, name), number in sorted(pairs.items()):
        yield {"camera": answers.camera, "from": start, "to": end, "class": name, "tracks": number}


def _travel_times(answers: Answers) -> Iterator[Row]:
    """Yield travel times from one line to the next different line that the same track crosses."""
    before: dict[int, Event] = {}
    times: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for event in answers.events:
        if event.kind is not EventKind.CROSSING:
            continue
        earlier = before.get(event.track_id)
        if earlier is not None and earlier.place != event.place:
            times[earlier.place, event.place, event.class_name].append(event.at.time_s - earlier.at.time_s)
        before[event.track_id] = event
    for (start, end, name), seconds in sorted(times.items()):
        parts = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else seconds * 19
        yield {
            "camera": answers.camera,
            "from": start,
            "to": end,
            "class": name,
            "tracks": len(seconds),
            "median_s": _seconds(median(seconds)),
            "p15_s": _seconds(parts[2]),
            "p85_s": _seconds(parts[16]),
            "min_s": _seconds(min(seconds)),
            "max_s": _seconds(max(seconds)),
        }


def _ends(events: Sequence[Event]) -> tuple[dict[int, str], dict[int, str]]:
    """Return each track's first and last line or zone. A zone in which a track ended comes after lines within it."""
    first: dict[int, str] = {}
    last: dict[int, str] = {}
    until_s: defaultdict[int, float] = defaultdict(lambda: -math.inf)
    for event in events:
        first.setdefault(event.track_id, event.place)
        end_s = event.at.time_s + (event.dwell_s or 0.0)
        if end_s >= until_s[event.track_id]:
            last[event.track_id], until_s[event.track_id] = event.place, end_s
    return first, last


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="milliseconds")


def _seconds(value: float) -> float:
    return round(value, 3)


# Where a formula begins: at the start of a cell, or behind a semicolon.
_OPENINGS = ("=", "+", "-", "@", "\t", "\r")
_FORMULA = re.compile(r"(?:^|(?<=;))(?=[=+\-@\t\r])")
_APOSTROPHE = re.compile(r"(?:^|(?<=;))'(?=[=+\-@\t\r])")
