"""The records of a job's directory as types, validated on reading, because anyone may be able to write there.

`from_json` takes a parsed JSON value, and raises ValueError with the key, the rule and the actual value. `to_json`
returns the JSON to write; tests/orchestrator/golden pins its keys and their order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Self, TypeGuard, cast

from engine.summary import AlarmsJson, FileJson, FollowUpJson, new_tracks

MAX_WORKERS = 1000
_MAX_VIDEOS = 10**6
_MAX_NUMBER = 2**63


class EntryStatus(StrEnum):
    """How a video of a job ended: completely, in part, or not at all; by a cancellation; or its turn never came."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    NOT_BEGUN = "not begun"


class Priority(StrEnum):
    """How soon a job gets its turns, relative to others."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class JobState(StrEnum):
    """The state of a job. It is waiting if it was started and nobody is working on it."""

    QUEUED = "queued"
    STARTING = "starting"
    PROCESSING = "processing"
    WAITING = "waiting"
    ENDING = "ending"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class Stage(StrEnum):
    """What a process step is doing, according to its progress."""

    LOADING = "loading the model"
    PROCESSING = "processing"
    STOPPING = "stopping"
    ENDED = "ended"
    WAITING = "waiting for files that other workers have"
    PIECES = "pieces of a long video"


class How(StrEnum):
    """How the work under a lease ended, a video's or a step's."""

    DONE = "done"
    HANDED_BACK = "handed back"
    CANCELLED = "cancelled"
    LOST = "lost"
    GAVE_WAY = "gave way"
    CRASHED = "crashed"
    STALLED = "stalled"
    # of steps
    EXHAUSTED = "exhausted"
    FAILED = "failed"
    ENDED = "ended"
    BROKE_OFF = "broke off"
    # of what its owner wrote, and what can't be read any more
    UNREADABLE = "unreadable"


Check = Callable[[object], bool]


def _text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value and len(value) <= 100_000


def _time(value: object) -> bool:
    """Accept a time with its zone: times of several machines are compared."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _count(value: object) -> bool:
    return _is_int(value) and 0 <= value < _MAX_NUMBER


def _number(value: object) -> bool:
    """Accept a number, but not NaN."""
    return (_is_int(value) or isinstance(value, float)) and -_MAX_NUMBER < value < _MAX_NUMBER


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _dictionary(value: object) -> bool:
    return isinstance(value, dict)


def _dictionary_of_texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_text, value.values()))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _stem(value: object) -> bool:
    """Accept a path below the output folder."""
    if not isinstance(value, str) or not _text(value):
        return False
    path = PurePosixPath(value)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _of(shape: _Shape) -> Check:
    return lambda value: _wrong(value, shape) is None


def _list_of(shape: _Shape) -> Check:
    return lambda value: isinstance(value, list) and all(map(_of(shape), value))


def _files(value: object) -> bool:
    return isinstance(value, dict) and all(map(_of(_FILE), value.values()))


def _counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


def _range(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_count, value))


def _one_of(kind: type[StrEnum], *names: str) -> tuple[Check, str]:
    """Return a check for a member of an enum, any or one of these, and the rule in words."""
    allowed = names or tuple(kind)
    return lambda value: isinstance(value, str) and value in allowed, f"{', '.join(allowed[:-1])} or {allowed[-1]}"


# key -> what it must be, and the rule in words. A key in brackets may be missing.
_Shape = dict[str, tuple[Check, str]]

_MODEL: _Shape = {
    "[name]": (_text, "a text"),
    "[sha256]": (_text, "a text"),
    "[error]": (_or_none(_text), "a text or null"),
    "[classes]": (_texts, "a list of texts"),
}

_BACKEND: _Shape = {"name": (_text, "a text"), "provider": (_text, "a text"), "[precision]": (_text, "a text")}

_JOB: _Shape = {
    "id": (_text, "a text"),
    "task": (_text, "a text"),
    "video_folder": (_text, "a path"),
    "inputs": (lambda value: _texts(value) and bool(value), "a list of paths"),
    "[only]": (_or_none(_texts), "a list of paths"),
    "config": (_dictionary, "a dictionary"),
    "[workers]": (lambda value: _is_int(value) and 1 <= value <= MAX_WORKERS, f"in [1, {MAX_WORKERS}]"),
    "[queue]": (_or_none(_text), "a text"),
    "[priority]": _one_of(Priority),
    "output": (_text, "a path"),
    "[stored]": (_or_none(_text), "a URL or null"),
    "created_at": (_time, "a time with its zone"),
}

