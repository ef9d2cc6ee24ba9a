"""The record that travels each hop of the pipeline, in the order of the data.

Source -> Packet -> decode -> Frame -> batch -> FrameBatch -> preprocess -> TensorBatch -> infer -> RawOutputs
-> postprocess -> Detections -> track -> Tracks -> sink, and EndOfStream behind the last record of each stream.
A stream that continues at a checkpoint sends a StartOfStream ahead. A checkpoint travels with the data: the reader puts
a Barrier on a frame, the tracker its TrackerState behind it, and the sinks note where their files stand.

N is the number of detections in a frame, M of tracks, B of frames in a batch. Boxes are pixels of the source frame
(upright, after its rotation metadata), as x1 y1 x2 y2 with the origin at the top left corner.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, NotRequired, TypeAlias, TypedDict, TypeVar

import numpy as np

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray

    from engine_ext.letterbox import Letterbox

T = TypeVar("T")


@dataclass(slots=True, frozen=True)
class StreamInfo:
    """What is known of a stream when it opens.

    `key` is unique in a run. `frames` and `duration_s` are the container's claims, None where it makes none.
    `step_s` is the seconds between two frames at the nominal rate, by which trackers count time; None: not known.
    `size_wh` is the size as stored, before any rotation. `audio` is the input's audio stream, to be copied by the
    video sink. `pixel_aspect` is the width of a stored pixel over its height. `creation_time` is the container's, as it
    stands there; `wall_start` the wall clock at the first frame, with its zone, None where nothing tells it.
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
    """Where a reader stands behind a frame, and by what it recognises that place.

    frames     frames given out so far, this one included
    pts, duration, crc   of the frame: ticks, and the CRC-32 of its luma rows
    first_pts  of the stream's first frame
    decode_s   seconds of decoding so far
    anchors    (index, pts) of key frames on the way here, oldest first: places to seek to
    seekable   whether decoding from an anchor may be tried: nothing was damaged, discarded, moved or repaired so far
    audio      packets of sound given out so far; `audio_dts` is the last one's time, `audio_time_base` its unit and
               `audio_repeats` how many packets in a row have had it
    origin     index of the first frame that was given out: not 0 where the beginning is passed over
    tail       of a file of a sequence: sketches of the last frames, by which the next file tells which it has too
    gate       what the gate knows (engine.stages.gate), in base64; empty without one
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
    """Detections to be carried over, and the frame's pts: the bytes of boxes and scores in hexadecimal digits."""

    boxes: str
    scores: str
    class_ids: list[int]
    pts: int


@dataclass(slots=True, frozen=True)
class Reported:
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


@dataclass(slots=True, frozen=True)
class TrackerState:
    """A stream's tracker behind a frame: the name of the tracker, the state of its kernel, class and score of the
    detections it took last, (N,) int32 and (N,) float32, and the frame's pts. `filled`: of a gated stream, the
    detections that are carried over to the next frames, and the pts of the frame they are of. `reported`: where
    gaps are filled from both sides, the frame's tracks."""

    name: str
    kernel: bytes
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    pts: int
    filled: tuple[Detections, int] | None = None
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
            found, pts = self.filled
            values["filled"] = {
                "boxes": found.boxes_xyxy.tobytes().hex(),
                "scores": found.scores.tobytes().hex(),
                "class_ids": found.class_ids.tolist(),
                "pts": pts,
            }
        if self.reported is not None:
            values["reported"] = self.reported.to_json()
        return values

    @classmethod
    def from_json(cls, values: TrackerJson) -> TrackerState:
        """Read what `to_json` gives. Raises ValueError, TypeError, KeyError or OverflowError for anything else."""
        return cls(
            values["name"],
            base64.b64decode(values["kernel"]),
            np.array(values["class_ids"], np.int32),
            np.frombuffer(bytes.fromhex(values["scores"]), np.float32),
            values["pts"],
            _filled_from(values["filled"]) if "filled" in values else None,
            Reported.from_json(values["reported"]) if "reported" in values else None,
        )


def _filled_from(values: FilledJson) -> tuple[Detections, int]:
    boxes = np.frombuffer(bytes.fromhex(values["boxes"]), np.float32).reshape(-1, 4)
    scores = np.frombuffer(bytes.fromhex(values["scores"]), np.float32)
    class_ids = np.array(values["class_ids"], np.int32)
    if not len(boxes) == len(scores) == len(class_ids) or type(values["pts"]) is not int:
        raise ValueError("its detections do not fit each other")
    return Detections(boxes, scores, class_ids), values["pts"]


