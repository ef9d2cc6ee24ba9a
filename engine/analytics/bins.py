"""Counts in time bins, aligned to the clock. A bin without crossings has a zero; a bin of which nothing was examined is
empty."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from engine.analytics.analysis import Answers, EventKind
from engine.analytics.settings import DEFAULT_BIN_S
from engine.errors import InputError

_MAX_BINS = 250_000
# Rows store times rounded to a microsecond.
_ROUNDED_S = 1e-6


class Bin(NamedTuple):
    """An interval of a camera's timeline, in seconds, and from `starts` to `ends` on the wall clock if there is one."""

    start_s: float
    end_s: float
    starts: datetime | None
    ends: datetime | None
    examined_s: float


@dataclass(frozen=True, repr=False)
class Count:
    """How often one class crossed a line one way within a bin. None: nothing of the bin was examined, and it has no
    crossing."""

    bin: Bin
    line: str
    direction: str
    class_name: str
    count: int | None


def bins_of(answers: Answers, bin_s: float = DEFAULT_BIN_S) -> list[Bin]:
    """Return contiguous bins from the first examined moment to the last, extended to files of which nothing was
    examined, and to crossings before and after all that: rows may have been added where the run examined nothing.
    Raises InputError if there would be too many. Such a file alone, whose clock may be wrong, does not make too many:
    it is left out then."""
    if not (parts := answers.examined_s or answers.unexamined_s[:1]):
        return []
    first, last = min(start for start, _ in parts), max(end for _, end in parts)
    if last - first > _MAX_BINS * bin_s:
        raise InputError(
            f"The files of camera {answers.camera!r} span {(last - first) / 86_400:,.0f} days, too many for bins of "
            f"{bin_s:g} s. Is the clock of one of them wrong? Otherwise take longer bins."
        )
    for start, end in answers.unexamined_s:
        if max(last, end) - min(first, start) <= _MAX_BINS * bin_s:
            first, last = min(first, start), max(last, end)
    bounds = list(_bounds(answers, first, last, bin_s))
    low, high = bounds[0][0], max(bounds[-1][1], last + _ROUNDED_S)
    beyond = {
        next(_bounds(answers, time_s, math.nextafter(time_s, math.inf), bin_s))
        for event in answers.events
        if event.kind is EventKind.CROSSING and not low <= (time_s := event.at.time_s) <= high
    }
    examined = _once(answers.examined_s)
    return [
        Bin(start, end, answers.clock.at(start), answers.clock.at(end), _overlap(examined, start, end))
        for start, end in sorted({*bounds, *beyond})
    ]


def counts_of(answers: Answers, bin_s: float = DEFAULT_BIN_S) -> list[Count]:
    """Count crossings by bin, line, direction and class; lines and directions are in the order of the scene. The
    classes are those that crossed any line; if none did, a single row without a class stands for all.
    """
    lines = answers.scene.lines if answers.scene else ()
    crossings = [event for event in answers.events if event.kind is EventKind.CROSSING]
    classes = sorted({event.class_name for event in crossings}) or [""]
    bins = bins_of(answers, bin_s)
    found: Counter[tuple[int, str, str, str]] = Counter()
    for event in crossings:
        found[_index(bins, event.at.time_s), event.place, event.direction, event.class_name] += 1
    counts = []
    for index, part in enumerate(bins):
        for line in lines:
            wanted = [name for name in classes if line.classes is None or not name or name in line.classes]
            for direction in (line.into, line.out):
                for name in wanted:
                    number = found[index, line.name, direction, name]
                    known = part.examined_s > 0 or number > 0
                    counts.append(Count(part, line.name, direction, name, number if known else None))
    return counts


def _index(bins: list[Bin], time_s: float) -> int:
    """Return the index of a moment's bin; the last examined moment belongs to the last bin that starts before it."""
    index = bisect_right(bins, time_s, key=lambda part: part.end_s)
    return index if index < len(bins) and bins[index].start_s <= time_s else max(0, index - 1)


def _once(examined: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the intervals in order, each without what earlier ones have covered."""
    parts: list[tuple[float, float]] = []
    covered = -math.inf
    for first, last in sorted(examined):
        if first >= covered or last > covered:
            parts.append((max(first, covered), last))
            covered = last
    return parts


def _overlap(parts: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Return how many seconds of a bin are in these intervals, which are disjoint and in order."""
    seconds, touched = 0.0, False
    for first, last in islice(parts, bisect_left(parts, start, key=lambda part: part[1]), None):
        if first >= end:
            break
        seconds += max(min(last, end) - max(first, start), 0.0)
        touched = touched or first >= start
    # A recording of one frame has no duration, but was examined.
    return seconds or (1e-6 if touched else 0.0)


def _bounds(answers: Answers, first: float, last: float, bin_s: float) -> Iterator[tuple[float, float]]:
    """Yield the bounds of bins that cover the timeline from `first` to `last`."""
    zero = answers.clock.start
    if zero is None:
        start = first // bin_s * bin_s
        while start < max(last, first + 1e-9):
            yield start, start + bin_s
            start += bin_s
        return
    begins = answers.clock.at(first)
    assert begins is not None
    moment, zero = _bound(begins, bin_s, 0), zero.astimezone(UTC)
    # In UTC, because Python subtracts the local clock times of two times in one zone.
    while (start := (moment.astimezone(UTC) - zero).total_seconds()) < max(last, first + 1e-9):
        moment = _bound(moment, bin_s, 1)
        yield start, (moment.astimezone(UTC) - zero).total_seconds()


def _bound(moment: datetime, bin_s: float, ahead: int) -> datetime:
    """Return the bound at or before a moment on the wall clock, or the `ahead`-th one after that.

    Bins are counted from local midnight. If daylight saving time begins or ends within a bin of more than an hour, that
    bin is shorter or longer, so the others keep their bounds.
    """
    local, length = moment.replace(tzinfo=None), timedelta(seconds=bin_s)
    midnight = _midnight(local)
    # Whole microseconds: of floats, 3.3 // 1.1 is 2, and no bin would ever follow the third.
    number = (local - midnight) // length + ahead
    wanted = min(midnight + number * length, midnight + timedelta(days=1))
    same_offset = (moment.astimezone(UTC) + (wanted - local)).astimezone(moment.tzinfo)
    passed = same_offset.replace(tzinfo=None)
    if not (passed - _midnight(passed)) % length:
        return same_offset
    return wanted.replace(tzinfo=moment.tzinfo).astimezone(UTC).astimezone(moment.tzinfo)


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0)
