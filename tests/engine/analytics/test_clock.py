"""When a recording began: given, named, of the container, or unknown."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from engine.analytics.clock import ClockOrigin, clock_of, in_name, zone_of
from engine.errors import ConfigError

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Testvideo_Cars-Cyclist_FR20_2020-01-01_00-00-00.mp4", "2020-01-01T00:00:00"),
        ("cam-2026-11-30T10-15-00Z.mp4", "2026-11-30T10:15:00+00:00"),
        ("cam-2026-11-30T10-15-00.250Z.mp4", "2026-11-30T10:15:00.250000+00:00"),
        ("cam-2026-11-30T10-15-00+0545.mp4", "2026-11-30T10:15:00+05:45"),
        ("cam-2026-11-30T10-15-00-0500.mp4", "2026-11-30T10:15:00"),  # a number, for all we know
        ("VID_20200229_235959.mp4", "2020-02-29T23:59:59"),
        ("ch01_20200101120000.mp4", "2020-01-01T12:00:00"),
        ("Cam-00-20200101120000-20200101121000.mp4", "2020-01-01T12:00:00"),
        ("2020.01.01 12.30.05.avi", "2020-01-01T12:30:05"),
        ("2020-01-01_123005.avi", "2020-01-01T12:30:05"),
        ("2020-01-01/001/dav/12/12.30.05-12.40.00[M][0@0][0].dav", "2020-01-01T12:30:05"),
        ("1577836800.mp4", "2020-01-01T00:00:00+00:00"),
        ("1577836800.5-clip.mp4", "2020-01-01T00:00:00.500000+00:00"),
        ("1577836800250.mp4", "2020-01-01T00:00:00.250000+00:00"),
        ("clip_20201301_120000.mp4", None),  # no 13th month
        ("clip_20200230_120000.mp4", None),  # no 30th of February
        ("clip_20200101_250000.mp4", None),
        ("1234567890123456.mp4", None),
        ("people.mp4", None),
        ("cam1/2020.mp4", None),
    ],
)
def test_names(path, expected):
    found = in_name(path)
    assert (found.isoformat() if found else None) == expected


def test_the_order():
    name, container = "a_2020-06-01_12-00-00.mp4", "2021-01-01T00:00:00.000000Z"
    given = datetime(2019, 1, 1, 12)
    assert clock_of(name, zone=BERLIN, start=given).start == datetime(2019, 1, 1, 12, tzinfo=BERLIN)
    clock = clock_of(name, zone=BERLIN, creation_time=container)
    assert (clock.start.isoformat(), clock.origin) == ("2020-06-01T12:00:00+02:00", ClockOrigin.NAME)
    clock = clock_of("a.mp4", zone=BERLIN, creation_time=container)
    assert (clock.start.isoformat(), clock.origin) == ("2021-01-01T01:00:00+01:00", ClockOrigin.CONTAINER)
    clock = clock_of("a.mp4")
    assert (clock.start, clock.origin, clock.at(3)) == (None, ClockOrigin.NONE, None)


@pytest.mark.parametrize(
    "stamp", ["1904-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday", ""]
)
def test_a_container_that_was_never_told_the_time(stamp):
    assert clock_of("a.mp4", zone=BERLIN, creation_time=stamp).origin is ClockOrigin.NONE


def test_own_patterns_come_first():
    clock = clock_of("31.12.19 23h59 east 2020-01-01_00-00-00.mp4", patterns=["%d.%m.%y %Hh%M"])
    assert clock.start == datetime(2019, 12, 31, 23, 59, tzinfo=UTC)


def test_summer_time_ends_within_a_recording():
    clock = clock_of("a_2026-10-25_02-30-00.mp4", zone=BERLIN)
    assert clock.at(0).isoformat() == "2026-10-25T02:30:00+02:00"
    assert clock.at(3600).isoformat() == "2026-10-25T02:30:00+01:00"


def test_a_time_that_summer_time_leaves_out():
    assert clock_of("a_2026-03-29_02-30-00.mp4", zone=BERLIN).start.isoformat() == "2026-03-29T03:30:00+02:00"


def test_an_unknown_zone():
    with pytest.raises(ConfigError, match=r"IANA name such as Europe/Berlin\. Got 'Mars/Base'"):
        zone_of("Mars/Base")
