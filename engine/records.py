"""The record types for each hop of the pipeline, in the order of the data.

Source -> Packet -> decode -> Frame -> batch -> FrameBatch -> preprocess -> TensorBatch -> infer -> RawOutputs
-> postprocess -> Detections -> track -> Tracks -> sink, and EndOfStream after the last record of each stream.
A stream that resumes from a checkpoint starts with a StartOfStream. A checkpoint travels with the data: the reader
attaches a Barrier to a frame, the tracker adds its TrackerState, and the sinks record the sizes of their files.

N is the number of detections in a frame, M of tracks, B of frames in a batch. Boxes are pixels of the source frame
(upright, after its rotation metadata), as x1 y1 x2 y2 with the origin at the top left corner.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NotRequired, TypeAlias, TypedDict, TypeVar

import numpy as np

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray

    from engine_ext.letterbox import Letterbox

T = TypeVar("T")


class StreamInfo(NamedTuple):
    """What is known about a stream when it opens.

    `key` is unique in a run. `frames` and `duration_s` are the container's claims, None if it makes none.
    `step_s` is the nominal seconds between two frames, the trackers' unit of time; None: unknown. `size_wh` is the size
    as stored, before any rotation. `audio` is the input's audio stream, which the video sink copies. `pixel_aspect` is
    the width of a stored pixel over its height. `creation_time` is the container's, verbatim; `wall_start` is the
    wall-clock time of the first frame, with its zone; None: unknown.
    """

    key: int
    path: str
    size_wh: tuple[int, int]
    time_base: Fraction
    frame_rate: Fraction
    frames: int | None
    duration_s: float | None
    live: bool = False
    audio: av.AudioStream | None = None
    pixel_aspect: Fraction = Fraction(1)
    creation_time: str | None = None
    step_s: Fraction | None = None
    wall_start: datetime | None = None


@dataclass(slots=True, frozen=True)
class Barrier:
    """A reader's position after a frame, and how it recognizes that position.

    frames     frames returned so far, including this one
    pts, duration, crc   of the frame: ticks, and the CRC-32 of its luma rows
    first_pts  of the stream's first frame
    decode_s   seconds of decoding so far
    anchors    (index, pts) of key frames on the way here, oldest first: places to seek to
    seekable   whether decoding from an anchor may be tried: nothing was damaged, discarded, moved or repaired so far
    audio      audio packets returned so far; `audio_dts` is the last one's time, `audio_time_base` its unit and
               `audio_repeats` the number of packets in a row with it
    origin     index of the first returned frame: not 0 if the beginning is skipped
    tail       for a file of a sequence: sketches of the last frames, by which the next file finds those it repeats
    gate       the gate's state (engine.stages.gate), in base64; empty without one
    """

    frames: int
    pts: int
    duration: int
    crc: int
    first_pts: int = 0
    decode_s: float = 0.0
    anchors: tuple[tuple[int, int], ...] = ()
    seekable: bool = False
    audio: int = 0
    audio_dts: int = 0
    audio_time_base: tuple[int, int] = (0, 1)
    audio_repeats: int = 0
    origin: int = 0
    tail: tuple[int, ...] = ()
    gate: str = ""


class TrackerJson(TypedDict):
    """A TrackerState as JSON values: `kernel` in base64, the bytes of `scores` in hexadecimal digits."""

    name: str
    kernel: str
    class_ids: list[int]
    scores: str
    pts: int
    filled: NotRequired[FilledJson]
    reported: NotRequired[ReportedJson]


class ReportedJson(TypedDict):
    """Tracks as a frame reported them, and its pts: the bytes of boxes and scores in hexadecimal digits."""

    boxes: str
    track_ids: list[int]
    class_ids: list[int]
    scores: str
    pts: int


class FilledJson(TypedDict):
    """A Filled as JSON values: the bytes of boxes, scores and speeds in hexadecimal digits."""

    boxes: str
    scores: str
    class_ids: list[int]
    pts: int
    speeds: NotRequired[str]


class Reported(NamedTuple):
    """The tracks that a frame reported: boxes_xyxy (M, 4) float64, track_ids (M,) int64, class_ids (M,) int32, scores
    (M,) float32, and the frame's pts."""

    boxes_xyxy: NDArray[np.float64]
    track_ids: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    pts: int

    @classmethod
    def of(cls, tracks: Tracks) -> Reported:
        return cls(tracks.boxes_xyxy, tracks.track_ids, tracks.class_ids, tracks.scores, tracks.frame.pts)

    def to_json(self) -> ReportedJson:
        return {
            "boxes": np.ascontiguousarray(self.boxes_xyxy).tobytes().hex(),  # to the last bit
            "track_ids": self.track_ids.tolist(),
            "class_ids": self.class_ids.tolist(),
            "scores": self.scores.tobytes().hex(),
            "pts": self.pts,
        }

    @classmethod
    def from_json(cls, values: ReportedJson) -> Reported:
        """Read what `to_json` gives. Raises ValueError, TypeError, KeyError or OverflowError for anything else."""
        boxes = np.frombuffer(bytes.fromhex(values["boxes"]), np.float64).reshape(-1, 4)
        scores = np.frombuffer(bytes.fromhex(values["scores"]), np.float32)
        ids, class_ids = np.array(values["track_ids"], np.int64), np.array(values["class_ids"], np.int32)
        if not (len(boxes),) == scores.shape == ids.shape == class_ids.shape or type(values["pts"]) is not int:
            raise ValueError("its tracks do not fit each other")
        return cls(boxes, ids, class_ids, scores, values["pts"])


