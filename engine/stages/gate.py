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
from engine.stages.windows import MAX_REACH, Opening, Openness, Windows
from engine_ext.letterbox import Letterbox
from engine_ext.motion import MotionMap

# Seconds behind the last frame that was looked at, up to which one frame, and several, may be between it and the next:
# every second frame at 10 to 28 frames per second, two of three at 30.
_ONE_BETWEEN_S, _SEVERAL_BETWEEN_S = Fraction(101, 1000), Fraction(7, 100)
_MAX_BETWEEN = 4
# Seconds behind the last inferred frame, beyond which nothing is interpolated, however well that goes.
_REACH_S = Fraction(1, 2)
# Seconds after a frame in which nothing has changed, before the audit's word is taken for longer intervals: it has seen
# little of what comes into sight.
_STEADY_S = Fraction(1, 2)

# Of a tensor, what may be inferred in parts: of more, the whole costs little more and tells more.
_PACKED = 0.33
# Of its blocks, what may have changed before another scene, or a camera that moves, is the better explanation.
_MOVING = 0.45
# Seconds behind such a frame in which none is between two others: what moves all over is not on a straight way.
_RESTLESS_S = 1
MAX_SHIFT = 8.0
"""Levels of luma by which the light may shift as a whole."""
# How often the time between two whole frames doubles while nothing changes at all.
_DOUBLINGS = 3
# Pixels of the tensor around what has changed: what a detector must see of the surroundings of a thing.
_MARGIN = 16

Ignored = Callable[[NDArray[np.float64], tuple[int, int]], NDArray[np.bool_]]

# With windows in other places, or other reaches, the first bytes are others.
_MAGIC = b"gate2"
_STATE = struct.Struct("<5sIIqqqqIIIQb")
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
        return 0 if image_bytes > self.largest else min(MAX_REACH, _MAX_BETWEEN * self.largest // image_bytes)


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
        self._openness = Openness()
        self._number = 0  # of the next frame
        self._ignored_of = ignored
        self._map: MotionMap | None = None
        self._ignored: NDArray[np.bool_] | None = None
        self._whole_pts = self._looked_pts = 0
        self._held = 0  # frames since then that are between
        self._restless_until = self._still_pts = -1 << 62
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
        if place.decides and (openness := self._opening.after(place.stretch)) is not None:
            self._openness = openness
        plan = self._plan(image, pts, time_base, begins, ends)
        stretch, leads, audited, ends_window, _ = place
        return plan._replace(held=held, stretch=stretch, leads=leads, audited=audited, window_ends=ends_window)

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
        if abs(seen.shift) > MAX_SHIFT or np.count_nonzero(changed) > _MOVING * changed.size:
            self._quiet = -1
            # Over a longer time than usual, things that move may change as much as a camera does.
            if not self._held or _is_near(since * self._held / (self._held + 1), self._held - 1):
                self._restless_until = pts + int(_RESTLESS_S / time_base)
            return self._whole(pts)
        if due or self._openness.level >= 4:
            return self._whole(pts)
        if not changed.any():
            self._looked_pts = self._still_pts = pts
            self._held = 0
            return Plan(Look.SAME)
        if not ends and pts > self._restless_until and self._may_wait(image, pts, time_base):
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
        times = self._whole_pts, self._looked_pts, self._restless_until, self._still_pts
        level, reach = self._openness.level, self._openness.reach
        head = _STATE.pack(_MAGIC, *self._map.size_wh, *times, self._held, level, reach, self._number, self._quiet)
        return base64.b64encode(zlib.compress(head + self._map.get_state(), 1)).decode()

    def restore(self, state: str) -> None:
        """Continue from the result of `state`. Raises ValueError for anything else."""
        try:
            unpacker = zlib.decompressobj()
            values = unpacker.decompress(base64.b64decode(state, validate=True), _LARGEST_STATE)
            magic, width, height, *times, held, level, reach, number, quiet = _STATE.unpack_from(values)
        except (ValueError, zlib.error, struct.error) as error:
            raise ValueError("the gate's state is damaged") from error
        if magic != _MAGIC:
            raise ValueError("the gate's state is of another version")
        self._begin((width, height)).set_state(values[_STATE.size :])
        self._whole_pts, self._looked_pts, self._restless_until, self._still_pts = times
        self._held = held
        self._openness, self._number, self._quiet = Openness(level, reach), number, quiet

    def _begin(self, size_wh: tuple[int, int]) -> MotionMap:
        self._map = seen = MotionMap(size_wh)
        self._ignored = blocks_ignored(seen, self._ignored_of)
        return seen

    def _may_wait(self, image: av.VideoFrame, pts: int, time_base: Fraction) -> bool:
        """Return whether a frame may be interpolated."""
        level, held, since = self._openness.level, self._held, (pts - self._looked_pts) * time_base
        if held >= self._settings.waiting(frame_bytes(image.format.name, image.width, image.height)):
            return False
        if _is_near(since, held) and held < (_MAX_BETWEEN, 1, 0)[min(level, 2)]:
            return True
        steady = (pts - self._still_pts) * time_base > _STEADY_S
        return not level and steady and held < self._openness.reach and since <= _REACH_S

    def _whole(self, pts: int) -> Plan:
        assert self._map is not None
        self._map.accept()
        self._whole_pts, self._looked_pts, self._held = pts, pts, 0
        return Plan(Look.WHOLE, cost=1.0)

    def _in_parts(self, image: av.VideoFrame, changed: NDArray[np.bool_]) -> Plan | None:
        """Return the parts that have changed; None if the whole frame should be inferred."""
        settings, seen, size_wh = self._settings, self._map, (image.width, image.height)
        assert seen is not None
        if settings.fine_shape_of is None or self._openness.level >= 3:
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
        rects = grown(rectangles(down.T.astype(np.int32) @ changed @ across > 0), counts)
        parts, tensor_hw = packed(rects, stride, counts)
        height, width = settings.shape_of(size_wh)
        cost = tensor_hw[0] * tensor_hw[1] / (height * width)
        if cost > _PACKED:
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


def _is_near(since: Fraction, held: int) -> bool:
    """Return whether a frame, so many seconds after the last inferred one and behind `held` others, is between two
    others whatever the audit has shown."""
    return since <= (_SEVERAL_BETWEEN_S if held else _ONE_BETWEEN_S)


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
