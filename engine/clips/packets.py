"""What packets a video file holds, and which of them a clip needs that begins at a key frame."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.clips.plan import Part
from engine.media.source import Source

# Rows have their times to a microsecond.
_ROUNDED_S = 1e-6
# Two clocks of one video; a frame is never so short.
_SAME_S = 1e-3

# What an MP4 holds that players can play.
_COPIED = frozenset("h264 hevc av1 vp9 mpeg4 mpeg2video".split())


@dataclass(frozen=True)
class Cut:
    """The packets [`first`, `stop`) of a file, by their number among its video packets, and the frames that they are
    needed for: `wanted` by number, as in rows, ends included, with their times; `shown` are those that they decode to.
    `begins_pts` is the time of the first frame shown, `ends_pts` where the last one ends."""

    first: int
    stop: int
    wanted: tuple[int, int]
    wanted_pts: tuple[int, ...]
    shown: tuple[int, int]
    begins_pts: int
    ends_pts: int


class PacketIndex:
    """The video packets of a file in the order of decoding: pts, dts (N,) int64 and whether each is a key frame.

    `frames_pts` are the times of the frames that are shown, in their order: the frame of number i in the rows is the
    i-th of them, unless `problem` says why that can't be, or why the packets can't be copied.
    """

    def __init__(self, pts: NDArray[np.int64], dts: NDArray[np.int64], key: NDArray[np.bool_], end_pts: int) -> None:
        self.pts, self.dts, self.key, self.end_pts = pts, dts, key, end_pts
        self.frames_pts = np.empty(0, np.int64)
        self.time_base = Fraction(1)
        self.problem: str | None = None

    @classmethod
    def read(cls, source: Source) -> PacketIndex:
        """Read all packets of an open source. Raises SourceError."""
        pts, dts, key, hidden = array("q"), array("q"), array("b"), array("b")
        end, untimed, undated = 0, False, False
        avi = "avi" in source.containers  # it stores no times: the place in the file is all that is known
        for packet in source.packets():
            if packet.stream_index != source.video.index:
                continue
            shown = packet.dts if avi else packet.pts
            untimed |= shown is None
            undated |= packet.dts is None
            shown = shown or 0
            pts.append(shown)
            dts.append(packet.dts or 0)
            key.append(bool(packet.is_keyframe))
            hidden.append(bool(packet.is_discard))
            end = max(end, shown + (packet.duration or 0))
        found = cls(_int64(pts), _int64(dts), _bool(key), end)
        if undated and len(found.pts):
            found.dts = _decoding_times(found.pts)
        found.time_base = source.video.time_base or Fraction(1, 90_000)
        codec = source.video.codec_context.codec.canonical_name
        if untimed:
            found.problem = "packets without a time"
        elif not len(found.pts):
            found.problem = "no packet"
        elif codec not in _COPIED:
            found.problem = f"{codec} does not go into an MP4"
        if len(found.pts):
            kept = ~_bool(hidden)
            if found.key[0]:  # what is in front of it on the screen refers to what the file has not
                kept &= found.pts >= found.pts[0]
            found.frames_pts = np.sort(found.pts[kept])
            if len(np.unique(found.frames_pts)) != len(found.frames_pts):
                found.problem = found.problem or "two pictures of one time"
        return found

    def check_rows(self, frames: NDArray[np.int64], pts: NDArray[np.int64]) -> None:
        """Note a problem where rows number other frames than these. frames, pts: (N,) int64, of rows."""
        if self.problem is None and len(frames):
            inside = (frames >= 0) & (frames < len(self.frames_pts))
            if not inside.all() or (self.frames_pts[frames] != pts).any():
                self.problem = "its packets are not numbered as its frames are"

    def origin_of(self, frames: NDArray[np.int64], times_s: NDArray[np.float64], offset_s: float) -> int | None:
        """Return by how much rows number the frames higher than they stand here, of a video whose own clock is
        `offset_s` behind theirs; None where they are not its rows. frames (N,) int64, times_s (N,) float64."""
        own_s = self.frames_pts * float(self.time_base)
        if not len(own_s) or not len(frames):
            return None
        places = np.abs(own_s - (times_s[0] - offset_s)).argmin()
        origin = int(frames[0]) - int(places)
        at = frames - origin
        if (at < 0).any() or (at >= len(own_s)).any() or (np.abs(own_s[at] - (times_s - offset_s)) > _SAME_S).any():
            return None
        return origin

    def frames_of(self, part: Part) -> tuple[int, int] | None:
        """Return the first and last frame of a part; None where there is none."""
        times = self.frames_pts
        ticks = float(1 / self.time_base)
        first = int(np.searchsorted(times, (part.begins_s - _ROUNDED_S) * ticks, "left"))
        last = int(np.searchsorted(times, (part.ends_s + _ROUNDED_S) * ticks, "right")) - 1
        if part.frames is not None and part.of == 1:
            first, last = min(first, part.frames[0]), max(last, part.frames[1])
        if part.number > 1:
            first = max(first, int(np.searchsorted(times, (part.after_s + _ROUNDED_S) * ticks, "right")))
        first, last = max(0, first), min(len(times) - 1, last)
        return (first, last) if first <= last else None

    def cut(self, first_frame: int, last_frame: int) -> Cut | None:
        """Return the packets that show the frames from `first_frame` to `last_frame`; None where no key frame stands
        in front of them.

        Decoding begins at the last key frame that is shown no later than the first of them. Behind an open group of
        pictures some are shown before the key frame that they follow: they are none of the clip's.
        """
        begin, end = int(self.frames_pts[first_frame]), int(self.frames_pts[last_frame])
        number_of = np.flatnonzero(self.pts == begin)
        if not len(number_of):
            return None
        keys = np.flatnonzero(self.key[: int(number_of[-1]) + 1] & (self.pts[: int(number_of[-1]) + 1] <= begin))
        if not len(keys):
            return None
        first = int(keys[-1])
        key_pts = int(self.pts[first])
        latest = end
        while True:  # until nothing that is shown is missing between what is
            stop = first + int(np.flatnonzero(self.pts[first:] <= latest)[-1]) + 1
            last_pts = int(self.pts[first:stop].max())
            if last_pts <= latest:
                break
            latest = last_pts
        shown_first = int(np.searchsorted(self.frames_pts, key_pts))
        shown_last = int(np.searchsorted(self.frames_pts, latest, "right")) - 1
        ends = int(self.frames_pts[shown_last + 1]) if shown_last + 1 < len(self.frames_pts) else self.end_pts
        wanted = tuple(self.frames_pts[first_frame : last_frame + 1].tolist())
        return Cut(first, stop, (first_frame, last_frame), wanted, (shown_first, shown_last), key_pts, ends)


def _decoding_times(pts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return times of decoding for packets in that order, where a container has none: they grow, and none is later than
    the picture's time on the screen."""
    in_order = np.sort(pts)
    times: NDArray[np.int64] = in_order - max(0, int((in_order - pts).max()))
    return times


def _int64(values: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64) if len(values) else np.empty(0, np.int64)


def _bool(values: array[int]) -> NDArray[np.bool_]:
    return np.frombuffer(values, np.int8).astype(np.bool_) if len(values) else np.empty(0, np.bool_)
