"""Sound behind a checkpoint: nothing lost, nothing twice, whether reading begins at the start or behind a seek."""

from fractions import Fraction
from types import SimpleNamespace

import pytest

from engine.records import Barrier
from engine.resume.audio_cursor import SoundGate

RATE = Fraction(1, 44_100)


def packets(*times):
    return [SimpleNamespace(dts=dts, time_base=RATE) for dts in times]


def passed(gate, items):
    return [item.dts for item in items if gate.passes(item)]


@pytest.mark.parametrize(
    ("times", "given"),
    [
        ((0, 10, 20, 30, 40), 2),
        ((0, 10, 20, 30, 40), 5),  # all of them
        ((0, 0, 0, 10, 10, 10, 20), 4),  # several with one time
        ((-10, 0, 10), 1),
        ((0, 10), 0),  # none yet
    ],
)
@pytest.mark.parametrize("sought", [False, True])
def test_every_packet_once(times, given, sought):
    items = packets(*times)
    before = SoundGate()
    first = passed(before, items[:given])
    mark = Barrier(1, 0, 1, 0, **before.state())
    gate = SoundGate()
    gate.skip_to(mark, sought=sought)
    assert first + passed(gate, items) == list(times)
    assert gate.state() == {**gate.state(), "audio": len(times)}
    if sought and given:
        assert gate.fits
        late = SoundGate()
        late.skip_to(mark, sought=True)
        # Behind the first packet only, what was given out before can't be told to be complete; at its time it can.
        passed(late, items[given:])
        assert late.fits == (given < len(times) and times[given] == times[given - 1])


def test_a_mark_made_before_all_known_packets_were_met():
    """With another number of decoding threads, frames come sooner: what was given out stays given out."""
    before = SoundGate()
    passed(before, packets(0, 10, 20))
    mark = Barrier(1, 0, 1, 0, **before.state())
    gate = SoundGate()
    gate.skip_to(mark, sought=False)
    assert passed(gate, packets(0)) == []
    assert gate.state() == before.state()


@pytest.mark.parametrize(("times", "regular"), [((0, 10, 10, 20), True), ((0, 10, 9), False), ((0, None), False)])
def test_regular(times, regular):
    gate = SoundGate()
    passed(gate, packets(*times))
    assert gate.regular is regular


def test_a_packet_without_a_time_behind_a_seek_does_not_fit():
    gate = SoundGate()
    gate.skip_to(Barrier(1, 0, 1, 0, audio=1, audio_dts=5, audio_time_base=(1, 44_100), audio_repeats=1), sought=True)
    gate.passes(packets(None)[0])
    assert not gate.fits
