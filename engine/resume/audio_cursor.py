"""The packets of sound of one stream: which were given out before a checkpoint, so that none is lost or comes twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from engine.records import Barrier

if TYPE_CHECKING:
    import av


class SoundState(TypedDict):
    """The fields of a Barrier that tell of the sound."""

    audio: int
    audio_dts: int
    audio_time_base: tuple[int, int]
    audio_repeats: int


class SoundGate:
    """Counts packets in the order of the file, and holds back those that a checkpoint has already.

    From the beginning of a file they are told by their number; behind a seek by their decoding time, which must grow.
    `regular` says that it has, so far.
    """

    def __init__(self) -> None:
        self.regular = True
        self._count = 0
        self._dts: int | None = None
        self._time_base = (0, 1)
        self._repeats = 0
        self._skip = 0  # packets still to be held back
        self._given: Barrier | None = None  # the mark they were given out by
        self._known: tuple[int, int] | None = None  # behind a seek: dts of the last known packet, how many had it
        self._first: int | None = None

    def skip_to(self, mark: Barrier, *, sought: bool) -> None:
        """Hold back what was given out up to `mark`. `sought`: reading begins just before it, not at the start."""
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
        if packet.dts is None or (self._dts is not None and packet.dts < self._dts):
            self.regular = False
        elif packet.dts == self._dts:
            self._repeats += 1
        else:
            self._dts, self._repeats = packet.dts, 1
            self._time_base = (packet.time_base.numerator, packet.time_base.denominator)
        if self._skip:
            self._skip -= 1
            return False
        return True

    @property
    def fits(self) -> bool:
        """Behind a seek: whether reading began early enough to have met the last known packet, or still will."""
        return self._known is None or (self._first is not None and self._first <= self._known[0])

    def state(self) -> SoundState:
        """Return what a Barrier says of the sound."""
        if self._given is not None and self._skip:  # not all that were given out before have been met again
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
            self._first = dts + 1  # can't be told apart: it does not fit
            return True
        if self._first is None:
            self._first = packet.dts
        if packet.dts > dts:
            return True
        if packet.dts == dts:
            self._known = (dts, repeats - 1)
            return repeats <= 0
        return False
