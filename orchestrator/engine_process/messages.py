"""The messages between a worker and its engine process.

The first message to the process is its task. Then it sends events and receives orders. Each has a `kind` that
identifies it. `task_of`, `order_of` and `event_of` raise ValueError for anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, partial
from types import NoneType
from typing import Any, ClassVar, Self, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from engine.observe.snapshot import Snapshot
from engine.summary import FollowUpJson
from orchestrator.job.records import EngineFacts, ModelFacts, VideoEntry, VideoFacts, follow_up_of

_Read: TypeAlias = Callable[[str, object], Any]
"""Parses a field from the JSON value under a key. Raises ValueError that names the key."""

T = TypeVar("T")


def _is(kind: type[T], key: str, value: object) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{key} must be of type {kind.__name__}. Got {value!r:.80}")
    return value


def _seconds(key: str, value: object) -> float:
    return float(_is(int, key, value)) if isinstance(value, int) else _is(float, key, value)


def _reader(kind: Any) -> _Read:
    """Return the parser for a field with this annotation: a plain value, a record with `from_json`, a tuple or mapping
    of these, or None."""
    parts = get_args(kind)
    if NoneType in parts:
        inner = _reader(next(part for part in parts if part is not NoneType))
        return lambda key, value: None if value is None else inner(key, value)
    if get_origin(kind) is tuple:
        each = _reader(parts[0])
        return lambda key, value: tuple(each(key, item) for item in _is(list, key, value))
    if get_origin(kind) is Mapping:
        each = _reader(parts[1])
        return lambda key, value: {name: each(key, item) for name, item in _is(dict, key, value).items()}
    if kind is object:
        return lambda key, value: value
    if kind is FollowUpJson:
        return lambda key, value: follow_up_of(value)
    if kind in (str, int, bool):
        return partial(_is, kind)
    return _seconds if kind is float else lambda key, value: kind.from_json(value)


@cache
def _readers(record: Any) -> dict[str, tuple[_Read, bool]]:
    """Return the parser of each field of a record, and whether the field may be absent (those that may be None)."""
    kinds = get_type_hints(record)
    return {each.name: (_reader(kinds[each.name]), NoneType in get_args(kinds[each.name])) for each in fields(record)}


def _read(record: Callable[..., T], value: object, what: str) -> T:
    """Build a record from its JSON. Raises ValueError."""
    values = _is(dict, what, value)
    found = {}
    for name, (read, may_be_absent) in _readers(record).items():
        if name not in values and not may_be_absent:
            raise ValueError(f"{name} is missing")
        found[name] = read(name, values.get(name))
    return record(**found)


@dataclass(frozen=True)
class Message:
    """A message. Its JSON consists of its kind and its fields, whose annotations determine how they are parsed."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, object]:
        return {"kind": self.kind, **{each.name: _plain(getattr(self, each.name)) for each in fields(self)}}


def _plain(value: object) -> object:
    if isinstance(value, VideoEntry | VideoFacts | ModelFacts | EngineFacts | StreamProgress | Snapshot):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


# -- tasks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Task(Message):
    """The task of an engine process, and its log settings."""

    log_level: str = "warning"
    log_format: str = "text"


@dataclass(frozen=True, kw_only=True)
class Probe(Task):
    """Find the videos of `inputs` (`only` these, unless that is None) and probe each, except those to `skip`. Files
    must be below one of `roots`, if given. `stored` is the place of the results in storage,
    where objects of others are replaced only with `overwrite`."""

    kind = "probe"
    inputs: tuple[str, ...]
    output: str
    config: Mapping[str, object]
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    stored: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Work(Task):
    """Process videos that are requested one by one, for the job with this id, into `output`. `on_event`, `event_kinds`
    and `event_loiter_s` are the worker's settings. With `stored`, results are sent to that place in storage, and the
    folder `notes` says what was; objects of others are replaced only with `overwrite`. `jobs` is where the directories
    of such jobs are. `apart`: `output` is this machine's alone, so that what a cancelled video had reached is sent,
    too."""

    kind = "work"
    output: str
    config: Mapping[str, object]
    job: str = ""
    roots: tuple[str, ...] = ()
    on_event: tuple[str, ...] = ()
    event_kinds: tuple[str, ...] = ()
    event_loiter_s: float | None = None
    stored: str | None = None
    notes: str = ""
    jobs: str = ""
    apart: bool = False
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Salvage(Task):
    """Make valid partial outputs from what a killed attempt left, unless the file `successor` exists."""

    kind = "salvage"
    path: str
    stem: str
    output: str
    job: str
    successor: str
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FollowUp(Task):
    """Do the work on tracks that the configuration requests. `videos` are parts of their entries, `model` is the
    summary's. With `reported`, wait afterwards for the order to write the report; `made` says that everything else was
    done before."""

    kind = "follow up"
    output: str
    config: Mapping[str, object]
    videos: tuple[Mapping[str, object], ...]
    model: ModelFacts
    roots: tuple[str, ...] = ()
    reported: bool = False
    made: bool = False