@dataclass(slots=True, frozen=True)
class StartOfStream:
    """Ahead of a stream that does not begin at its first frame: `frames` of it are done, or passed over, and `tracker`,
    a StreamTracker, knows those that were done. `filled` and `reported` are as in TrackerState; `agreements` is what
    the audit had seen."""

    stream: int
    frames: int
    tracker: Any
    filled: tuple[Detections, int] | None = None
    agreements: Agreements | None = None
    reported: Reported | None = None


class Look(StrEnum):
    """How a gated frame is looked at."""

    WHOLE = "whole"
    """Inferred as it is."""
    PARTS = "parts"
    """Inferred where it has changed; what was found elsewhere is carried over."""
    SAME = "same"
    """Nothing has changed: all is carried over."""
    BETWEEN = "between"
    """Its boxes lie between those of the frame before and of the next one that is none such."""


@dataclass(slots=True, frozen=True)
class Part:
    """A rectangle of the tensor that the whole frame would become, in its pixels, and where its top left corner stands
    in the tensor that is inferred."""

    x: int
    y: int
    width: int
    height: int
    at_x: int
    at_y: int


@dataclass(slots=True, frozen=True)
class Plan:
    """How a frame is looked at.

    cost      what is inferred, as a share of a whole frame's tensor
    whole_hw  height and width of the tensor that the frame would become at the scale of its parts; `tensor_hw` those of
              the one that is inferred; (0, 0) where there are no parts
    ratio_xy, pad_xy  how the frame lies in the first: pixels of it to one of the frame, and those left of and above it
    changed   (rows, columns) bool, of blocks of `block_px` pixels of the frame: where it has changed; None unless there
              are parts
    stretch   of the stream, where the frame lies (engine.stages.windows); `audited`: it is inferred whole, too, for the
              audit, whose window it may be the last one of (`window_ends`)
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

    @property
    def infer(self) -> bool:
        return self.look in (Look.WHOLE, Look.PARTS)

    @property
    def probed(self) -> bool:
        """Whether a whole inference comes beside what is looked at."""
        return self.audited and self.look is not Look.WHOLE


@dataclass
class Ratio:
    """A share of the sums of two counts over windows, `part` of `whole`, and the sums of their products: all that its
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
    """What the audit of a gated stream has seen in its windows so far: the agreement of `boxes`, `ids` and `counts`
    (engine.stages.agreement) in so many `frames`. `level` is how far the gate is open, `opened_at` the frames behind
    which it opened; `here` is the agreement of boxes since then, up to the window of a `stretch`."""

    frames: int = 0
    boxes: Ratio = field(default_factory=Ratio)
    ids: Ratio = field(default_factory=Ratio)
    counts: Ratio = field(default_factory=Ratio)
    here: Ratio = field(default_factory=Ratio)
    level: int = 0
    opened_at: list[int] = field(default_factory=list)
    stretch: int = -1

    def copy(self) -> Agreements:
        boxes, ids, counts, here = (replace(each) for each in (self.boxes, self.ids, self.counts, self.here))
        return Agreements(self.frames, boxes, ids, counts, here, self.level, list(self.opened_at), self.stretch)


@dataclass(slots=True)
class Frame:
    """One decoded frame.

    `image` is upright, in one of the pixel formats that preprocessing reads. `pts` and `duration` count ticks of
    `time_base`. `infer` is false for a frame through which the tracker only predicts. `image` is None for a frame of
    a live source that was dropped: it still holds its place in the order. `audio` holds the packets read before it.
    `mark` is there where a checkpoint is due behind this frame. `step_s` is its stream's (StreamInfo). `look`: nobody
    has judged yet whether the stream's boxes are read rightly. `wall` is the time on the wall clock, None where nothing
    tells it. `plan` is how a gated frame is looked at, None without a gate. `probe`: it is inferred for the
    audit alone, beside another frame of the same index. `known` are detections of pictures, this one's perhaps among
    them, that were made elsewhere (engine.pipeline.pieces).
    """

    stream: int
    index: int
    pts: int
    duration: int
    time_base: Fraction
    image: av.VideoFrame | None
    infer: bool = True
    audio: tuple[av.Packet, ...] = ()
    mark: Barrier | None = None
    step_s: Fraction | None = None
    look: bool = True
    wall: datetime | None = None
    plan: Plan | None = None
    probe: bool = False
    known: Mapping[bytes, Detections] | None = None

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return self.pts * self.time_base.numerator / self.time_base.denominator  # as a Fraction, and faster