_START: _Shape = {
    "started_at": (_time, "a time with its zone"),
    "worker": (_text, "a text"),
    "[total_frames]": (_count, "a count"),
    "warnings": (_texts, "a list of texts"),
    "refused": (_or_none(_text), "a text or null"),
    "model": (_of(_MODEL), "a model"),
    "videos": (lambda value: isinstance(value, list) and len(value) <= _MAX_VIDEOS, "a list"),
}

_VIDEO: _Shape = {
    "index": (lambda value: _is_int(value) and 0 <= value < _MAX_VIDEOS, "a number of a video"),
    "path": (_text, "a path"),
    "stem": (_stem, "a path below the output folder"),
    "size_bytes": (_count, "a count"),
    "[follows]": (lambda value: _is_int(value) and 0 <= value < _MAX_VIDEOS, "a number of a video"),
    "[frames]": (_or_none(_count), "a count or null"),
    "[duration_s]": (_or_none(_number), "a number or null"),
    "[width]": (_or_none(_count), "a count or null"),
    "[height]": (_or_none(_count), "a count or null"),
}

_RESULT: _Shape = {"entry": (_dictionary, "a dictionary"), "attempt": (_count, "a count"), "worker": (_text, "a text")}

_ENTRY: _Shape = {
    "path": (_text, "a path"),
    "status": _one_of(EntryStatus, "ok", "partial", "failed", "cancelled"),
    "error": (_or_none(_text), "a text or null"),
    "frames": (_count, "a count"),
    "detections": (_count, "a count"),
    "tracks": (_count, "a count"),
    "tracks_by_class": (_counts, "a dictionary of counts"),
    "fps": (_number, "a number"),
    "[inferred_frames]": (_count, "a count"),
    "[duration_s]": (_number, "a number"),
    "[elapsed_s]": (_number, "a number"),
    "[outputs]": (_dictionary_of_texts, "paths by kind"),
    "[files]": (_files, "sizes and hashes by kind"),
    "[stem]": (_text, "a path below the output folder"),
    "[clock]": (_dictionary, "a dictionary"),
    "[attempts]": (_count, "a count"),
    "[objects]": (_range, "two counts"),
    "[notes]": (_texts, "a list of texts"),
    "[resumed_from]": (_count, "a count"),
    "[sequence]": (_of({"[continued]": (_count, "a count")}), "a dictionary"),
    "[worker]": (_text, "a text"),
}

# In the summary of a job, a video may never have been started.
_ENDED: _Shape = _ENTRY | {"status": _one_of(EntryStatus)}

_TOTALS: _Shape = {
    **dict.fromkeys(("videos", "failed", "partial", "frames", "detections", "tracks"), (_count, "a count")),
    **dict.fromkeys(("[done]", "[cancelled]", "[not_begun]"), (_count, "a count")),
    **dict.fromkeys(("elapsed_s", "fps"), (_number, "a number")),
    **dict.fromkeys(("[cpu_s]", "[cpu_s_per_hour]"), (_number, "a number")),
}

_FILE: _Shape = {"size_bytes": (_count, "a count"), "sha256": (_text, "a text")}

_LINE: _Shape = {
    "line": (_text, "a text"),
    "direction": (_text, "a text"),
    "count": (_or_none(_count), "a count or null"),
    "by_class": (_counts, "a dictionary of counts"),
}

_ZONE: _Shape = {
    "zone": (_text, "a text"),
    "stays": (_or_none(_count), "a count or null"),
    "median_dwell_s": (_or_none(_number), "a number or null"),
}

_CAMERA: _Shape = {
    "camera": (_text, "a text"),
    "ids": (_or_none(_count), "a count or null"),
    "objects": (_or_none(_range), "two counts or null"),
    "lines": (_list_of(_LINE), "a list of counts"),
    "zones": (_list_of(_ZONE), "a list of stays"),
}

_ANSWERS: _Shape = {
    "cameras": (_list_of(_CAMERA), "a list of cameras"),
    "tables": (_dictionary_of_texts, "paths by name"),
    "[error]": (_text, "a text"),
}

_CLIP: _Shape = {"clip": (_text, "a path"), "mode": (_text, "a text")}