class Filled(NamedTuple):
    """The detections of a frame of a gated stream, its pts, and how fast the centre of each box moves: (N, 2) float32,
    in pixels per tick."""

    found: Detections
    pts: int
    speeds: NDArray[np.float32]

    def to_json(self) -> FilledJson:
        found = self.found
        return {
            "boxes": found.boxes_xyxy.tobytes().hex(),
            "scores": found.scores.tobytes().hex(),
            "class_ids": found.class_ids.tolist(),
            "pts": self.pts,
            "speeds": self.speeds.tobytes().hex(),
        }

    @classmethod
    def from_json(cls, values: FilledJson) -> Filled:
        """Read what `to_json` gives. Raises ValueError, TypeError, KeyError or OverflowError for anything else."""
        boxes = np.frombuffer(bytes.fromhex(values["boxes"]), np.float32).reshape(-1, 4)
        scores = np.frombuffer(bytes.fromhex(values["scores"]), np.float32)
        class_ids = np.array(values["class_ids"], np.int32)
        speeds = np.zeros((len(boxes), 2), np.float32)
        if "speeds" in values:
            speeds = np.frombuffer(bytes.fromhex(values["speeds"]), np.float32).reshape(-1, 2)
        if not len(boxes) == len(scores) == len(class_ids) == len(speeds) or type(values["pts"]) is not int:
            raise ValueError("its detections do not fit each other")
        return cls(Detections(boxes, scores, class_ids), values["pts"], speeds)


class TrackerState(NamedTuple):
    """A stream's tracker after a frame: its name, the state of its kernel, class and score of the detections it matched
    last, (N,) int32 and (N,) float32, and the frame's pts. `filled`, for a gated stream: what is carried over to the
    next frames. `reported`, if gaps are filled from both sides: the frame's tracks."""

    name: str
    kernel: bytes
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    pts: int
    filled: Filled | None = None
    reported: Reported | None = None

    def to_json(self) -> TrackerJson:
        values: TrackerJson = {
            "name": self.name,
            "kernel": base64.b64encode(self.kernel).decode(),
            "class_ids": self.class_ids.tolist(),
            "scores": self.scores.tobytes().hex(),  # to the last bit
            "pts": self.pts,
        }
        if self.filled is not None:
            values["filled"] = self.filled.to_json()
        if self.reported is not None:
            values["reported"] = self.reported.to_json()
        return values

    @classmethod
    def from_json(cls, values: TrackerJson) -> TrackerState:
        """Parse the output of `to_json`. Raises ValueError, TypeError, KeyError or OverflowError for anything else."""
        return cls(
            values["name"],
            base64.b64decode(values["kernel"]),
            np.array(values["class_ids"], np.int32),
            np.frombuffer(bytes.fromhex(values["scores"]), np.float32),
            values["pts"],
            Filled.from_json(values["filled"]) if "filled" in values else None,
            Reported.from_json(values["reported"]) if "reported" in values else None,
        )


