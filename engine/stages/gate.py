"""Gate: decide which frames of a stream, or which parts, are inferred, by what has changed since the last inference.

The decision depends only on the pixels, their times and the settings, not on the timing of anything else, so results
don't depend on timing either. Its state is part of a checkpoint.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from engine.media.planes import luma_of
from engine.records import Look, Plan
from engine.stages.decode import frame_bytes
from engine.stages.parts import cells_covered, grown, packed, rectangles
from engine.stages.windows import Opening, Windows
from engine_ext.letterbox import Letterbox
from engine_ext.motion import MotionMap

MAX_BETWEEN = 11
"""Frames in a row that may be between two others, at most."""
# Seconds behind the last frame that was looked at, up to which the first frame may be between it and the next, and the
# last one: below 10 frames per second, none is.
_FIRST_S, _LAST_S = Fraction(101, 1000), Fraction(7, 10)
# Large images that may wait for the next one.
_LARGE_WAITING = 4

# Of a tensor, what may be inferred in parts: of more, the whole costs little more and tells more.
_PACKED = 0.33
# The same at a finer scale, where parts show what the whole does not.
_PACKED_FINE = 1.0
# Of its blocks, what may have changed before another scene, or a camera that moves, is the better explanation, if it is
# at most so many seconds since the last frame that was looked at: over a longer time, things that move change as much.
_MOVING, _MOVING_S = 0.45, Fraction(1, 10)
# Seconds behind such a frame in which none is between two others: what moves all over is not on a straight way.
_RESTLESS_S = 1
MAX_SHIFT = 8.0
"""Levels of luma by which the light may shift as a whole."""
# How often the time between two whole frames doubles while nothing changes at all.
_DOUBLINGS = 3
# Pixels of the tensor around what has changed: what a detector must see of the surroundings of a thing.
_MARGIN = 16

Ignored = Callable[[NDArray[np.float64], tuple[int, int]], NDArray[np.bool_]]

# With windows in other places, or other intervals, the first bytes are others.
_MAGIC = b"gate3"
_STATE = struct.Struct("<5sIIqqqIIQb")
_LARGEST_STATE = 1 << 20


class GateSettings(NamedTuple):
    """full_every_s  seconds after which a frame is inferred whole again; they double with each such frame up to which
                  nothing has changed, three times, until something does
    shape_of      returns the tensor's height and width for a frame of this width and height, at the model's own scale
    fine_shape_of the same at the scale of parts; None: the model has one size, or runs elsewhere: no parts
    letterbox_of  returns the mapping of an image into a tensor of this height and width
    stride        of the model, to which parts are aligned
    largest       maximum bytes of an image that may wait for the next one; larger ones are never interpolated. Four of
                  that size may wait, or more of smaller ones
    audit         whether windows of frames are also inferred whole, and the gate may open by the result
    """

    full_every_s: Fraction
    shape_of: Callable[[tuple[int, int]], tuple[int, int]]
    fine_shape_of: Callable[[tuple[int, int]], tuple[int, int]] | None
    letterbox_of: Callable[[av.VideoFrame, tuple[int, int]], Letterbox]
    stride: int
    largest: int
    audit: bool = True

    def waiting(self, image_bytes: int) -> int:
        """Return how many images of so many bytes may wait for the next one that is inferred."""
        return 0 if image_bytes > self.largest else min(MAX_BETWEEN, _LARGE_WAITING * self.largest // image_bytes)

    def is_finer(self, size_wh: tuple[int, int]) -> bool:
        """Return whether parts of such a frame are inferred at a finer scale than the whole."""
        return self.fine_shape_of is not None and self.fine_shape_of(size_wh) > self.shape_of(size_wh)


class Gate:
    """The gate of one stream. Shown each frame in order, by one thread."""

    def __init__(
        self, settings: GateSettings, ignored: Ignored | None = None, *, seed: str = "", opening: Opening | None = None
    ) -> None:
        """`ignored` says which boxes (N, 4) in a frame of this width and height are in ignored regions. `seed` decides
        which frames are audited, and `opening` returns how far the gate opens; None: not at all, and no frame is
        audited."""
        self._settings = settings
        self._windows, self._opening = Windows(seed), opening
        self._level = 0
        self._number = 0  # of the next frame
        self._ignored_of = ignored
        self._map: MotionMap | None = None
        self._ignored: NDArray[np.bool_] | None = None
        self._whole_pts = self._looked_pts = 0
        self._held = 0  # frames since then that are between
        self._restless_until = -1 << 62
        self._quiet = -1  # how often whole frames were due in a row without a change; -1: after a change

    def see(
        self, image: av.VideoFrame, pts: int, time_base: Fraction, *, begins: bool = False, ends: bool = False
    ) -> Plan:
        """Return how to treat the next frame. If the gate may open, wait until it is known whether it does. `begins`:
        the frames before it were left out, so that it is inferred whole; `ends`: those behind it are, so that it is not
        interpolated."""
        held = self._held
        if self._opening is None:
            return self._plan(image, pts, time_base, begins, ends)._replace(held=held)
        place = self._windows.place(self._number)
        self._number += 1
        if place.decides and (level := self._opening.after(place.stretch)) is not None:
            self._level = level
        plan = self._plan(image, pts, time_base, begins, ends)
        return plan._replace(held=held, stretch=place.stretch, audited=place.audited, window_ends=place.ends)

    def _plan(self, image: av.VideoFrame, pts: int, time_base: Fraction, begins: bool, ends: bool) -> Plan:
        seen = self._map
        if seen is None or seen.size_wh != (image.width, image.height):
            seen = self._begin((image.width, image.height))
            begins = True
        seen.look(luma_of(image))
        changed = seen.changed
        if self._ignored is not None:
            changed &= ~self._ignored
        quiet = not begins and not changed.any()
        if not quiet:
            self._quiet = -1
        due, since = begins or self.is_due(pts, time_base), (pts - self._looked_pts) * time_base
        if due and quiet:
            self._quiet = min(self._quiet + 1, _DOUBLINGS)
        moves = since <= _MOVING_S and np.count_nonzero(changed) > _MOVING * changed.size
        if moves or abs(seen.shift) > MAX_SHIFT:
            self._quiet = -1
            self._restless_until = pts + int(_RESTLESS_S / time_base)
            return self._whole(pts)
        if due or self._level >= 4:
            return self._whole(pts)
        if not changed.any():
            self._looked_pts, self._held = pts, 0
            return Plan(Look.SAME)
        if not ends and pts > self._restless_until and self._may_wait(image, since):
            self._held += 1
            return Plan(Look.BETWEEN)
        plan = self._in_parts(image, changed)
        if plan is None:
            return self._whole(pts)
        self._looked_pts, self._held = pts, 0
        return plan

    def is_due(self, pts: int, time_base: Fraction) -> bool:
        """Return whether a frame at `pts` is to be inferred whole because the last one that was is too long ago."""
        wait = self._settings.full_every_s * (1 << max(self._quiet, 0))
        return self._map is None or (pts - self._whole_pts) * time_base >= wait

    def state(self) -> str:
        """Return everything that the next plans depend on, as text."""
        if self._map is None:
            return ""
        times = self._whole_pts, self._looked_pts, self._restless_until
        head = _STATE.pack(_MAGIC, *self._map.size_wh, *times, self._held, self._level, self._number, self._quiet)
        return base64.b64encode(zlib.compress(head + self._map.get_state(), 1)).decode()

    def restore(self, state: str) -> None:
        """Continue from the result of `state`. Raises ValueError for anything else."""
        try:
            unpacker = zlib.decompressobj()
            values = unpacker.decompress(base64.b64decode(state, validate=True), _LARGEST_STATE)
            magic, width, height, *times, held, level, number, quiet = _STATE.unpack_from(values)
        except (ValueError, zlib.error, struct.error) as error:
            raise ValueError("the gate's state is damaged") from error
        if magic != _MAGIC:
            raise ValueError("the gate's state is of another version")
        self._begin((width, height)).set_state(values[_STATE.size :])
        self._whole_pts, self._looked_pts, self._restless_until = times
        self._held, self._level, self._number, self._quiet = held, level, number, quiet

    def _begin(self, size_wh: tuple[int, int]) -> MotionMap:
        self._map = seen = MotionMap(size_wh)
        self._ignored = blocks_ignored(seen, self._ignored_of)
        return seen

    def _may_wait(self, image: av.VideoFrame, since: Fraction) -> bool:
        """Return whether a frame, so many seconds after the last one that was looked at, may be interpolated: none if
        parts show more than the whole frames between which it would be."""
        if since > (_LAST_S if self._held else _FIRST_S) or self._settings.is_finer((image.width, image.height)):
            return False
        waiting = self._settings.waiting(frame_bytes(image.format.name, image.width, image.height))
        return self._held < min(waiting, (MAX_BETWEEN, 1, 0)[min(self._level, 2)])

    def _whole(self, pts: int) -> Plan:
        assert self._map is not None
        self._map.accept()
        self._whole_pts, self._looked_pts, self._held = pts, pts, 0
        return Plan(Look.WHOLE, cost=1.0)

    def _in_parts(self, image: av.VideoFrame, changed: NDArray[np.bool_]) -> Plan | None:
        """Return the parts that have changed; None if the whole frame should be inferred."""
        settings, seen, size_wh = self._settings, self._map, (image.width, image.height)
        assert seen is not None
        if settings.fine_shape_of is None or self._level >= 3:
            return None
        whole_hw, stride = settings.fine_shape_of(size_wh), settings.stride
        letterbox = settings.letterbox_of(image, whole_hw)
        (ratio_x, ratio_y), (pad_x, pad_y) = letterbox.ratio_xy, letterbox.pad_xy
        counts = whole_hw[0] // stride, whole_hw[1] // stride
        axes = (
            (seen.blocks_hw[0], ratio_y, pad_y, image.height, counts[0]),
            (seen.blocks_hw[1], ratio_x, pad_x, image.width, counts[1]),
        )
        down, across = (
            cells_covered(blocks, seen.block_px, ratio, pad, size, stride, count, _MARGIN)
            for blocks, ratio, pad, size, count in axes
        )
        height, width = settings.shape_of(size_wh)
        most = _PACKED_FINE if settings.is_finer(size_wh) else _PACKED
        covered = down.T.astype(np.int32) @ changed @ across > 0
        if np.count_nonzero(covered) * stride**2 > most * height * width:
            return None
        rects = grown(rectangles(covered), counts)
        parts, tensor_hw = packed(rects, stride, counts)
        cost = tensor_hw[0] * tensor_hw[1] / (height * width)
        if cost > most:
            return None
        cells = np.zeros(counts, np.bool_)
        for left, top, right, bottom in rects:
            cells[top:bottom, left:right] = True
        # A block is looked at where no cell of it is missing, margins aside.
        inner_down, inner_across = (
            cells_covered(blocks, seen.block_px, ratio, pad, size, stride, count, 0)
            for blocks, ratio, pad, size, count in axes
        )
        missed = inner_down.astype(np.int32) @ ~cells @ inner_across.T > 0
        looked_at = ~missed if self._ignored is None else ~missed | self._ignored
        seen.accept(looked_at)
        return Plan(
            Look.PARTS,
            cost,
            parts,
            whole_hw,
            tensor_hw,
            letterbox.ratio_xy,
            letterbox.pad_xy,
            changed,
            seen.block_px,
        )


def blocks_ignored(seen: MotionMap, ignored: Ignored | None) -> NDArray[np.bool_] | None:
    """Return which blocks (rows, columns) bool are in ignored regions, as in Gate; None if there are none."""
    if ignored is None:
        return None
    rows, columns = seen.blocks_hw
    left, top = (np.arange(count) * float(seen.block_px) for count in (columns, rows))
    left, top = np.tile(left, rows), np.repeat(top, columns)
    right, bottom = (
        np.minimum(near + seen.block_px, side) for near, side in zip((left, top), seen.size_wh, strict=True)
    )
    return ignored(np.stack((left, top, right, bottom), 1), seen.size_wh).reshape(rows, columns)
