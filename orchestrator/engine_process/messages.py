"""What a worker and its engine process say to each other.

The first message to the process is its task. Events go up, orders come down; each knows its `kind`, by which it is
recognised on the other side. `from_json` raises ValueError for what is not such a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Self, TypeVar

from engine.observe.snapshot import Snapshot
from engine.summary import FollowUpJson
from orchestrator.job.records import EngineFacts, ModelFacts, VideoEntry, VideoFacts, follow_up_of


class _Given:
    """The values of a message as they arrived, each asked for by its type. Raises ValueError for another one."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values

    def value(self, key: str) -> object:
        if key not in self._values:
            raise ValueError(f"{key} is missing")
        return self._values[key]

    def text(self, key: str) -> str:
        return _is(str, key, self.value(key))

    def number(self, key: str) -> int:
        return _is(int, key, self.value(key))

    def seconds(self, key: str) -> float:
        value = self.value(key)
        return float(value) if isinstance(value, int) else _is(float, key, value)

    def flag(self, key: str) -> bool:
        return _is(bool, key, self.value(key))

    def mapping(self, key: str) -> Mapping[str, object]:
        return _is(dict, key, self.value(key))

    def items(self, key: str) -> list[object]:
        return _is(list, key, self.value(key))

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(_is(str, key, each) for each in self.items(key))

    def mappings(self, key: str) -> tuple[Mapping[str, object], ...]:
        return tuple(_is(dict, key, each) for each in self.items(key))

    def absent(self, key: str) -> bool:
        return self._values.get(key) is None


T = TypeVar("T")


def _is(kind: type[T], key: str, value: object) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"{key} must be of type {kind.__name__}. Got {value!r:.80}")
    return value


@dataclass(frozen=True)
class Message:
    """One message. Its fields are its JSON, beside its kind."""

    kind: ClassVar[str]

    def to_json(self) -> dict[str, object]:
        return {"kind": self.kind, **{each.name: _plain(getattr(self, each.name)) for each in fields(self)}}

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        """Read it. A message without fields has nothing to read."""
        return cls()


def _plain(value: object) -> object:
    if isinstance(value, VideoEntry | VideoFacts | ModelFacts | EngineFacts | StreamProgress | Snapshot):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


# -- tasks ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Task(Message):
    """What an engine process is started for, and how it logs."""

    log_level: str = "warning"
    log_format: str = "text"


@dataclass(frozen=True, kw_only=True)
class Probe(Task):
    """Find the videos of `inputs` (of them `only` these, where that is not None) and look at each but those to `skip`.
    Files lie below one of `roots`, where there are any."""

    kind = "probe"
    inputs: tuple[str, ...]
    output: str
    config: Mapping[str, object]
    only: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(
            inputs=given.texts("inputs"),
            output=given.text("output"),
            config=given.mapping("config"),
            only=None if given.absent("only") else given.texts("only"),
            skip=given.texts("skip"),
            roots=given.texts("roots"),
            log_level=given.text("log_level"),
            log_format=given.text("log_format"),
        )


@dataclass(frozen=True, kw_only=True)
class Work(Task):
    """Do videos that are asked for one by one, for the job of that id, into `output`. `on_event`, `event_kinds` and
    `event_loiter_s` are of the worker's settings."""

    kind = "work"
    output: str
    config: Mapping[str, object]
    job: str = ""
    roots: tuple[str, ...] = ()
    on_event: tuple[str, ...] = ()
    event_kinds: tuple[str, ...] = ()
    event_loiter_s: float | None = None

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(
            output=given.text("output"),
            config=given.mapping("config"),
            job=given.text("job"),
            roots=given.texts("roots"),
            on_event=given.texts("on_event"),
            event_kinds=given.texts("event_kinds"),
            event_loiter_s=None if given.absent("event_loiter_s") else given.seconds("event_loiter_s"),
            log_level=given.text("log_level"),
            log_format=given.text("log_format"),
        )


@dataclass(frozen=True, kw_only=True)
class Salvage(Task):
    """Make valid partial outputs of what a killed attempt had reached, unless the file `successor` is there."""

    kind = "salvage"
    path: str
    stem: str
    output: str
    job: str
    successor: str
    roots: tuple[str, ...] = ()

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(
            path=given.text("path"),
            stem=given.text("stem"),
            output=given.text("output"),
            job=given.text("job"),
            successor=given.text("successor"),
            roots=given.texts("roots"),
            log_level=given.text("log_level"),
            log_format=given.text("log_format"),
        )


