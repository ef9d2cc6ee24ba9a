"""How the source joins timelines: decoding times of packets in, decoding times out."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest

from engine.media.source import Clocks

TICK = 40  # of a millisecond clock: 25 frames a second


@dataclass
class Packet:
    """What Clocks reads and writes of a packet of av."""

    dts: int | None
    pts: int | None
    stream_index: int = 0
    duration: int | None = TICK
    time_base: Fraction | None = Fraction(1, 1000)


def joined(*dts: int, stream: int = 0, clocks: Clocks | None = None) -> list[int | None]:
    clocks = clocks or Clocks()
    packets = [Packet(tick, tick, stream) for tick in dts]
    for packet in packets:
        clocks.join(packet)
        assert packet.pts == packet.dts
    return [packet.dts for packet in packets]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([0, 40, 80], [0, 40, 80], id="one timeline"),
        pytest.param([-80, -40, 0], [-80, -40, 0], id="from before zero"),
        pytest.param([0, 40, 90_000, 90_040], [0, 40, 90_000, 90_040], id="a gap stays"),
        pytest.param([0, 40, 39, 80], [0, 40, 39, 80], id="a small disorder is left to decode"),
        pytest.param([1400, 1440, 0, 40], [1400, 1440, 1480, 1520], id="a seam"),
        pytest.param([1400, 1440, 0, 400, 0, 40], [1400, 1440, 1480, 1880, 1920, 1960], id="two seams"),
        pytest.param([9000, 9040, 20, 9120, 9160], [9000, 9040, 9080, 9120, 9160], id="one wrong packet"),
        pytest.param([1400, 1440, 0, 40, 5000], [1400, 1440, 1480, 1520, 6480], id="a gap behind a seam"),
    ],
)
def test_join(given: list[int], expected: list[int]) -> None:
    assert joined(*given) == expected


def test_sound_moves_with_the_picture() -> None:
    clocks = Clocks()
    assert joined(1000, 1400, 1000, 1040, clocks=clocks) == [1000, 1400, 1440, 1480]
    assert joined(1010, 1380, 1010, 1030, stream=1, clocks=clocks) == [1010, 1380, 1450, 1470]


def test_a_packet_without_decoding_time_moves_with_its_stream() -> None:
    clocks = Clocks()
    joined(1000, 0, clocks=clocks)
    packet = Packet(None, 40)
    clocks.join(packet)
    assert (packet.dts, packet.pts) == (None, 1080)


def test_a_packet_without_any_time_is_left() -> None:
    packet = Packet(None, None)
    Clocks().join(packet)
    assert (packet.dts, packet.pts) == (None, None)