@dataclass(slots=True)
class FrameBatch:
    """B frames, of any streams, that become one tensor of height and width `tensor_hw`."""

    frames: list[Frame]
    tensor_hw: tuple[int, int]


@dataclass(slots=True)
class TensorBatch(Generic[T]):
    """`tensor` is (B, 3, H, W) in the model's dtype, or what a backend makes one of. `letterboxes` maps each slot's
    boxes back to its frame."""

    frames: list[Frame]
    tensor: T
    letterboxes: list[Letterbox]


@dataclass(slots=True)
class Anchors:
    """The anchors of one image that pass, in the model's order and in pixels of its input: boxes_xyxy (K, 4) float32,
    scores (K,) float32, class_ids (K,) int32. `non_finite` counts values of the output that were NaN or infinite."""

    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    non_finite: int = 0


Head: TypeAlias = Callable[[], Anchors]
"""One image's head, read when it is called. Raises NotFinite and BackendError."""


@dataclass(slots=True)
class RawOutputs:
    """What the model answered, one head per frame. `letterboxes` is as in TensorBatch."""

    frames: list[Frame]
    heads: Sequence[Head]
    tensor_hw: tuple[int, int]
    letterboxes: list[Letterbox]


@dataclass(slots=True, frozen=True)
class Signs:
    """What was counted in one frame's `boxes`, in pixels of the model's input, letterboxed.

    top      the highest score
    empty    boxes narrower or lower than a pixel, or inside out
    corner   boxes that lie in the very corner of the input
    vast     boxes that go far beyond the input on all sides
    whole    boxes that cover the whole input
    same     boxes that are the same as one other, where there are hundreds, else 0
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
    """What was found in one frame, best score first.

    boxes_xyxy (N, 4) float32, scores (N,) float32 in [0, 1], class_ids (N,) int32. `non_finite` counts values of the
    model's output for the frame that were NaN or infinite; no box is made of them. `without_area` counts boxes that
    were dropped since nothing of them lies in the frame; `signs` are those of a frame at the beginning of a stream.
    `carried` (N,) bool is true for those that were not found in this very frame, but stand there since nothing has
    changed or since they lie between two frames; None: all were found.
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

    def above(self, conf: float) -> Detections:
        """Return those with a score of at least `conf`, as a model's output is compared with it; itself where all
        have."""
        count = int(np.count_nonzero(self.scores >= np.float32(conf)))
        if count == len(self):
            return self
        boxes, scores, class_ids = self.boxes_xyxy[:count], self.scores[:count], self.class_ids[:count]
        carried = None if self.carried is None else self.carried[:count]
        return Detections(boxes, scores, class_ids, self.non_finite, self.without_area, self.signs, carried)


@dataclass(slots=True)
class Tracks:
    """The confirmed tracks of one frame.

    boxes_xyxy (M, 4) float64, track_ids (M,) int64 from 1 in each stream, class_ids (M,) int32 and scores (M,) float32
    of the detection each track took last. `detections` is what was found, also below the scores that are reported or
    given to the tracker, None where the frame was not inferred. `state` is the tracker behind this frame, where the
    frame bears a mark. `steps` is the time since the stream's frame before, in steps of its nominal rate. `agreements`
    is there where a window of the audit ends. `alive` (K,) int64 is there in one of some frames: ids that may come
    again, whether they are in this frame or not. Whoever keeps something of each track may let go all that are in
    neither.
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

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(slots=True)
class EndOfStream:
    """Behind the last of `frames` frames of a stream. Each stage flushes and forgets the stream.

    `problems` says why the stream could only be read in part, `interrupted` that it was stopped before its end.
    `dropped` counts frames that a live source could not wait for, `discarded` packets that the container says
    to decode but not to show. `notes` is what is worth knowing and no fault; `retimed` says that the container's own
    duration is not that of the frames given. `first_pts` is of the file's first frame, where that is not the first one
    that was given out.
    """

    stream: int
    frames: int
    problems: tuple[str, ...] = ()
    interrupted: bool = False
    dropped: int = 0
    discarded: int = 0
    audio: tuple[av.Packet, ...] = ()
    notes: tuple[str, ...] = ()
    retimed: bool = False
    first_pts: int | None = None