class StartOfStream(NamedTuple):
    """Precedes a stream that does not start at its first frame: `frames` of it are done or skipped, and `tracker`, a
    StreamTracker, has the state after those that are done. `filled` and `reported` are as in TrackerState; `agreements`
    is the audit's result so far."""

    stream: int
    frames: int
    tracker: Any
    filled: Filled | None = None
    agreements: Agreements | None = None
    reported: Reported | None = None


class Look(StrEnum):
    """How a gated frame is treated."""

    WHOLE = "whole"
    """Inferred as a whole."""
    PARTS = "parts"
    """Inferred where it has changed; detections elsewhere are carried over."""
    SAME = "same"
    """Unchanged: all detections are carried over."""
    BETWEEN = "between"
    """Boxes are interpolated between the neighbouring frames that are not themselves interpolated, unless those
    disagree about what is there: then it becomes WHOLE."""


class Part(NamedTuple):
    """A rectangle in the tensor of the whole frame, in its pixels, and the position of its top left corner in the
    tensor that is inferred."""

    x: int
    y: int
    width: int
    height: int
    at_x: int
    at_y: int


class Plan(NamedTuple):
    """How a frame is treated.

    cost      the inferred share of a whole frame's tensor whole_hw  height and width of the tensor of the whole frame
    at the scale of its parts; `tensor_hw` is the size of the
              tensor that is inferred; (0, 0) if there are no parts
    ratio_xy, pad_xy  the frame's scale in `whole_hw` (tensor pixels per frame pixel), and its padding left and above
    changed   (rows, columns) bool, for blocks of `block_px` pixels of the frame: where it has changed; None without
              parts
    stretch   the stretch of the stream in which the frame is (engine.stages.windows); `audited`: it is also inferred
              whole, for the audit, and may be the last frame of a window (`window_ends`)
    held      the frames just before it that wait for the next inferred one, this or a later one
    """

    look: Look
    cost: float = 0.0
    parts: tuple[Part, ...] = ()
    whole_hw: tuple[int, int] = (0, 0)
    tensor_hw: tuple[int, int] = (0, 0)
    ratio_xy: tuple[float, float] = (1.0, 1.0)
    pad_xy: tuple[int, int] = (0, 0)
    changed: NDArray[np.bool_] | None = None
    block_px: int = 0
    stretch: int = -1
    audited: bool = False
    window_ends: bool = False
    held: int = 0

    @property
    def infer(self) -> bool:
        return self.look in (Look.WHOLE, Look.PARTS)

    @property
    def probed(self) -> bool:
        """Whether the frame is also inferred as a whole."""
        return self.audited and self.look is not Look.WHOLE


@dataclass
class Ratio:
    """The share `part` / `whole` of two counts summed over windows, and the sums of their products: all that its
    interval needs (engine.stages.confidence)."""

    windows: int = 0
    part: int = 0
    whole: int = 0
    part_part: int = 0
    part_whole: int = 0
    whole_whole: int = 0

    def add(self, part: int, whole: int) -> None:
        """Count a window."""
        self.windows += 1
        self.part += part
        self.whole += whole
        self.part_part += part * part
        self.part_whole += part * whole
        self.whole_whole += whole * whole

    @property
    def value(self) -> float:
        return self.part / self.whole if self.whole else 1.0


