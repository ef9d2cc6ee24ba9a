"""Tracks which sound packets of a stream were output before a checkpoint, so that none is lost or repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from engine.records import Barrier

if TYPE_CHECKING:
    import av


class SoundState(TypedDict):
    """The fields of a Barrier about the sound."""

    audio: int
    audio_dts: int
    audio_time_base: tuple[int, int]
    audio_repeats: int


class SoundGate:
    """Counts packets in file order, and drops those that a checkpoint already includes.

    From the beginning of a file they are identified by number; after a seek by decoding time, which must ascend.
    `regular` says whether it has so far.
    """

    def __init__(self) -> None:
        self.regular = True
        self._count = 0
        self._dts: int | None = None
        self._time_base = (0, 1)
        self._repeats = 0
        self._skip = 0  # packets still to be dropped
        self._given: Barrier | None = None  # the barrier before which they were output
        self._known: tuple[int, int] | None = None  # after a seek: dts of the last known packet, and how many had it
        self._first: int | None = None

    def skip_to(self, mark: Barrier, *, sought: bool) -> None:
        """Drop packets that were output before `mark`. `sought`: reading begins just before it, not at the start."""
        if not mark.audio:
            return
        if sought:
            self._count, self._known = mark.audio, (mark.audio_dts, mark.audio_repeats)
            self._dts, self._time_base, self._repeats = mark.audio_dts, mark.audio_time_base, mark.audio_repeats
        else:
            self._skip, self._given = mark.audio, mark

    def passes(self, packet: av.Packet) -> bool:
        """Return whether a packet is new."""
        if self._known is not None and not self._is_behind(packet):
            return False
        self._count += 1
        dts = packet.dts
        if dts is None or (self._dts is not None and dts < self._dts):
            self.regular = False
        elif dts == self._dts:
            self._repeats += 1
        else:
            base = packet.time_base  # a new Fraction each time
            self._dts, self._repeats, self._time_base = dts, 1, (base.numerator, base.denominator)
        if self._skip:
            self._skip -= 1
            return False
        return True

    @property
    def fits(self) -> bool:
        """After a seek: whether reading began early enough to meet the last known packet."""
        return self._known is None or (self._first is not None and self._first <= self._known[0])

    def state(self) -> SoundState:
        """Return the fields of a Barrier about the sound."""
        if self._given is not None and self._skip:  # not all earlier packets have been met again
            given = self._given
            return {
                "audio": given.audio,
                "audio_dts": given.audio_dts,
                "audio_time_base": given.audio_time_base,
                "audio_repeats": given.audio_repeats,
            }
        return {
            "audio": self._count,
            "audio_dts": self._dts or 0,
            "audio_time_base": self._time_base,
            "audio_repeats": self._repeats,
        }

    def _is_behind(self, packet: av.Packet) -> bool:
        assert self._known is not None
        dts, repeats = self._known
        if packet.dts is None:
            self._first = dts + 1  # ambiguous, so the position does not fit
            return True
        if self._first is None:
            self._first = packet.dts
        if packet.dts > dts:
            return True
        if packet.dts == dts:
            self._known = (dts, repeats - 1)
            return repeats <= 0
        return False