@dataclass(frozen=True, kw_only=True)
class WriteReport(Task):
    """Write the page of a job, from what is going to be its manifest."""

    kind = "write report"
    output: str
    config: Mapping[str, object]
    manifest: Mapping[str, object]
    roots: tuple[str, ...] = ()

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(
            output=given.text("output"),
            config=given.mapping("config"),
            manifest=given.mapping("manifest"),
            roots=given.texts("roots"),
            log_level=given.text("log_level"),
            log_format=given.text("log_format"),
        )


@dataclass(frozen=True, kw_only=True)
class FollowUp(Task):
    """Make what the configuration asks for of the tracks of `videos`, which are parts of their entries; `model` is the
    summary's."""

    kind = "follow up"
    output: str
    config: Mapping[str, object]
    videos: tuple[Mapping[str, object], ...]
    model: Mapping[str, str]
    roots: tuple[str, ...] = ()

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(
            output=given.text("output"),
            config=given.mapping("config"),
            videos=given.mappings("videos"),
            model={key: _is(str, "model", value) for key, value in given.mapping("model").items()},
            roots=given.texts("roots"),
            log_level=given.text("log_level"),
            log_format=given.text("log_format"),
        )


# -- orders -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GiveVideo(Message):
    """Do this video, as the answer to `Next`. The attempt is over once the file `successor` or `end` is there. `behind`
    are the stems of the files before it of its camera, the last one first."""

    kind = "video"
    index: int
    path: str
    stem: str
    attempt: int
    successor: str
    end: str
    behind: tuple[str, ...] = ()

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(
            given.number("index"),
            given.text("path"),
            given.text("stem"),
            given.number("attempt"),
            given.text("successor"),
            given.text("end"),
            given.texts("behind"),
        )


@dataclass(frozen=True)
class NoMoreVideos(Message):
    """Nothing is left to do, as the answer to `Next`."""

    kind = "no more videos"


@dataclass(frozen=True)
class Kept(Message):
    """The result of a video is on the disk: its journal is no longer needed."""

    kind = "kept"
    index: int

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.number("index"))


@dataclass(frozen=True)
class Stop(Message):
    """End the work after the frames in flight. With `hand_over`, unfinished videos leave only their checkpoints."""

    kind = "stop"
    hand_over: bool

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.flag("hand_over"))


# -- events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LeftOut(Message):
    """What a probe passes over, and why, a line for each reason."""

    kind = "left_out"
    lines: tuple[str, ...]

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.texts("lines"))


@dataclass(frozen=True)
class Found(Message):
    """So many videos are about to be looked at."""

    kind = "found"
    count: int

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.number("count"))


@dataclass(frozen=True)
class Opening(Message):
    """This file is opened next: should that end or halt the process, the worker knows which to pass over."""

    kind = "opening"
    path: str

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.text("path"))


@dataclass(frozen=True)
class Looked(Message):
    """A video was looked at."""

    kind = "video"
    video: VideoFacts

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(VideoFacts.from_json(given.value("video")))


@dataclass(frozen=True)
class ModelFound(Message):
    """The model of a job, or why there is none. The last event of a probe."""

    kind = "model"
    model: ModelFacts

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(ModelFacts.from_json(given.value("model")))


@dataclass(frozen=True)
class Ready(Message):
    """The model is loaded."""

    kind = "ready"
    engine: EngineFacts

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(EngineFacts.from_json(given.value("engine")))


@dataclass(frozen=True)
class Next(Message):
    """A stream is free: a video is wanted."""

    kind = "next"