@dataclass
class Agreements:
    """The audit's result for a gated stream so far: the agreement of `boxes`, `ids` and `counts`
    (engine.stages.agreement) over `frames` frames, up to the window of a `stretch`. `level` is how far the gate is
    open, `opened_at` the frames after which it opened, `closed_at` those after which it closed by one step. Since the
    last of these, `here` is the agreement of boxes, and `calm` counts the last windows in a row that reached the
    target: it closes after `patience` of them."""

    frames: int = 0
    boxes: Ratio = field(default_factory=Ratio)
    ids: Ratio = field(default_factory=Ratio)
    counts: Ratio = field(default_factory=Ratio)
    here: Ratio = field(default_factory=Ratio)
    level: int = 0
    opened_at: list[int] = field(default_factory=list)
    stretch: int = -1
    closed_at: list[int] = field(default_factory=list)
    calm: int = 0
    patience: int = 4

    def copy(self) -> Agreements:
        boxes, ids, counts, here = (replace(each) for each in (self.boxes, self.ids, self.counts, self.here))
        opened_at, closed_at = list(self.opened_at), list(self.closed_at)
        return replace(self, boxes=boxes, ids=ids, counts=counts, here=here, opened_at=opened_at, closed_at=closed_at)


class Recalled(NamedTuple):
    """A frame that is not decoded, because others have detected what is in it: its upright width and height, and
    that."""

    size_wh: tuple[int, int]
    detections: Detections


@dataclass(slots=True)
class Frame:
    """One decoded frame.

    `image` is upright, in one of the pixel formats that preprocessing reads. `pts` and `duration` count ticks of
    `time_base`. `infer` is false for a frame that the tracker only predicts. `image` is None for a dropped frame of a
    live source: it still keeps its place in the order. `audio` holds the packets read before it. `mark` is set if a
    checkpoint is due after this frame. `step_s` is its stream's (StreamInfo). `look`: whether the stream's boxes are
    plausible has not been decided yet. `wall` is the wall-clock time; None: unknown. `plan` is how a gated frame is
    treated, None without a gate. `probe`: it is inferred whole, beside another frame with the same index.
    `known` has detections of images, perhaps this one, that were made elsewhere (engine.pipeline.pieces). `recalled` is
    set instead of `image` where those of this very frame are known and no output needs its image. `left_out` counts the
    frames just before it that are not in the stream (engine.stages.scan). `inferred_by` is the provider that inferred
    it, where that may change within a run. `key` is that of its image (engine.pipeline.pieces), where somebody has
    computed it.
    """

    stream: int
    index: int
    pts: int
    duration: int
    time_base: Fraction
    image: av.VideoFrame | None
    infer: bool = True
    audio: Iterable[av.Packet] = ()
    mark: Barrier | None = None
    step_s: Fraction | None = None
    look: bool = True
    wall: datetime | None = None
    plan: Plan | None = None
    probe: bool = False
    known: Mapping[bytes, Detections] | None = None
    left_out: int = 0
    recalled: Recalled | None = None
    inferred_by: str | None = None
    key: bytes | None = None

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Width and height of its image, also if that was not decoded; None if there is none."""
        if self.image is not None:
            return self.image.width, self.image.height
        return self.recalled.size_wh if self.recalled is not None else None

    @property
    def is_lost(self) -> bool:
        """Whether it was dropped, and only keeps its place in the order."""
        return self.image is None and self.recalled is None

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return self.pts * self.time_base.numerator / self.time_base.denominator  # as a Fraction, and faster


@dataclass(slots=True)
class FrameBatch:
    """B frames, from any streams, that become one tensor of height and width `tensor_hw`."""

    frames: list[Frame]
    tensor_hw: tuple[int, int]


@dataclass(slots=True)
class TensorBatch(Generic[T]):
    """`tensor` is (B, 3, H, W) in the model's dtype, or the input from which a backend makes one. `letterboxes` maps
    each slot's boxes back to its frame."""

    frames: list[Frame]
    tensor: T
    letterboxes: list[Letterbox]


@dataclass(slots=True)
class Anchors:
    """The anchors of one image that pass the threshold, in the model's order and in pixels of its input: boxes_xyxy
    (K, 4) float32, scores (K,) float32, class_ids (K,) int32. `non_finite` counts NaN and infinite output values."""

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    non_finite: int = 0


Head: TypeAlias = Callable[[], Anchors]
"""One image's head, read when it is called. Raises NotFinite and BackendError."""


@dataclass(slots=True)
class RawOutputs:
    """The model's output, one head per frame. `letterboxes` is as in TensorBatch."""

    frames: list[Frame]
    heads: Sequence[Head]
    tensor_hw: tuple[int, int]
    letterboxes: list[Letterbox]