@dataclass(frozen=True, kw_only=True)
class SendRest(Task):
    """Send what a job has made and not sent yet from `output` to the place `stored`, the file `name` with `result`, and
    last the manifest. `settled`: the job is complete."""

    kind = "send rest"
    output: str
    stored: str
    notes: str
    jobs: str
    job: str
    name: str
    result: Mapping[str, object]
    manifest: Mapping[str, object]
    overwrite: bool
    settled: bool


# -- orders -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GiveVideo(Message):
    """Process this video; the answer to `Next`. The attempt is over once the file `successor` or `end` exists. `behind`
    are the stems of the camera's previous files, the latest first. `pieces` is the folder for detections by others, in
    pieces of `piece_s` seconds; None: it stays whole. `drawn`: others also draw pieces of its annotated video."""

    kind = "video"
    index: int
    path: str
    stem: str
    attempt: int
    successor: str
    end: str
    behind: tuple[str, ...] = ()
    pieces: str | None = None
    piece_s: float = 0.0
    drawn: bool = False


@dataclass(frozen=True)
class GivePiece(Message):
    """Detect objects in a piece of a video that another worker tracks, from `start_s` to `end_s`, into `file`; an
    answer to `Next`. `stem` names the piece."""

    kind = "piece"
    path: str
    stem: str
    start_s: float
    end_s: float
    file: str


@dataclass(frozen=True)
class GiveDrawing(Message):
    """Draw a piece of the annotated video of the video with the stem `of`, as `notes` say, into `file`; an answer to
    `Next`. `stem` names the piece."""

    kind = "drawing"
    path: str
    stem: str
    of: str
    notes: str
    file: str


@dataclass(frozen=True)
class NoMoreVideos(Message):
    """Nothing is left to do; an answer to `Next`."""

    kind = "no more videos"


@dataclass(frozen=True)
class Kept(Message):
    """The result of a video has been stored: its journal is no longer needed."""

    kind = "kept"
    index: int


@dataclass(frozen=True)
class Stop(Message):
    """End the work after the frames in flight. With `hand_over`, unfinished videos leave only their checkpoints."""

    kind = "stop"
    hand_over: bool


@dataclass(frozen=True)
class WriteReport(Message):
    """Write a job's report from its future manifest."""

    kind = "write report"
    manifest: Mapping[str, object]


# -- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LeftOut(Message):
    """What a probe leaves out: a line per reason."""

    kind = "left_out"
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Found(Message):
    """This many videos will be probed."""

    kind = "found"
    count: int


@dataclass(frozen=True)
class Opening(Message):
    """This file is opened next; if that crashes or blocks the process, the worker knows which file to skip."""

    kind = "opening"
    path: str


@dataclass(frozen=True)
class Looked(Message):
    """A video was probed."""

    kind = "video"
    video: VideoFacts


@dataclass(frozen=True)
class ModelFound(Message):
    """The model of a job, or why there is none. The last event of a probe."""

    kind = "model"
    model: ModelFacts


@dataclass(frozen=True)
class Ready(Message):
    """The model is loaded."""

    kind = "ready"
    engine: EngineFacts


@dataclass(frozen=True)
class Next(Message):
    """A stream is free for a video."""

    kind = "next"