_CLIPS: _Shape = {
    "[folder]": (_text, "a path"),
    "clips": (_list_of(_CLIP), "a list of clips"),
    "failed": (_dictionary_of_texts, "texts by name"),
    "[error]": (_text, "a text"),
}

_EXPORT: _Shape = {
    "format": (_text, "a text"),
    "folder": (_text, "a path"),
    "tracks": (_count, "a count"),
    "boxes": (_count, "a count"),
}

_EXPORTS: _Shape = {"exports": (_list_of(_EXPORT), "a list of exports"), "[error]": (_text, "a text")}

_FOLLOW_UP: _Shape = {
    "[answers]": (_of(_ANSWERS), "counts"),
    "[clips]": (_of(_CLIPS), "clips"),
    "[exports]": (_of(_EXPORTS), "exports"),
}

_ALARMS: _Shape = {
    "target": (_text, "a text"),
    "sent": (_count, "a count"),
    "given_up": (_count, "a count"),
    "[error]": (_text, "a text"),
}

_SUMMARY: _Shape = {
    **_FOLLOW_UP,
    "videos": (_list_of(_ENDED), "a list of results"),
    "totals": (_of(_TOTALS), "counts"),
    "model": (_of(_MODEL), "a model"),
    "backend": (_of(_BACKEND), "a backend"),
    "[alarms]": (_list_of(_ALARMS), "a list of receivers"),
    "[workers]": (_texts, "a list of texts"),
    "[report]": (_text, "a path"),
    "[files]": (_files, "sizes and hashes by path"),
    "[error]": (_or_none(_text), "a text or null"),
}

_PIPELINE: _Shape = {
    "success": (lambda value: isinstance(value, bool), "true or false"),
    "message": (_text, "a text"),
    "processing_result": (_of(_SUMMARY), "a summary"),
    "end_log": (_dictionary, "a dictionary"),
}

_END: _Shape = {
    "state": _one_of(JobState, "completed", "failed", "cancelled"),
    "ended_at": (_time, "a time with its zone"),
    "result": (_of(_PIPELINE), "a result"),
}

_ENDING: _Shape = {
    "how": (lambda value: isinstance(value, str), "a text"),
    "[error]": (lambda value: isinstance(value, str), "a text"),
    "[cpu_s]": (_number, "a number"),
}

_SENT: _Shape = {
    "[id]": (_text, "a text"),
    "[queue]": (_text, "a text"),
    "at": (_time, "a time with its zone"),
    "[again]": (_count, "a count"),
}

_PROGRESS: _Shape = {
    "key": (_text, "a text"),
    "worker": (_text, "a text"),
    "stage": (_text, "a text"),
    "at": (_number, "a number"),
    "videos": (lambda value: _list_of(_TOLD)(value), "a list"),
    "[cpu_s]": (_number, "a number"),
}

_TOLD: _Shape = {
    "index": (_count, "a count"),
    "attempt": (_count, "a count"),
    "path": (_text, "a path"),
    "frames": (_count, "a count"),
    "[frames_total]": (_or_none(_count), "a count or null"),
    "[resumed_from]": (_or_none(_count), "a count or null"),
    "[elapsed_s]": (_or_none(_number), "a number or null"),
}


def _check(value: object, shape: _Shape) -> dict[str, Any]:
    """Return the value if it has that shape. Raises ValueError."""
    problem = _wrong(value, shape)
    if problem is not None:
        raise ValueError(problem)
    assert isinstance(value, dict)
    return value


SCHEMA = 1
"""The schema of `job.json`; other versions have others."""