class Signs(NamedTuple):
    """Statistics of one frame's `boxes`, in pixels of the model's letterboxed input.

    top      the highest score
    empty    boxes narrower or lower than a pixel, or inverted
    corner   boxes in the very corner of the input
    vast     boxes that extend far beyond the input on all sides
    whole    boxes that cover the whole input
    same     identical boxes, if there are hundreds of them, else 0
    """

    layout: str
    boxes: int
    top: float
    empty: int
    corner: int
    vast: int
    whole: int
    same: int


@dataclass(slots=True)
class Detections:
    """The detections in one frame, best score first.

    boxes_xyxy (N, 4) float32, scores (N,) float32 in [0, 1], class_ids (N,) int32. `non_finite` counts NaN and infinite
    values of the model's output for the frame, which yield no boxes. `without_area` counts boxes that were dropped
    because they are entirely outside the frame; `signs` are set for frames at the start of a stream. `carried` (N,)
    bool is true for boxes that were not detected in this frame but carried over or interpolated; None: all were
    detected.
    """

    boxes_xyxy: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 4), np.float32))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    class_ids: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    non_finite: int = 0
    without_area: int = 0
    signs: Signs | None = None
    carried: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def count_above(self, conf: float) -> int:
        """Return how many have a score of at least `conf`."""
        scores, lowest = self.scores, np.float32(conf)
        if not len(scores) or scores[-1] >= lowest:  # mostly all have
            return len(scores)
        return int(np.count_nonzero(scores >= lowest))

    def above(self, conf: float) -> Detections:
        """Return those with a score of at least `conf`, by the same comparison as for a model's output; itself if all
        have."""
        count = self.count_above(conf)
        if count == len(self.scores):
            return self
        boxes, scores, class_ids = self.boxes_xyxy[:count], self.scores[:count], self.class_ids[:count]
        carried = None if self.carried is None else self.carried[:count]
        return Detections(boxes, scores, class_ids, self.non_finite, self.without_area, self.signs, carried)


@dataclass(slots=True)
class Tracks:
    """The confirmed tracks of one frame.

    boxes_xyxy (M, 4) float64, track_ids (M,) int64 from 1 in each stream, class_ids (M,) int32 and scores (M,) float32
    of the detection that each track matched last. `detections` are all detections, including scores too low to be
    reported or tracked; None if the frame was not inferred. `state` is the tracker's state after this frame, if the
    frame has a mark. `steps` is the time since the stream's previous frame, in nominal frame intervals. `agreements` is
    set at the end of an audit window. `alive` (K,) int64 is set on some frames: ids that may return, whether or not
    they are in this frame. Whoever keeps something for each track may drop all that are in neither.
    """

    frame: Frame
    boxes_xyxy: NDArray[np.float64]
    track_ids: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    detections: Detections | None = None
    state: TrackerState | None = None
    steps: float = 1.0
    agreements: Agreements | None = None
    alive: NDArray[np.int64] | None = None

    @classmethod
    def none_of(cls, frame: Frame) -> Tracks:
        """Return those of a frame that has none."""
        return cls(frame, np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(slots=True)
class EndOfStream:
    """Follows the last of a stream's `frames` frames. Each stage flushes and forgets the stream.

    `problems` says why the stream could only be read in part, `interrupted` that it was stopped before its end.
    `dropped` counts frames that a live source could not wait for, `discarded` packets that the container marks to be
    decoded but not shown. `notes` has remarks that are not faults; `retimed` says that the container's own duration is
    not that of the frames returned. `first_pts` belongs to the file's first frame, if that is not the first one
    returned. `left_out` has the intervals, in ticks, whose frames were not decoded because nothing happens in them.
    """

    stream: int
    frames: int
    problems: tuple[str, ...] = ()
    interrupted: bool = False
    dropped: int = 0
    discarded: int = 0
    audio: Iterable[av.Packet] = ()
    notes: tuple[str, ...] = ()
    retimed: bool = False
    first_pts: int | None = None
    left_out: tuple[tuple[int, int], ...] = ()