@dataclass(frozen=True)
class StreamProgress:
    """How far a video is: frames done, of `frames_total` where that is known. `stem` names it."""

    stem: str
    path: str
    frames: int
    frames_total: int | None
    elapsed_s: float
    checkpoint_frames: int
    resumed_from: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Raises ValueError."""
        given = _Given(value)
        return cls(
            given.text("stem"),
            given.text("path"),
            given.number("frames"),
            None if given.absent("frames_total") else given.number("frames_total"),
            given.seconds("elapsed_s"),
            given.number("checkpoint_frames"),
            None if given.absent("resumed_from") else given.number("resumed_from"),
        )

    def to_json(self) -> dict[str, object]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True)
class Progressed(Message):
    """How far the videos at work are."""

    kind = "progress"
    videos: tuple[StreamProgress, ...]

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(tuple(map(StreamProgress.from_json, given.mappings("videos"))))


@dataclass(frozen=True)
class Measured(Message):
    """What the engine has done by now, in numbers."""

    kind = "measured"
    engine: Snapshot

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(Snapshot.from_json(given.value("engine")))


@dataclass(frozen=True)
class Done(Message):
    """A video has ended. `lost`: another attempt has taken it over, whose result alone counts. `unfinished`: it was
    ended by a stop, or by a failure around it."""

    kind = "done"
    index: int
    entry: VideoEntry
    lost: bool = False
    unfinished: bool = False

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        entry = VideoEntry.from_json(given.value("entry"))
        return cls(given.number("index"), entry, given.flag("lost"), given.flag("unfinished"))


@dataclass(frozen=True)
class AlarmsTold(Message):
    """What became of the events for each receiver."""

    kind = "alarms"
    alarms: tuple[Mapping[str, object], ...]

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.mappings("alarms"))


@dataclass(frozen=True)
class Finished(Message):
    """All work is done, or was stopped in order."""

    kind = "finished"


@dataclass(frozen=True)
class Fatal(Message):
    """The process can't go on, and why; no video is to blame."""

    kind = "fatal"
    error: str

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.text("error"))


@dataclass(frozen=True)
class Salvaged(Message):
    """What was saved of a killed attempt: its files by kind, and its entry where it was done after all."""

    kind = "salvaged"
    outputs: Mapping[str, str]
    entry: VideoEntry | None = None

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        outputs = {kind: _is(str, "outputs", path) for kind, path in given.mapping("outputs").items()}
        return cls(outputs, None if given.absent("entry") else VideoEntry.from_json(given.value("entry")))


@dataclass(frozen=True)
class Reading(Message):
    """What follows is being made."""

    kind = "reading"


@dataclass(frozen=True)
class FollowedUp(Message):
    """What was made of the tracks, the clock of each video (None where it is not known), and the first error."""

    kind = "followed up"
    made: FollowUpJson = field(default_factory=FollowUpJson)
    clocks: tuple[Mapping[str, object] | None, ...] = ()
    error: str | None = None

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        clocks = tuple(None if each is None else _is(dict, "clocks", each) for each in given.items("clocks"))
        return cls(follow_up_of(given.value("made")), clocks, None if given.absent("error") else given.text("error"))


@dataclass(frozen=True)
class Reported(Message):
    """Where the page of a job is."""

    kind = "reported"
    path: str

    @classmethod
    def from_given(cls, given: _Given) -> Self:
        return cls(given.text("path"))


AnyTask = Probe | Work | Salvage | FollowUp | WriteReport
Order = GiveVideo | NoMoreVideos | Kept | Stop
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
    | AlarmsTold
    | Finished
    | Fatal
    | Salvaged
    | Reading
    | FollowedUp
    | Reported
)

_TASKS: dict[str, type[AnyTask]] = {each.kind: each for each in (Probe, Work, Salvage, FollowUp, WriteReport)}
_ORDERS: dict[str, type[Order]] = {each.kind: each for each in (GiveVideo, NoMoreVideos, Kept, Stop)}
_EVENTS: dict[str, type[Event]] = {
    each.kind: each
    for each in (
        LeftOut,
        Found,
        Opening,
        Looked,
        ModelFound,
        Ready,
        Next,
        Progressed,
        Measured,
        Done,
        AlarmsTold,
        Finished,
        Fatal,
        Salvaged,
        Reading,
        FollowedUp,
        Reported,
    )
}

M = TypeVar("M", bound=Message)


def task_of(value: object) -> AnyTask:
    return _message(_TASKS, value)


def order_of(value: object) -> Order:
    return _message(_ORDERS, value)


def event_of(value: object) -> Event:
    return _message(_EVENTS, value)


def _message(kinds: Mapping[str, type[M]], value: object) -> M:
    given = _Given(_is(dict, "a message", value))
    kind = given.text("kind")
    if kind not in kinds:
        raise ValueError(f"{kind[:80]!r} is not a message that is known here")
    return kinds[kind].from_given(given)