@dataclass(frozen=True)
class JobSpec:
    """A job's request: `job.json`, which never changes. `inputs` are `video_folder`, resolved; `only` restricts the job
    to these files; `config` has the given keys of an EngineConfig."""

    id: str
    task: str
    video_folder: str
    inputs: tuple[str, ...]
    config: Mapping[str, object]
    output: str
    created_at: str
    only: tuple[str, ...] | None = None
    workers: int = 1
    queue: str | None = None
    priority: Priority = Priority.NORMAL
    client: Mapping[str, object] = field(default_factory=dict)
    """Who made it: host, user, pid."""
    stored: str | None = None
    """The place in storage to which the results go from `output`."""

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _JOB)
        only = found.get("only")
        return cls(
            id=found["id"],
            task=found["task"],
            video_folder=found["video_folder"],
            inputs=tuple(found["inputs"]),
            config=found["config"],
            output=found["output"],
            created_at=found["created_at"],
            only=None if only is None else tuple(only),
            workers=found.get("workers", 1),
            queue=found.get("queue"),
            priority=Priority(found.get("priority", Priority.NORMAL)),
            client=found.get("client", {}),
            stored=found.get("stored"),
        )

    def to_json(self) -> dict[str, object]:
        return {
            "schema": SCHEMA,
            "id": self.id,
            "task": self.task,
            "video_folder": self.video_folder,
            "inputs": list(self.inputs),
            "only": None if self.only is None else list(self.only),
            "config": dict(self.config),
            "workers": self.workers,
            "queue": self.queue,
            **({} if self.priority is Priority.NORMAL else {"priority": self.priority.value}),
            "output": self.output,
            **({} if self.stored is None else {"stored": self.stored}),
            "created_at": self.created_at,
            "client": dict(self.client),
        }


@dataclass(frozen=True)
class ModelFacts:
    """The model of a job, by name and hash, or why there is none; empty if it was not looked for. `classes` are the
    model's, empty if they were not recorded."""

    name: str | None = None
    sha256: str | None = None
    error: str | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _MODEL)
        return cls(found.get("name"), found.get("sha256"), found.get("error"), tuple(found.get("classes", ())))

    def to_json(self) -> dict[str, str | list[str]]:
        found = {"name": self.name, "sha256": self.sha256, "error": self.error, "classes": list(self.classes) or None}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class BackendFacts:
    """The engine's backend, its provider, and the precision ("" in older records)."""

    name: str = ""
    provider: str = ""
    precision: str = ""

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _BACKEND)
        return cls(found["name"], found["provider"], found.get("precision", ""))

    def to_json(self) -> dict[str, str]:
        known = {"precision": self.precision} if self.precision else {}
        return {"name": self.name, "provider": self.provider} | known


@dataclass(frozen=True)
class EngineFacts:
    """The model and the backend of a step's engine, as it reported them."""

    model: ModelFacts
    backend: BackendFacts

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, {"model": (_of(_MODEL), "a model"), "backend": (_of(_BACKEND), "a backend")})
        return cls(ModelFacts.from_json(found["model"]), BackendFacts.from_json(found["backend"]))

    def to_json(self) -> dict[str, object]:
        return {"model": self.model.to_json(), "backend": self.backend.to_json()}


@dataclass(frozen=True)
class VideoFacts:
    """A video in a job's list. `stem` is its path below the output folder; sizes are in bytes and pixels. The
    container's claims may be wrong or missing; `error` says why it could not be opened. `follows` is the number of the
    same camera's previous video, which is processed first."""

    index: int
    path: str
    stem: str
    size_bytes: int
    follows: int | None = None
    frames: int | None = None
    duration_s: float | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None

    @property
    def pixels(self) -> int:
        """Return the pixels of a frame; 0 if unknown."""
        return (self.width or 0) * (self.height or 0)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _VIDEO)
        error = found.get("error")
        return cls(
            index=found["index"],
            path=found["path"],
            stem=found["stem"],
            size_bytes=found["size_bytes"],
            follows=found.get("follows"),
            frames=found.get("frames"),
            duration_s=found.get("duration_s"),
            width=found.get("width"),
            height=found.get("height"),
            error=error if type(error) is str else None,
        )

    def to_json(self) -> dict[str, object]:
        place = {"index": self.index, "path": self.path, "stem": self.stem, "size_bytes": self.size_bytes}
        if self.follows is not None:
            place["follows"] = self.follows
        if self.error is not None:
            return {**place, "error": self.error}
        claims = {"frames": self.frames, "duration_s": self.duration_s, "width": self.width, "height": self.height}
        return {**place, **claims}