@dataclass(frozen=True)
class StreamProgress:
    """The progress of the video `stem`: frames done, of `frames_total` if known."""

    stem: str
    path: str
    frames: int
    frames_total: int | None
    elapsed_s: float
    checkpoint_frames: int
    resumed_from: int | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        return _read(cls, value, "a video's progress")

    def to_json(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True)
class Progressed(Message):
    """The progress of the running videos."""

    kind = "progress"
    videos: tuple[StreamProgress, ...]


@dataclass(frozen=True)
class Measured(Message):
    """Numbers measured by the engine so far."""

    kind = "measured"
    engine: Snapshot


@dataclass(frozen=True)
class Done(Message):
    """A video has ended. `lost`: another attempt has taken it over, and only its result counts. `unfinished`: it was
    ended by a stop, or by a failure outside of it. The detections of `known_ahead` of its frames came from others."""

    kind = "done"
    index: int
    entry: VideoEntry
    lost: bool = False
    unfinished: bool = False
    known_ahead: int = 0


@dataclass(frozen=True)
class PieceDone(Message):
    """A piece has ended after this many frames. `error` says why it was discarded; `unfinished`: because of a stop, or
    of a failure outside of it."""

    kind = "piece done"
    stem: str
    frames: int
    error: str | None = None
    unfinished: bool = False


@dataclass(frozen=True)
class AlarmsTold(Message):
    """The outcome of sending events, per receiver."""

    kind = "alarms"
    alarms: tuple[Mapping[str, object], ...]


@dataclass(frozen=True)
class Finished(Message):
    """All work is done, or was stopped in an orderly way."""

    kind = "finished"


@dataclass(frozen=True)
class Fatal(Message):
    """The process can't continue, and why; no video is to blame."""

    kind = "fatal"
    error: str


@dataclass(frozen=True)
class Salvaged(Message):
    """The partial outputs of a killed attempt by kind, and its entry if it was done after all."""

    kind = "salvaged"
    outputs: Mapping[str, str]
    entry: VideoEntry | None = None


@dataclass(frozen=True)
class Reading(Message):
    """The work that follows the videos, or sending, is in progress."""

    kind = "reading"


@dataclass(frozen=True)
class FollowedUp(Message):
    """The results made from the tracks, the clock of each video (None if unknown), and the first error."""

    kind = "followed up"
    made: FollowUpJson = field(default_factory=FollowUpJson)
    clocks: tuple[Mapping[str, object] | None, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class AllSent(Message):
    """All of a job is in storage."""

    kind = "all sent"


@dataclass(frozen=True)
class Reported(Message):
    """The path of a job's report."""

    kind = "reported"
    path: str


AnyTask = Probe | Work | Salvage | FollowUp | SendRest
Order = GiveVideo | GivePiece | GiveDrawing | NoMoreVideos | Kept | Stop | WriteReport
Event = (
    LeftOut
    | Found
    | Opening
    | Looked
    | ModelFound
    | Ready
    | Next
    | Progressed
    | Measured
    | Done
    | PieceDone
    | AlarmsTold
    | Finished
    | Fatal
    | Salvaged
    | Reading
    | FollowedUp
    | AllSent
    | Reported
)

M = TypeVar("M", bound=Message)

_TASKS: dict[str, type[AnyTask]] = {each.kind: each for each in get_args(AnyTask)}
_ORDERS: dict[str, type[Order]] = {each.kind: each for each in get_args(Order)}
_EVENTS: dict[str, type[Event]] = {each.kind: each for each in get_args(Event)}


def task_of(value: object) -> AnyTask:
    return _message(_TASKS, value)


def order_of(value: object) -> Order:
    return _message(_ORDERS, value)


def event_of(value: object) -> Event:
    return _message(_EVENTS, value)


def _message(kinds: Mapping[str, type[M]], value: object) -> M:
    found = _is(dict, "a message", value)
    if "kind" not in found:
        raise ValueError("kind is missing")
    kind = _is(str, "kind", found["kind"])
    if kind not in kinds:
        raise ValueError(f"{kind[:80]!r} is not a message that is known here")
    return _read(kinds[kind], value, "a message")
