"""What a file lacks: what its container's structure tells, and what its header only claims."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from engine.media.source import Source
from engine.records import StreamInfo
from engine.stages.decode import Decoder

# A header may claim a few frames more than there are; a file that ends before this share of its claim is cut short.
_CUT_SHORT = 0.99


class Missing:
    """What a file lacks that was read to its end, which gave so many `frames`."""

    def __init__(self, source: Source, decoder: Decoder, info: StreamInfo, frames: int) -> None:
        self._source, self._decoder, self._claimed, self._frames = source, decoder, info.frames, frames
        self._lost = decoder.lost_at_start + decoder.leading

    def problems(self) -> Iterator[str]:
        """Yield what is missing according to the container's structure. A claimed count or duration is only a hint."""
        listed, claimed, frames = self._source.shown, self._claimed, self._frames
        if self._source.reached_end_of_index is False or self._is_cut():
            total = listed if listed is not None else claimed if self._source.counted else None
            if total and total > frames:
                yield f"ends early: {frames} of {total} frames"
            else:
                yield f"ends early: the file is truncated after {frames} frames"
        elif listed is not None and frames + self._lost < listed and not self._decoder.problems():
            yield f"{listed - frames - self._lost} of its {listed} frames can't be decoded"
        if (second := self._source.appended_at()) is not None:
            yield f"a second video is appended to it at byte {second:,}, which is not read: split the file there"

    def notes(self) -> Iterator[str]:
        """Yield what a header claims that is not there, where nothing else tells."""
        if self._bytes is None and self._claimed and self._is_short_of(self._claimed):
            yield f"the container claims {self._claimed} frames and has {self._read}"

    @property
    def _read(self) -> int:
        return self._frames + self._decoder.discarded

    @cached_property
    def _bytes(self) -> int | None:
        return self._source.missing_bytes()

    def _is_cut(self) -> bool:
        """Return whether frames were lost with the bytes that are missing at the end."""
        claimed, listed = self._claimed if self._source.counted else None, self._source.shown
        if self._bytes and claimed:
            return self._frames + self._lost < listed if listed is not None else self._read < claimed
        if self._bytes:
            return True
        # An AVI whose index is gone: its header is all that is left to go by.
        unlisted = self._bytes == 0 and self._source.reached_end_of_index is None
        return bool(unlisted and claimed and self._is_short_of(claimed))

    def _is_short_of(self, claimed: int) -> bool:
        return self._read < _CUT_SHORT * claimed - 1
