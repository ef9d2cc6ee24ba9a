"""Packets come out of a log as they went in, and a log can be cut behind any of them."""

import os
import struct
from fractions import Fraction

import av
import pytest
from av.packet import PacketSideData

from engine.errors import CheckpointMismatch
from engine.sinks.base import cut, fresh, reopened
from engine.sinks.packet_log import AUDIO, VIDEO, PacketLog, read_header, read_packets

SKIP_SAMPLES = 11  # its number in FFmpeg
HEADER = {"size_wh": [64, 48], "extradata": "00ff"}
# kind, payload, pts, dts, duration, time base, key frame, side data
PACKETS = [
    (VIDEO, b"\x00\x00\x00\x01picture", 0, 0, 40, Fraction(1, 1000), True, None),
    (AUDIO, b"sound", -1024, -1024, 1024, Fraction(1, 44_100), True, b"0123456789"),
    (AUDIO, b"", None, 5, 0, Fraction(1, 2**31 - 1), False, None),
    (VIDEO, bytes(70_000), 2**62, -(2**62), 1, Fraction(1001, 30_000), False, None),
]


def packet(payload, pts, dts, duration, time_base, key, side_data):
    made = av.Packet(payload)
    made.pts, made.dts, made.duration, made.time_base, made.is_keyframe = pts, dts, duration, time_base, key
    if side_data:
        data = PacketSideData(SKIP_SAMPLES, len(side_data))
        data.update(side_data)
        made.set_sidedata(data)
    return made


@pytest.fixture
def log(tmp_path):
    """A log of PACKETS and its size behind the header and each packet."""
    path = tmp_path / "a.mp4.part"
    log = PacketLog(fresh(path))
    log.header(HEADER)
    sizes = [log.size]
    for kind, *values in PACKETS:
        log.packet(kind, packet(*values))
        sizes.append(log.size)
    log.sync()
    log.close()
    assert path.stat().st_size == sizes[-1]
    return path, sizes


def facts(kind, item, base):
    assert base == item.time_base
    side_data = [bytes(data) for data in item.iter_sidedata()]
    return (
        kind, bytes(item), item.pts, item.dts, item.duration or 0, item.time_base, item.is_keyframe,
        side_data[0] if side_data else None,
    )  # fmt: skip


def test_reads_back(log):
    path, _ = log
    assert read_header(path) == HEADER
    assert [facts(*item) for item in read_packets(path)] == PACKETS


@pytest.mark.parametrize("count", range(len(PACKETS) + 1))
def test_cut_behind_any_packet_and_continued(log, count):
    path, sizes = log
    assert [facts(*item) for item in read_packets(path, sizes[count])] == PACKETS[:count]
    before = path.stat().st_ino
    earlier = path.rename(path.with_name("earlier.part"))
    with earlier.open("ab") as halted:  # a process that was halted, and wakes
        again = PacketLog(reopened(path, sizes[count], earlier))
        assert path.stat().st_ino != before
        halted.write(b"late")
        halted.flush()
        kind, *values = PACKETS[0]
        again.packet(kind, packet(*values))
        again.close()
    assert [facts(*item) for item in read_packets(path)] == [*PACKETS[:count], PACKETS[0]]
    assert sorted(os.listdir(path.parent)) == [path.name, earlier.name]


@pytest.mark.parametrize("missing", [1, 30, 69_999])
def test_a_log_that_ends_within_a_record(log, missing):
    path, sizes = log
    os.truncate(path, sizes[-1] - missing)
    with pytest.raises(ValueError, match="ends within a record"):
        list(read_packets(path))
    with pytest.raises(CheckpointMismatch, match="shorter than at the checkpoint"):
        reopened(path.with_name("b.part"), sizes[-1], path)


def test_what_is_no_log(tmp_path):
    path = tmp_path / "a.part"
    for junk in (b"", b"junk", struct.pack("<BB3q2iI", 1, 0, 0, 0, 0, 1, 1, 0)):
        path.write_bytes(junk)
        with pytest.raises(ValueError, match=r"not a packet log|ends within"):
            read_header(path)


def test_cut_where_the_system_cannot_copy_ranges(log, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(18, "Invalid cross-device link")

    path, sizes = log
    monkeypatch.setattr("os.copy_file_range", refused)
    cut(path, tmp_path / "b", sizes[2])
    assert (tmp_path / "b").read_bytes() == path.read_bytes()[: sizes[2]]


def test_fresh_is_another_file(tmp_path):
    path = tmp_path / "a.part"
    path.write_bytes(b"old")
    with path.open("ab") as halted, fresh(path) as file:
        halted.write(b"late")
        file.write(b"new")
    assert path.read_bytes() == b"new"
