"""The packets of a video file, and which of them a clip needs that begins at a key frame."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.clips.plan import Part
from engine.media.source import Source
from engine.media.units import kind_of, units_of_packet

# Rows store times rounded to a microsecond.
_ROUNDED_S = 1e-6
# Tolerance between two clocks of one video; shorter than any frame.
_SAME_S = 1e-3

# Codecs that players can play in an MP4.
_COPIED = frozenset("h264 hevc av1 vp9 mpeg4 mpeg2video".split())


@dataclass(frozen=True)
class Cut:
    """The packets [`first`, `stop`) of a file, numbered among its video packets, and the frames that need them:
    `wanted` are frame numbers as in the rows, ends included, with their times; `shown` are the frames that they decode
    to. `begins_pts` is the time of the first frame shown, `ends_pts` the end of the last."""

    first: int
    stop: int
    wanted: tuple[int, int]
    wanted_pts: tuple[int, ...]
    shown: tuple[int, int]
    begins_pts: int
    ends_pts: int


@dataclass(frozen=True)
class Piece:
    """Frames to re-encode, by their times, and the packets [`first`, `stop`) that they are decoded from."""

    first: int
    stop: int
    wanted_pts: tuple[int, ...]


@dataclass(frozen=True)
class Joint:
    """A frame-exact clip whose middle is copied: the packets [`key`, `stop`), starting where decoding can start,
    without those shown before it. The frames before and after are re-encoded."""

    head: Piece | None
    key: int
    stop: int
    tail: Piece | None

    @property
    def encoded(self) -> int:
        """The number of re-encoded frames."""
        return sum(len(piece.wanted_pts) for piece in (self.head, self.tail) if piece is not None)


class PacketIndex:
    """The video packets of a file in decoding order: pts, dts (N,) int64, whether each is a key frame, and whether a
    new sequence with other parameters may begin with it.

    `frames_pts` are the times of the frames in presentation order: frame i of the rows is the i-th of them, unless
    `problem` says why not, or why the packets can't be copied.
    """

    def __init__(
        self,
        pts: NDArray[np.int64],
        dts: NDArray[np.int64],
        key: NDArray[np.bool_],
        fresh: NDArray[np.bool_],
        end_pts: int,
    ) -> None:
        self.pts, self.dts, self.key, self.fresh, self.end_pts = pts, dts, key, fresh, end_pts
        self.hidden = np.zeros(len(pts), np.bool_)
        self.frames_pts = np.empty(0, np.int64)
        self.time_base = Fraction(1)
        self.problem: str | None = None

    @classmethod
    def read(cls, source: Source) -> PacketIndex:
        """Read all packets of an open source. Raises SourceError."""
        pts, dts, key, hidden, fresh = array("q"), array("q"), array("b"), array("b"), array("b")
        end, untimed, undated = 0, False, False
        avi = "avi" in source.containers  # stores no times, only the order
        codec, head = source.video.codec_context.codec.canonical_name, source.video.codec_context.extradata
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
            fresh.append(packet.is_keyframe and not avi and begins_anew(codec, head, bytes(packet)))
            end = max(end, shown + (packet.duration or 0))
        found = cls(_int64(pts), _int64(dts), _bool(key), _bool(fresh), end)
        found.hidden = _bool(hidden)
        if undated and len(found.pts):
            found.dts = _decoding_times(found.pts)
        found.time_base = source.video.time_base or Fraction(1, 90_000)
        if untimed:
            found.problem = "packets without a time"
        elif not len(found.pts):
            found.problem = "no packet"
        elif codec not in _COPIED:
            found.problem = f"{codec} does not go into an MP4"
        if len(found.pts):
            kept = ~found.hidden
            if found.key[0]:  # frames shown before it refer to packets that the file lacks
                kept &= found.pts >= found.pts[0]
            found.frames_pts = np.sort(found.pts[kept])
            if len(np.unique(found.frames_pts)) != len(found.frames_pts):
                found.problem = found.problem or "two pictures of one time"
        return found

    def check_rows(self, frames: NDArray[np.int64], pts: NDArray[np.int64]) -> None:
        """Note a problem if the rows number other frames than these. frames, pts: (N,) int64, of rows."""
        if self.problem is None and len(frames):
            inside = (frames >= 0) & (frames < len(self.frames_pts))
            if not inside.all() or (self.frames_pts[frames] != pts).any():
                self.problem = "its packets are not numbered as its frames are"

    def origin_of(self, frames: NDArray[np.int64], times_s: NDArray[np.float64], offset_s: float) -> int | None:
        """Return the difference between the rows' frame numbers and the positions here, for a video whose clock is
        `offset_s` behind the rows'; None if the rows are not its own. frames (N,) int64, times_s (N,) float64."""
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
        """Return the first and last frame of a part; None if it contains none."""
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
        """Return the packets that show the frames from `first_frame` to `last_frame`; None if no key frame precedes
        them.

        Decoding begins at the last key frame shown no later than the first of them. In an open group of pictures, some
        frames are shown before the key frame that they follow in the file; they are not part of the clip.
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
        while True:  # until no frame is missing between those shown
            stop = first + int(np.flatnonzero(self.pts[first:] <= latest)[-1]) + 1
            last_pts = int(self.pts[first:stop].max())
            if last_pts <= latest:
                break
            latest = last_pts
        shown_first = int(np.searchsorted(self.frames_pts, key_pts))
        shown_last = int(np.searchsorted(self.frames_pts, latest, "right")) - 1
        wanted = tuple(self.frames_pts[first_frame : last_frame + 1].tolist())
        frames, shown = (first_frame, last_frame), (shown_first, shown_last)
        return Cut(first, stop, frames, wanted, shown, key_pts, self._ends_of(shown_last))

    def joint(self, first_frame: int, last_frame: int) -> Joint | None:
        """Return how exactly the frames from `first_frame` to `last_frame` can be shown with some of them copied; None
        if none can be copied.

        Copying begins at the first key frame that no reference crosses, and ends with the last packet up to which, in
        decoding order, all frames shown so far are present and none that is shown later.
        """
        begin, end = int(self.frames_pts[first_frame]), int(self.frames_pts[last_frame])
        latest = np.maximum.accumulate(self.pts)
        for key in np.flatnonzero(self.fresh & (self.pts >= begin) & (self.pts <= end)).tolist():
            if key and latest[key - 1] >= self.pts[key]:
                continue  # frames decoded before it are shown after it
            reached = np.maximum.accumulate(self.pts[key:])
            to_come = np.append(np.minimum.accumulate(self.pts[:key:-1])[::-1], np.iinfo(np.int64).max)
            ends = np.flatnonzero((reached <= end) & (reached < to_come))
            if not len(ends):
                continue
            stop = key + int(ends[-1]) + 1
            if self.hidden[key:stop].any():
                return None
            return self._joint(first_frame, last_frame, key, stop, int(reached[ends[-1]]))
        return None

    def why_not_joint(self, first_frame: int, last_frame: int) -> str:
        """Return why none of these frames can be copied; "" if there is no key frame among them, the usual case."""
        begin, end = int(self.frames_pts[first_frame]), int(self.frames_pts[last_frame])
        among = self.key & (self.pts > begin) & (self.pts <= end)
        if not among.any():
            return ""
        if not (among & self.fresh).any():
            return "encoded as a whole: its key frames can't follow pictures of another encoder"
        return "encoded as a whole: pictures refer past its key frames"

    def exactly(self, joint: Joint, first_frame: int, last_frame: int) -> Cut:
        """Return the packets for a clip of exactly these frames."""
        pieces = [piece for piece in (joint.head, joint.tail) if piece is not None]
        first = min(joint.key, *(piece.first for piece in pieces))
        stop = max(joint.stop, *(piece.stop for piece in pieces))
        frames = (first_frame, last_frame)
        wanted = tuple(self.frames_pts[first_frame : last_frame + 1].tolist())
        return Cut(first, stop, frames, wanted, frames, wanted[0], self._ends_of(last_frame))

    def _ends_of(self, frame: int) -> int:
        return int(self.frames_pts[frame + 1]) if frame + 1 < len(self.frames_pts) else self.end_pts

    def _joint(self, first_frame: int, last_frame: int, key: int, stop: int, copied_to: int) -> Joint | None:
        at = int(np.searchsorted(self.frames_pts, self.pts[key]))
        behind = int(np.searchsorted(self.frames_pts, copied_to, "right"))
        pieces: list[Piece | None] = []
        for first, last in ((first_frame, at - 1), (behind, last_frame)):
            if first > last:
                pieces.append(None)
                continue
            found = self.cut(first, last)
            if found is None:
                return None
            pieces.append(Piece(found.first, found.stop, found.wanted_pts))
        return Joint(pieces[0], key, stop, pieces[1])


def begins_anew(codec: str, head: bytes | None, packet: bytes) -> bool:
    """Return whether a key frame's packet may follow a sequence with other parameters: an IDR picture in H.264, any
    random access point after an end of sequence in H.265. `head` is the stream's extradata."""
    if codec not in ("h264", "hevc"):
        return False
    kinds = [kind_of(codec, unit) for unit in units_of_packet(codec, head, packet)]
    return any(kind == 5 if codec == "h264" else 16 <= kind <= 21 for kind in kinds)


def _decoding_times(pts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return decoding times for packets in decoding order if the container has none: ascending, and none later than the
    frame's presentation time."""
    in_order = np.sort(pts)
    times: NDArray[np.int64] = in_order - max(0, int((in_order - pts).max()))
    return times


def _int64(values: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64) if len(values) else np.empty(0, np.int64)


def _bool(values: array[int]) -> NDArray[np.bool_]:
    return np.frombuffer(values, np.int8).astype(np.bool_) if len(values) else np.empty(0, np.bool_)