@dataclass(frozen=True)
class StartRecord:
    """The findings at the start of a job: `start.json`. `refused` says why the job can't be done; `started_at` is None
    only if the record itself can't be read."""

    started_at: str | None
    worker: str
    videos: tuple[VideoFacts, ...] = ()
    model: ModelFacts = ModelFacts()
    resources: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refused: str | None = None

    @classmethod
    def refusal(cls, why: str) -> Self:
        """Return a record that refuses a job."""
        return cls(started_at=None, worker="", refused=why)

    @property
    def total_frames(self) -> int:
        """Return the number of frames, according to the containers."""
        return sum(video.frames or 0 for video in self.videos)

    @property
    def total_duration_s(self) -> float:
        return round(sum(video.duration_s or 0.0 for video in self.videos), 3)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _START)
        videos = []
        for place, row in enumerate(found["videos"]):
            try:
                videos.append(VideoFacts.from_json(row))
            except ValueError as error:
                raise ValueError(f"videos[{place}]: {error}") from None
        if len({video.index for video in videos}) < len(videos):
            raise ValueError("videos: two have the same index")
        if len({video.stem for video in videos}) < len(videos):
            raise ValueError("videos: two have the same stem")
        return cls(
            started_at=found["started_at"],
            worker=found["worker"],
            videos=tuple(videos),
            model=ModelFacts.from_json(found["model"]),
            resources=_dictionary_or_none(found.get("resources")) or {},
            warnings=tuple(found["warnings"]),
            refused=found["refused"],
        )

    def log(self) -> dict[str, object]:
        """Return the record without its list of videos, for results."""
        return {
            "started_at": self.started_at,
            "worker": self.worker,
            "total_videos": len(self.videos),
            "total_frames": self.total_frames,
            "total_duration_s": self.total_duration_s,
            "total_size_bytes": sum(video.size_bytes for video in self.videos),
            "resources": dict(self.resources),
            "warnings": list(self.warnings),
            "refused": self.refused,
            "model": self.model.to_json(),
        }

    def to_json(self) -> dict[str, object]:
        return {**self.log(), "videos": [video.to_json() for video in self.videos]}


@dataclass(frozen=True)
class VideoEntry:
    """A video's summary entry. `told` is the entry as it was read, with the keys that only the engine knows, and their
    order."""

    path: str
    status: EntryStatus
    error: str | None = None
    frames: int = 0
    inferred_frames: int = 0
    detections: int = 0
    tracks: int = 0
    tracks_by_class: Mapping[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    fps: float = 0.0
    outputs: Mapping[str, str] = field(default_factory=dict)
    attempts: int | None = None
    stem: str = ""
    worker: str = ""
    clock: Mapping[str, object] | None = None
    """When its first frame was taken, and how that is known; only if tables are requested."""
    sequence: Mapping[str, Any] | None = None
    """Its place among the files of its camera."""
    told: Mapping[str, object] = field(default_factory=dict)

    @property
    def new_tracks(self) -> int:
        """How many of its tracks no previous file of its camera had."""
        return new_tracks(self.tracks, self.sequence)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        return cls._made_of(_check(value, _ENDED))

    @classmethod
    def _made_of(cls, found: dict[str, Any]) -> Self:
        """`found` was checked."""
        known = {name: found[name] for name in _ENTRY_KEYS if name in found}
        return cls(**{**known, "status": EntryStatus(found["status"])}, told=found)

    def to_json(self) -> dict[str, object]:
        values = {name: getattr(self, name) for name in _ENTRY_KEYS}
        values |= {"status": self.status.value, "tracks_by_class": dict(self.tracks_by_class)}
        values["outputs"] = dict(self.outputs)
        left_out = [name for name, nothing in _LEFT_OUT.items() if values[name] == nothing]
        return {**self.told, **{name: value for name, value in values.items() if name not in left_out}}


# Keys that are left out if they have this value.
_LEFT_OUT = {"attempts": None, "stem": "", "worker": "", "clock": None, "sequence": None}
_ENTRY_KEYS = [each.name for each in dataclasses.fields(VideoEntry) if each.name != "told"]


@dataclass(frozen=True)
class VideoResult:
    """The final result of a video: `videos/0007.done.json`. `entry` is the engine's summary entry."""

    entry: VideoEntry
    attempt: int
    worker: str
    at: str

    @property
    def status(self) -> EntryStatus:
        return self.entry.status

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _RESULT)
        entry = VideoEntry._made_of(_check(found["entry"], _ENTRY))
        return cls(entry, found["attempt"], found["worker"], str(found.get("at", "")))

    def to_json(self) -> dict[str, object]:
        return {"entry": self.entry.to_json(), "attempt": self.attempt, "worker": self.worker, "at": self.at}


