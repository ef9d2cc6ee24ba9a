"""What to hide in a frame, and how: boxes of tracks, also through gaps, before they were known and after they were
lost.

Frames are held for a while, so that later knowledge of a track hides it earlier: between two sightings, and before the
tracker was sure of it. Detections are hidden by themselves, however uncertain; reported ones that match no track are
also followed. What no detection and no track covers stays visible: this is no guarantee.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypedDict, TypeVar

import av
import numpy as np
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.media.planes import colour_of, planes_of
from engine_ext.blur import hide_boxes
from engine_ext.geometry import iou_matrix

T = TypeVar("T")
Boxes: TypeAlias = NDArray[np.float64]

# Bytes of images that may be held, whatever their number; two are held at least.
_HELD_BYTES = 256 << 20
_SIGHTINGS = 5  # by which a track's way is judged
_CELLS = 6
# A detection that overlaps a track so much is that track's; one that overlaps what was expected of another is that one.
_TAKEN_IOU, _AGAIN_IOU = 0.5, 0.3
# Differences of times in seconds are as long as they look to within this.
_ROUNDED_S = 1e-6


@dataclass(frozen=True)
class BlurSettings:
    """Classes by name; `pad` is the margin on each side of a box, relative to its size. A box is hidden for `hold_s`
    seconds before its track was first seen and after it was last seen; frames are held for as long. `boxes`: also draw
    the tracks. `conf` is the minimum score of a detection to hide, `followed_conf` of one to follow if it matches no
    track."""

    classes: frozenset[str]
    fill: bool = False
    pad: float = 0.15
    hold_s: float = 0.5
    conf: float = 0.1
    boxes: bool = True
    followed_conf: float = 0.25

    @classmethod
    def of(cls, config: EngineConfig) -> BlurSettings | None:
        """Take what a configuration asks for; None if nothing is to be hidden."""
        if not config.blur:
            return None
        return cls(
            frozenset(config.blur),
            config.blur_style == "fill",
            config.blur_pad,
            config.blur_hold_s,
            config.blur_conf,
            not config.only_blur,
            max(config.conf, config.blur_conf),
        )


class TrackJson(TypedDict):
    """A track that may still hide: its id, and its last sightings as (seconds, box)."""

    id: int
    seen: list[tuple[float, tuple[float, float, float, float]]]


@dataclass
class _Held(Generic[T]):
    item: T
    time_s: float
    bytes: int
    boxes: list[Boxes] = field(default_factory=list)


@dataclass
class _Known:
    """A track that hides: its last sightings, and the first one, as long as frames before that are held."""

    seen: deque[tuple[float, Boxes]]
    first: tuple[float, Boxes] | None

    def at(self, time_s: float) -> list[Boxes]:
        """Return where it may be at a time after it was last seen: where it was, and where its way leads."""
        last_s, last = self.seen[-1]
        return [last, last + _velocity(self.seen) * (time_s - last_s)]


class BlurWindow(Generic[T]):
    """Frames in their order, held until it is known what must be hidden in them. `T` is what a frame is given with."""

    def __init__(self, hold_s: float, held_bytes: int = _HELD_BYTES) -> None:
        self._hold_s = hold_s + _ROUNDED_S
        self._held_bytes = held_bytes
        self._held: deque[_Held[T]] = deque()
        self._bytes = 0
        self._tracks: dict[int, _Known] = {}

    def push(
        self,
        item: T,
        time_s: float,
        size_bytes: int,
        seen: Sequence[tuple[int, Boxes]],
        found: Boxes,
        followed: Boxes | None = None,
    ) -> Iterator[tuple[T, Boxes]]:
        """Take the next frame: what was `seen`, (id, box) of each track that hides, `found`, (N, 4) boxes of
        detections, and those of them that are `followed`, (K, 4). Give the frames of which all is known by now, each
        with (M, 4) boxes to hide."""
        now = _Held(item, time_s, size_bytes, [found])
        present = set()
        loose = [] if followed is None else self._follow(time_s, [box for _, box in seen], followed)
        for track_id, box in (*seen, *loose):
            present.add(track_id)
            now.boxes.append(box[None])
            self._sight(track_id, time_s, box)
        for track_id, known in list(self._tracks.items()):
            if track_id in present:
                continue
            if time_s - known.seen[-1][0] > self._hold_s:
                del self._tracks[track_id]
            else:
                now.boxes += [box[None] for box in known.at(time_s)]
        self._held.append(now)
        self._bytes += size_bytes
        while self._held and (
            time_s - self._held[0].time_s > self._hold_s or (self._bytes > self._held_bytes and len(self._held) > 2)
        ):
            yield self._release()

    def flush(self) -> Iterator[tuple[T, Boxes]]:
        """Give the frames that are left: nothing more will be known of them."""
        while self._held:
            yield self._release()

    def __len__(self) -> int:
        return len(self._held)

    def state(self) -> list[TrackJson]:
        """Return what the frames to come depend on, as JSON values."""
        return [
            {"id": track_id, "seen": [(time_s, tuple(box.tolist())) for time_s, box in known.seen]}
            for track_id, known in self._tracks.items()
        ]

    def restore(self, state: Iterable[Mapping[str, object]]) -> None:
        """Continue where `state` was taken. Raise ValueError, KeyError or TypeError if it is none."""
        for each in state:
            seen: deque[tuple[float, Boxes]] = deque(maxlen=_SIGHTINGS)
            given = each["seen"]
            if not isinstance(given, list) or not given:
                raise ValueError("a track that was never seen")
            for time_s, box in given:
                seen.append((float(time_s), np.array(box, np.float64).reshape(4)))
            track_id = each["id"]
            if not isinstance(track_id, int):
                raise ValueError("a track without an id")
            # What is before the first sighting is not held any more.
            self._tracks[track_id] = _Known(seen, None)

    def _follow(self, time_s: float, taken: Sequence[Boxes], followed: Boxes) -> list[tuple[int, Boxes]]:
        """Return detections that no track takes under ids of their own, below 0: those that were followed before, where
        they overlap what was expected of one, best first, and others again."""
        if taken and len(followed):
            followed = followed[iou_matrix(followed, np.stack(taken)).max(axis=1) < _TAKEN_IOU]
        if not len(followed):
            return []
        ids = [track_id for track_id in self._tracks if track_id < 0]
        free, found = dict(enumerate(followed)), []
        if ids:
            expected = np.stack([self._tracks[track_id].at(time_s)[1] for track_id in ids])
            overlaps = iou_matrix(padded(expected, 0.0), followed)
            for _ in range(min(overlaps.shape)):
                known, new = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
                if overlaps[known, new] < _AGAIN_IOU:
                    break
                found.append((ids[known], free.pop(int(new))))
                overlaps[known], overlaps[:, new] = -1.0, -1.0
        following = min(ids, default=0)
        return [*found, *((following - number, box) for number, box in enumerate(free.values(), 1))]

    def _sight(self, track_id: int, time_s: float, box: Boxes) -> None:
        """Hide a track where it is learned that it was: between two sightings, and before the first."""
        known = self._tracks.get(track_id)
        if known is None:
            known = self._tracks[track_id] = _Known(deque(maxlen=_SIGHTINGS), (time_s, box))
        elif known.seen:
            before_s, before = known.seen[-1]
            for held in self._held:
                if before_s < held.time_s < time_s:
                    share = (held.time_s - before_s) / (time_s - before_s)
                    held.boxes.append((before + share * (box - before))[None])
        known.seen.append((time_s, box))
        if known.first is None:
            return
        first_s, first = known.first
        if time_s - first_s > self._hold_s:
            known.first = None
            return
        speed = (box - first) / (time_s - first_s) if time_s > first_s else np.zeros(4)
        for held in self._held:
            if first_s - self._hold_s <= held.time_s < first_s:
                held.boxes.append((first + speed * (held.time_s - first_s))[None])
                if time_s == first_s:
                    held.boxes.append(first[None])

    def _release(self) -> tuple[T, Boxes]:
        held = self._held.popleft()
        self._bytes -= held.bytes
        return held.item, np.concatenate([np.empty((0, 4)), *held.boxes])


def _velocity(seen: deque[tuple[float, Boxes]]) -> Boxes:
    """Return sides in pixels a second, over the sightings that are kept."""
    (first_s, first), (last_s, last) = seen[0], seen[-1]
    still: Boxes = np.zeros(4)
    return (last - first) / (last_s - first_s) if last_s > first_s else still


def hide(image: av.VideoFrame, boxes_xyxy: Boxes, settings: BlurSettings) -> None:
    """Make the boxes, grown by the padding, unrecognisable in a yuv420p frame, in place."""
    if not len(boxes_xyxy):
        return
    hide_boxes(
        planes_of(image),
        (image.width, image.height),
        padded(boxes_xyxy, settings.pad),
        cells=_CELLS,
        fill=settings.fill,
        full_range=colour_of(image)[1],
    )


def padded(boxes_xyxy: Boxes, pad: float) -> Boxes:
    """Return (N, 4) boxes with `pad` sizes more on each side; a box that is inside out, as a way that is drawn too far
    can be, becomes one around the same middle."""
    boxes = np.concatenate(
        [np.minimum(boxes_xyxy[:, :2], boxes_xyxy[:, 2:]), np.maximum(boxes_xyxy[:, :2], boxes_xyxy[:, 2:])], axis=1
    )
    margin = pad * (boxes[:, 2:] - boxes[:, :2])
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
