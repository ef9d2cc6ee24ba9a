"""The wall-clock time of a recording's first frame, and its source.

In order of precedence: a start given by the user; a time in the file's name, by the user's patterns or those of common
recorders; the container's `creation_time`; otherwise none, and times are relative. By its standard a container's
creation time is UTC, but some recorders write local time there, so a name takes precedence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import MAXYEAR, UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from functools import cache
from pathlib import PurePath
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.errors import ConfigError

_DATE = r"(?P<Y>(?:19|20)\d\d){d}(?P<m>0[1-9]|1[0-2]){d}(?P<d>0[1-9]|[12]\d|3[01])"
_ZONE = r"(?P<z>Z|[+](?:0\d|1[0-4])[0-5]\d)?(?!\d)"
_TIME = r"(?P<H>[01]\d|2[0-3]){t}(?P<M>[0-5]\d){t}(?P<S>[0-5]\d)(?:[.,_-]?(?P<f>\d{{3}}|\d{{6}}))?" + _ZONE


@cache  # compiled only when a name has enough digits: few runs need it
def _pattern(date: str, between: str, time: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\d)" + _DATE.replace("{d}", date) + between + _TIME.format(t=time))


# Common recorders and phones: 2020-01-01_00-00-00, 2020-01-01T00-00-00Z, 20200101_000000, 20200101000000, 2020.01.01
# 00.00.00, and a folder per day with names that begin with the time (2020-01-01/.../00.00.00-00.10.00).
_PATTERNS = (
    ("[-._]", r"[ T_.-]{1,3}", "[-._:h]"),
    ("[-._]", r"[ T_.-]{1,3}", ""),
    ("", r"[ T_.-]{1,3}", "[-._:]"),
    ("", r"[ T_.-]{0,3}", ""),
    ("[-._]?", r"/(?:[^/]*/)*", "[-._]"),
)
_EPOCH = r"(?<!\d)(1\d{9})(?:\.(\d{1,6})|(\d{3}))?(?!\d)"
# Digits of seconds since 1970; a date and a time have 14.
_MIN_DIGITS = 10


class ClockOrigin(StrEnum):
    """The source of a recording's wall-clock time."""

    GIVEN = "given"
    NAME = "name"
    CONTAINER = "container"
    NONE = "none"


class Clock(NamedTuple):
    """When the first frame of a recording was taken. `start` has a time zone; None if unknown."""

    start: datetime | None
    origin: ClockOrigin

    def at(self, seconds: float) -> datetime | None:
        """Return the time `seconds` of elapsed time after the first frame, across changes of daylight saving time."""
        if self.start is None:
            return None
        moment = self.start.astimezone(UTC) + timedelta(seconds=seconds)
        return moment.astimezone(self.start.tzinfo)


def zone_of(name: str) -> tzinfo:
    """Return the time zone of an IANA name. Raises ConfigError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"zone must be an IANA name such as Europe/Berlin. Got {name!r}.") from error


def clock_of(
    path: str | PurePath,
    *,
    zone: tzinfo = UTC,
    start: datetime | None = None,
    patterns: Sequence[str] = (),
    creation_time: str | None = None,
) -> Clock:
    """Find the wall-clock time of a recording's start. Times without a zone are local to `zone`.

    `patterns` are strptime formats that match the start of a file's name without its suffix; they are tried before the
    built-in ones. `creation_time` is the container's, in ISO 8601.
    """
    if start is not None:
        return Clock(_in_zone(start, zone), ClockOrigin.GIVEN)
    named = _by_patterns(PurePath(path).stem, patterns) or in_name(PurePath(path).as_posix())
    if named is not None:
        return Clock(_in_zone(named, zone), ClockOrigin.NAME)
    if creation_time:
        try:
            moment = datetime.fromisoformat(creation_time.strip())
        except ValueError:
            moment = None
        # 1904 and 1970 are the epochs that containers hold when the time was never set; 9999 has no next year.
        if moment is not None and 1970 < moment.year < MAXYEAR:
            return Clock(_in_zone(moment if moment.tzinfo else moment.replace(tzinfo=UTC), zone), ClockOrigin.CONTAINER)
    return Clock(None, ClockOrigin.NONE)


def in_name(path: str) -> datetime | None:
    """Return the time in a path, by the built-in patterns; it has a zone only if it ends in Z or an offset such as
    +0200. (-0500 may be anything.)"""
    if sum(letter.isdecimal() for letter in path) < _MIN_DIGITS:
        return None
    for text in (path.rpartition("/")[2], path):
        for parts in _PATTERNS:
            for match in _pattern(*parts).finditer(text):
                part = match.groupdict()
                try:
                    year, month, day, hour, minute, second = (int(part[key]) for key in "YmdHMS")
                    moment = datetime(year, month, day, hour, minute, second)
                except ValueError:  # the 31st of a short month
                    continue
                moment += timedelta(microseconds=int((part["f"] or "0").ljust(6, "0")))
                return moment.replace(tzinfo=_offset(part["z"])) if part["z"] else moment
    epoch = re.search(_EPOCH, path.rpartition("/")[2])
    if epoch:
        seconds, fraction, millis = epoch.groups()
        behind = float(f"0.{fraction}") if fraction else int(millis or 0) / 1000
        return datetime.fromtimestamp(int(seconds), UTC) + timedelta(seconds=round(behind, 6))
    return None


def _offset(text: str) -> tzinfo:
    return UTC if text == "Z" else timezone(timedelta(hours=int(text[1:3]), minutes=int(text[3:])))


def _by_patterns(stem: str, patterns: Sequence[str]) -> datetime | None:
    for pattern in patterns:
        for end in range(len(stem), 0, -1):
            try:
                return datetime.strptime(stem[:end], pattern)
            except ValueError:
                continue
    return None


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Return the moment in `zone`. A local time skipped by daylight saving time moves to after the gap; a repeated one
    means its first occurrence."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
        moment = moment.astimezone(UTC)
    return moment.astimezone(zone)