@dataclass(frozen=True)
class JobTotals:
    """The totals over a job's videos: how many ended in which way, and their contents. `cpu_s` is the CPU time of the
    engines of its steps, `cpu_s_per_hour` the same per hour of video; None if not measured."""

    videos: int = 0
    done: int = 0
    partial: int = 0
    failed: int = 0
    cancelled: int = 0
    not_begun: int = 0
    frames: int = 0
    detections: int = 0
    tracks: int = 0
    elapsed_s: float = 0.0
    fps: float = 0.0
    cpu_s: float | None = None
    cpu_s_per_hour: float | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _TOTALS)
        return cls(**{name.name: found[name.name] for name in dataclasses.fields(cls) if name.name in found})

    def to_json(self) -> dict[str, object]:
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def follow_up_of(value: object) -> FollowUpJson:
    """Validate the results made from a job's tracks: counts, clips, exports. Raises ValueError."""
    found = _check(value, _FOLLOW_UP)
    return cast(FollowUpJson, {key: found[key] for key in FollowUpJson.__annotations__ if key in found})


@dataclass(frozen=True)
class JobSummary:
    """The summary of a job; docs/schema/summary.json has the structure. `error` is the error of the job as a whole,
    `made` the results made from the tracks, `report` the path of the report, `files` the sizes and hashes of these
    files by path below the output folder, `alarms` the outcome of events; `others` are keys of another version, which
    are kept."""

    success: bool
    videos: tuple[VideoEntry, ...]
    totals: JobTotals
    model: ModelFacts
    backend: BackendFacts
    workers: tuple[str, ...] = ()
    error: str | None = None
    made: FollowUpJson = field(default_factory=FollowUpJson)
    report: str | None = None
    files: Mapping[str, FileJson] = field(default_factory=dict)
    alarms: tuple[AlarmsJson, ...] = ()
    others: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        return cls._made_of(_check(value, _SUMMARY))

    @classmethod
    def _made_of(cls, found: dict[str, Any]) -> Self:
        """`found` was checked."""
        videos = tuple(map(VideoEntry._made_of, found["videos"]))
        return cls(
            success=found.get("success") is True,
            videos=videos,
            totals=JobTotals.from_json(found["totals"]),
            model=ModelFacts.from_json(found["model"]),
            backend=BackendFacts.from_json(found["backend"]),
            workers=tuple(found.get("workers", ())),
            error=found.get("error"),
            made=follow_up_of(found),
            report=found.get("report"),
            files=found.get("files", {}),
            alarms=tuple(found.get("alarms", ())),
            others={key: value for key, value in found.items() if key not in _SUMMARY_KEYS},
        )

    def to_json(self) -> dict[str, object]:
        error = {"error": self.error} if self.error else {}
        return {
            "schema": 1,
            "success": self.success,
            "videos": [video.to_json() for video in self.videos],
            "totals": self.totals.to_json(),
            "model": self.model.to_json(),
            "backend": self.backend.to_json(),
            "workers": list(self.workers),
            **error,
            **self.made,
            **({"report": self.report} if self.report else {}),
            **({"files": dict(self.files)} if self.files else {}),
            **({"alarms": list(self.alarms)} if self.alarms else {}),
            **self.others,
        }


_SUMMARY_KEYS = {"schema", *FollowUpJson.__annotations__, *(each.name for each in dataclasses.fields(JobSummary))}


@dataclass(frozen=True)
class PipelineResult:
    """The result of a job in the original program's structure. `others` are keys of another version."""

    success: bool
    message: str
    pipeline_task_id: str
    start_log: Mapping[str, object]
    summary: JobSummary
    end_log: Mapping[str, object]
    video_folder: str
    config_used: Mapping[str, object]
    others: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _PIPELINE)
        return cls(
            success=found["success"],
            message=found["message"],
            pipeline_task_id=str(found.get("pipeline_task_id", "")),
            start_log=_dictionary_or_none(found.get("start_log")) or {},
            summary=JobSummary._made_of(found["processing_result"]),
            end_log=found["end_log"],
            video_folder=str(found.get("video_folder", "")),
            config_used=_dictionary_or_none(found.get("config_used")) or {},
            others={key: value for key, value in found.items() if key not in _PIPELINE_KEYS},
        )

    def to_json(self) -> dict[str, object]:
        return {
            "success": self.success,
            "message": self.message,
            "pipeline_task_id": self.pipeline_task_id,
            "start_log": dict(self.start_log),
            "processing_result": self.summary.to_json(),
            "end_log": dict(self.end_log),
            "video_folder": self.video_folder,
            "config_used": dict(self.config_used),
            **self.others,
        }


