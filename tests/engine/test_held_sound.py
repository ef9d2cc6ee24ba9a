"""Sound that waits for its frame: the same packets, however much of it fits in memory."""

from fractions import Fraction

import av
import pytest

from engine.errors import SinkError
from engine.pipeline.held_sound import HeldSound

BASE = Fraction(1, 1000)


def packet(dts, data=b"sound", duration=10):
    made = av.Packet(len(data))
    made.update(data)
    made.pts = made.dts = dts
    made.duration, made.time_base = duration, BASE
    return made


def told(packets):
    return [(each.pts, each.dts, each.duration, each.time_base, bytes(each)) for each in packets]


@pytest.mark.parametrize("max_bytes", [0, 2000, 1 << 20])
def test_what_is_taken_is_what_was_added(tmp_path, max_bytes):
    held = HeldSound(lambda: tmp_path, max_bytes)
    added = [packet(10 * number, bytes([number] * 50)) for number in range(20)]
    for each in added:
        held.add(each)
    assert len(held) == 20
    sound = held.take()
    assert told(sound) == told(sound) == told(added)
    assert len(held) == 0
    assert list(held.take()) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_bytes", [0, 2000, 1 << 20])
def test_only_what_belongs_to_the_part_is_taken(tmp_path, max_bytes):
    held = HeldSound(lambda: tmp_path, max_bytes)
    for number in range(20):
        held.add(packet(10 * number))
    held.drop_before(0.05)
    assert [each.dts for each in held.take(ends_s=0.09)] == [50, 60, 70, 80]


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(SinkError, match="sound can't be written: no such file or directory"):
        HeldSound(lambda: tmp_path / "gone", 0).add(packet(0))


def test_among_the_temporary_files():
    held = HeldSound(max_bytes=0)
    held.add(packet(7))
    assert [each.dts for each in held.take()] == [7]
