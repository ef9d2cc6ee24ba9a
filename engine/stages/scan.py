"""Scan: which groups of pictures of a file are worth decoding, by its key frames and the sizes of its packets.

A group is a key frame and what is shown before the next one. Something happens in it if the two key frames differ, or
if its other packets are much larger than those of the groups around it. The decision depends on the file alone.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from numpy.typing import NDArray

from engine.media.planes import luma_of
from engine.stages.gate import MAX_SHIFT, Ignored, blocks_ignored
from engine_ext.motion import MotionMap

# Of a group's packets besides the key frame, the largest tenth counts: something may happen in a part of it. They are
# large if their mean is more than this many times the lower quartile of the groups up to `_AROUND` before and behind,
# and more than a few bytes.
_LARGER, _AROUND, _FEW_BYTES = 2.0, 32, 24.0

# Nothing is left out for less than this: between two parts in which something happens, objects keep their tracks.
_SHORTEST_GAP_S = 5

# Packets of one file: a day at 60 frames per second has a third of it.
_MAX_PACKETS = 1 << 24

_CONTAINERS = frozenset({"mov", "matroska"})
_UNCOUNTABLE = frozenset({"vp8"})  # with packets that show nothing


class Unscannable(Exception):
    """Packets don't tell which frames there are; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Scan:
    """What is examined of a file.

    pts       (N,) int64 of every frame, in the order in which they are shown
    key_pts   (G,) int64 of each group's key frame
    leads     (G,) bool: frames shown before the key frame, which belong to the group before, follow it in the file
    examined  (G,) bool
    """

    pts: NDArray[np.int64]
    key_pts: NDArray[np.int64]
    leads: NDArray[np.bool_]
    examined: NDArray[np.bool_]
    starts: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", np.searchsorted(self.pts, np.append(self.key_pts, np.iinfo(np.int64).max)))

    @property
    def frames(self) -> int:
        """Frames of the examined groups."""
        return int(np.diff(self.starts)[self.examined].sum())

    def group(self, key_pts: int) -> int | None:
        """Return the group of the key frame at this time; None if there is none."""
        at = int(np.searchsorted(self.key_pts, key_pts))
        return at if at < len(self.key_pts) and self.key_pts[at] == key_pts else None

    def takes(self, group: int) -> bool:
        """Return whether a group is examined; false behind the last one."""
        return group < len(self.examined) and bool(self.examined[group])

    def index(self, pts: int) -> int:
        """Return the number in the file of the frame at this time."""
        return int(np.searchsorted(self.pts, pts))

    def begins(self, index: int) -> bool:
        """Return whether frame `index` follows frames that are not examined."""
        group = self._group_at(index)
        return group > 0 and self.takes(group) and not self.takes(group - 1)

    def ends(self, index: int) -> bool:
        """Return whether frame `index` precedes frames that are not examined."""
        group = self._group_at(index + 1)
        return 0 < group < len(self.examined) and self.takes(group - 1) and not self.takes(group)

    def _group_at(self, index: int) -> int:
        """Return the group that begins with frame `index`; 0 if that is not a key frame."""
        group = int(np.searchsorted(self.starts, index))
        return group if group < len(self.starts) and self.starts[group] == index else 0

    def end_of_run(self, group: int) -> int:
        """Return the time at which the examined groups from `group` on end, in ticks."""
        left_out = np.flatnonzero(~self.examined[group:])
        return int(self.key_pts[group + left_out[0]]) if len(left_out) else np.iinfo(np.int64).max

    def gaps(self) -> list[tuple[int, int]]:
        """Return from when to when nothing is examined, in ticks."""
        found: list[tuple[int, int]] = []
        for group in np.flatnonzero(~self.examined):  # the last one is examined
            first, last = int(self.key_pts[group]), int(self.key_pts[group + 1])
            if found and found[-1][1] == first:
                first = found.pop()[0]
            found.append((first, last))
        return found