_PIPELINE_KEYS = {"processing_result", *(each.name for each in dataclasses.fields(PipelineResult))}


@dataclass(frozen=True)
class EndRecord:
    """How a job ended: `end.json`."""

    state: JobState
    ended_at: str
    result: PipelineResult

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _END)
        return cls(JobState(found["state"]), found["ended_at"], PipelineResult.from_json(found["result"]))

    def to_json(self) -> dict[str, object]:
        return {"state": self.state.value, "ended_at": self.ended_at, "result": self.result.to_json()}


@dataclass(frozen=True)
class Sent:
    """The last message of a step that was sent: `tasks/process-1.sent.json`. `again` counts those sent before it."""

    id: str
    queue: str
    at: str
    again: int = 0

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _SENT)
        return cls(found.get("id", ""), found.get("queue", ""), found["at"], found.get("again", 0))

    def to_json(self) -> dict[str, object]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class VideoProgress:
    """The progress of a video: frames done, of `frames_total` if that is known."""

    index: int
    attempt: int
    path: str
    frames: int
    frames_total: int | None = None
    resumed_from: int | None = None
    elapsed_s: float | None = None
    stem: str = ""
    checkpoint_frames: int = 0

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _TOLD)
        names = [each.name for each in dataclasses.fields(cls)]
        return cls(**{name: found[name] for name in names if name in found})

    def to_json(self) -> dict[str, object]:
        resumed = {"resumed_from": self.resumed_from} if self.resumed_from else {}
        return {
            "stem": self.stem,
            "path": self.path,
            "frames": self.frames,
            "frames_total": self.frames_total,
            "elapsed_s": self.elapsed_s,
            "checkpoint_frames": self.checkpoint_frames,
            **resumed,
            "index": self.index,
            "attempt": self.attempt,
        }


@dataclass(frozen=True)
class Progress:
    """The latest progress of a process step: `tasks/process-1.progress.json`. `at` is in seconds since 1970, `cpu_s`
    the CPU time of its engines so far."""

    key: str
    worker: str
    stage: str
    at: float
    time: str
    videos: tuple[VideoProgress, ...] = ()
    cpu_s: float = 0.0

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _PROGRESS)
        videos = tuple(map(VideoProgress.from_json, found["videos"]))
        about = found["key"], found["worker"], found["stage"], found["at"], str(found.get("time", ""))
        return cls(*about, videos, float(found.get("cpu_s", 0.0)))

    def to_json(self) -> dict[str, object]:
        videos = [video.to_json() for video in self.videos]
        about = {"key": self.key, "worker": self.worker, "stage": self.stage, "at": self.at, "time": self.time}
        return {**about, "videos": videos, **({"cpu_s": self.cpu_s} if self.cpu_s else {})}


@dataclass(frozen=True)
class Ending:
    """How the work under a lease ended: `videos/0007.2.end.json`, `tasks/process-1.1.end.json`. `how` is one of How;
    another version may know others. `cpu_s` is the CPU time of a step's engines."""

    how: str
    error: str | None = None
    engine: EngineFacts | None = None
    cpu_s: float = 0.0

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        found = _check(value, _ENDING)
        try:
            engine = EngineFacts.from_json(found)
        except ValueError:  # of a video, or of a step that came to no engine
            engine = None
        return cls(found["how"], found.get("error"), engine, float(found.get("cpu_s", 0.0)))

    def to_json(self) -> dict[str, object]:
        error = {} if self.error is None else {"error": self.error}
        cost = {"cpu_s": self.cpu_s} if self.cpu_s else {}
        return {"how": str(self.how), **(self.engine.to_json() if self.engine else {}), **error, **cost}


def _wrong(value: object, shape: _Shape) -> str | None:
    if not isinstance(value, dict):
        return f"it must be a dictionary. Got {_shown(value)}"
    for name, (check, rule) in shape.items():
        key = name.strip("[]")
        if key not in value:
            if name == key:
                return f"{key} is missing"
        elif not check(value[key]):
            return f"{key} must be {rule}. Got {_shown(value[key])}"
    return None


def _dictionary_or_none(value: object) -> Mapping[str, object] | None:
    return value if isinstance(value, dict) else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