class Survey:
    """The first pass over a file: `take` each packet of the video, and `show` the images of key frames."""

    def __init__(self, containers: set[str], codec: str, ignored: Ignored | None = None) -> None:
        """`ignored` is as in Gate. Raises Unscannable."""
        if containers.isdisjoint(_CONTAINERS):
            raise Unscannable("its container has no reliable times: remux it, as with ffmpeg -i FILE -c copy FILE.mp4")
        if codec in _UNCOUNTABLE:
            raise Unscannable(f"{codec} has packets that show nothing: encode it again")
        self._ignored_of = ignored
        self._map: MotionMap | None = None
        self._ignored: NDArray[np.bool_] | None = None
        self._pts = array("q")
        self._keys = array("q")
        self._leads: list[bool] = []
        self._large = array("d")
        self._sizes: list[int] = []
        self._changed: list[bool] = []

    def take(self, packet: av.Packet) -> bool:
        """Take the next packet, and return whether it is a key frame. Raises Unscannable."""
        pts = packet.pts
        if pts is None:
            raise Unscannable("it has packets without a time: remux it")
        if packet.is_discard:
            raise Unscannable("it has frames that are not to be shown: encode it again")
        if len(self._pts) >= _MAX_PACKETS:
            raise Unscannable("it is too long: cut it")
        if packet.is_keyframe:
            if self._keys and pts <= self._keys[-1]:
                raise Unscannable("its times don't increase: encode it again")
            self._end_group()
            self._keys.append(pts)
            self._leads.append(False)
        elif not self._keys:
            raise Unscannable("it doesn't begin with a key frame: cut it there")
        else:
            self._sizes.append(packet.size)
            if pts < self._keys[-1]:
                if len(self._keys) == 1 or pts < self._keys[-2]:
                    raise Unscannable("it has frames that belong to no group of pictures: encode it again")
                self._leads[-1] = True
        self._pts.append(pts)
        return bool(packet.is_keyframe)

    def show(self, image: av.VideoFrame | None) -> None:
        """Take the image of the key frame taken last; None if it can't be decoded."""
        if image is None:
            self._changed.append(True)
            return
        seen, size_wh = self._map, (image.width, image.height)
        if seen is None or seen.size_wh != size_wh:
            self._map = seen = MotionMap(size_wh)
            self._ignored = blocks_ignored(seen, self._ignored_of)
            self._changed.append(True)
        else:
            seen.look(luma_of(image))
            changed = seen.changed
            if self._ignored is not None:
                changed &= ~self._ignored
            self._changed.append(bool(changed.any()) or abs(seen.shift) > MAX_SHIFT)
            seen.accept()
            return
        seen.look(luma_of(image))
        seen.accept()

    def result(self, time_base: Fraction, start_s: float = 0.0) -> Scan:
        """Return what is to be examined of what was taken. The first group from `start_s` on and the last one always
        are. Raises Unscannable."""
        if not self._keys:
            raise Unscannable("it has no frames")
        self._end_group()
        pts, keys = np.sort(np.array(self._pts, np.int64)), np.array(self._keys, np.int64)
        if (np.diff(pts) == 0).any():
            raise Unscannable("it has two frames at one time: encode it again")
        if pts[0] != keys[0]:
            raise Unscannable("it doesn't begin with a key frame: cut it there")
        large, count = np.array(self._large), len(keys)
        active = np.zeros(count, np.bool_)
        active[:-1] = self._changed[1:]
        for group in range(count):
            near = large[max(0, group - _AROUND) : group + _AROUND + 1]
            active[group] |= large[group] > _LARGER * np.quantile(near, 0.25, method="lower") + _FEW_BYTES
        first = max(0, int(np.searchsorted(keys, pts[0] + float(Fraction(start_s) / time_base), side="right")) - 1)
        active[:first] = False
        active[[first, -1]] = True
        _close(active, keys, int(_SHORTEST_GAP_S / time_base))
        return Scan(pts, keys, np.array(self._leads, np.bool_), active)

    def _end_group(self) -> None:
        if self._keys:
            sizes = sorted(self._sizes)[-max(1, len(self._sizes) // 10) :]
            self._large.append(sum(sizes) / max(1, len(sizes)))
            self._sizes = []


def _close(active: NDArray[np.bool_], keys: NDArray[np.int64], shortest: int) -> None:
    """Fill gaps of fewer than `shortest` ticks between two active groups, in place."""
    found = np.flatnonzero(active)
    for before, behind in pairwise(found):
        if keys[behind] - keys[before + 1] < shortest:
            active[before:behind] = True
