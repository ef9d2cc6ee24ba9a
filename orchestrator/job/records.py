"""The records of a job's directory as types, checked where they are read: whoever can write there may be a stranger.

`from_json` takes a value as JSON gave it, and raises ValueError with the key, the rule and what was found. `to_json`
gives what is written; its keys and their order are pinned by tests/orchestrator/golden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Self

MAX_WORKERS = 1000
_MAX_VIDEOS = 10**6
_MAX_NUMBER = 2**63

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return type(value) is str and "\0" not in value and len(value) <= 100_000


def _time(value: Any) -> bool:
    """With its zone: times of several machines are compared."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MAX_NUMBER


def _number(value: Any) -> bool:
    """Not NaN either."""
    return type(value) in (int, float) and -_MAX_NUMBER < value < _MAX_NUMBER


def _texts(value: Any) -> bool:
    return type(value) is list and all(map(_text, value))


def _dictionary(value: Any) -> bool:
    return type(value) is dict


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _stem(value: Any) -> bool:
    """A place below the output folder."""
    if not _text(value):
        return False
    path = PurePosixPath(value)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _of(shape: _Shape) -> Check:
    return lambda value: _wrong(value, shape) is None


def _list_of(shape: _Shape) -> Check:
    return lambda value: type(value) is list and all(map(_of(shape), value))


def _counts(value: Any) -> bool:
    return type(value) is dict and all(map(_count, value.values()))


def _range(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(map(_count, value))


# key -> what it must be, and the rule in words. A key in brackets may be missing.
_Shape = dict[str, tuple[Check, str]]

_MODEL: _Shape = {
    "[name]": (_text, "a text"),
    "[sha256]": (_text, "a text"),
    "[error]": (_or_none(_text), "a text or null"),
}

_BACKEND: _Shape = {"name": (_text, "a text"), "provider": (_text, "a text"), "[precision]": (_text, "a text")}

_JOB: _Shape = {
    "id": (_text, "a text"),
    "task": (_text, "a text"),
    "video_folder": (_text, "a path"),
    "inputs": (lambda value: _texts(value) and len(value) > 0, "a list of paths"),
    "[only]": (_or_none(_texts), "a list of paths"),
    "config": (_dictionary, "a dictionary"),
    "[workers]": (lambda value: type(value) is int and 1 <= value <= MAX_WORKERS, f"in [1, {MAX_WORKERS}]"),
    "[queue]": (_or_none(_text), "a text"),
    "output": (_text, "a path"),
    "created_at": (_time, "a time with its zone"),
}

_START: _Shape = {
    "started_at": (_time, "a time with its zone"),
    "worker": (_text, "a text"),
    "[total_frames]": (_count, "a count"),
    "warnings": (_texts, "a list of texts"),
    "refused": (_or_none(_text), "a text or null"),
    "model": (_of(_MODEL), "a model"),
    "videos": (lambda value: type(value) is list and len(value) <= _MAX_VIDEOS, "a list"),
}

_VIDEO: _Shape = {
    "index": (lambda value: type(value) is int and 0 <= value < _MAX_VIDEOS, "a number of a video"),
    "path": (_text, "a path"),
    "stem": (_stem, "a path below the output folder"),
    "size_bytes": (_count, "a count"),
    "[follows]": (lambda value: type(value) is int and 0 <= value < _MAX_VIDEOS, "a number of a video"),
    "[frames]": (_or_none(_count), "a count or null"),
    "[duration_s]": (_or_none(_number), "a number or null"),
    "[width]": (_or_none(_count), "a count or null"),
    "[height]": (_or_none(_count), "a count or null"),
}

_RESULT: _Shape = {"entry": (_dictionary, "a dictionary"), "attempt": (_count, "a count"), "worker": (_text, "a text")}

_ENTRY: _Shape = {
    "path": (_text, "a path"),
    "status": (lambda value: value in ("ok", "partial", "failed", "cancelled"), "ok, partial, failed or cancelled"),
    "error": (_or_none(_text), "a text or null"),
    "frames": (_count, "a count"),
    "detections": (_count, "a count"),
    "tracks": (_count, "a count"),
    "tracks_by_class": (_counts, "a dictionary of counts"),
    "fps": (_number, "a number"),
    "[attempts]": (_count, "a count"),
    "[objects]": (_range, "two counts"),
    "[notes]": (_texts, "a list of texts"),
    "[resumed_from]": (_count, "a count"),
    "[worker]": (_text, "a text"),
}

# In the summary of a job, a video's turn may never have come.
_ENDED: _Shape = _ENTRY | {
    "status": (
        lambda value: value in ("ok", "partial", "failed", "cancelled", "not begun"),
        "ok, partial, failed, cancelled or not begun",
    )
}

_TOTALS: _Shape = {
    **dict.fromkeys(("videos", "failed", "partial", "frames", "detections", "tracks"), (_count, "a count")),
    **dict.fromkeys(("elapsed_s", "fps"), (_number, "a number")),
}

_LINE: _Shape = {
    "line": (_text, "a text"),
    "direction": (_text, "a text"),
    "count": (_count, "a count"),
    "by_class": (_counts, "a dictionary of counts"),
}

_ZONE: _Shape = {
    "zone": (_text, "a text"),
    "stays": (_count, "a count"),
    "median_dwell_s": (_or_none(_number), "a number or null"),
}

_CAMERA: _Shape = {
    "camera": (_text, "a text"),
    "ids": (_count, "a count"),
    "objects": (lambda value: type(value) is list and len(value) == 2 and all(map(_count, value)), "two counts"),
    "lines": (_list_of(_LINE), "a list of counts"),
    "zones": (_list_of(_ZONE), "a list of stays"),
}


def _named_texts(value: object) -> bool:
    return type(value) is dict and all(map(_text, value.values()))


_ANSWERS: _Shape = {
    "cameras": (_list_of(_CAMERA), "a list of cameras"),
    "tables": (_named_texts, "paths by name"),
    "[error]": (_text, "a text"),
}

_CLIP: _Shape = {
    "clip": (_text, "a path"),
    "mode": (_text, "a text"),
}

_CLIPS: _Shape = {
    "[folder]": (_text, "a path"),
    "clips": (_list_of(_CLIP), "a list of clips"),
    "failed": (_named_texts, "texts by name"),
    "[error]": (_text, "a text"),
}

_EXPORT: _Shape = {
    "format": (_text, "a text"),
    "folder": (_text, "a path"),
    "tracks": (_count, "a count"),
    "boxes": (_count, "a count"),
}

_EXPORTS: _Shape = {
    "exports": (_list_of(_EXPORT), "a list of exports"),
    "[error]": (_text, "a text"),
}

_ALARMS: _Shape = {
    "target": (_text, "a text"),
    "sent": (_count, "a count"),
    "given_up": (_count, "a count"),
    "[error]": (_text, "a text"),
}

_SUMMARY: _Shape = {
    "videos": (_list_of(_ENDED), "a list of results"),
    "totals": (_of(_TOTALS), "counts"),
    "model": (_of(_MODEL), "a model"),
    "backend": (_of(_BACKEND), "a backend"),
    "[answers]": (_of(_ANSWERS), "counts"),
    "[clips]": (_of(_CLIPS), "clips"),
    "[exports]": (_of(_EXPORTS), "exports"),
    "[alarms]": (_list_of(_ALARMS), "a list of receivers"),
    "[error]": (_or_none(_text), "a text or null"),
}

_PIPELINE: _Shape = {
    "success": (lambda value: type(value) is bool, "true or false"),
    "message": (_text, "a text"),
    "processing_result": (_of(_SUMMARY), "a summary"),
    "end_log": (_dictionary, "a dictionary"),
}

_END: _Shape = {
    "state": (lambda value: value in ("completed", "failed", "cancelled"), "completed, failed or cancelled"),
    "ended_at": (_time, "a time with its zone"),
    "result": (_of(_PIPELINE), "a result"),
}

_ENDING: _Shape = {
    "how": (lambda value: type(value) is str, "a text"),
    "[error]": (lambda value: type(value) is str, "a text"),
}

_PROGRESS: _Shape = {
    "key": (_text, "a text"),
    "worker": (_text, "a text"),
    "stage": (_text, "a text"),
    "at": (_number, "a number"),
    "videos": (lambda value: _list_of(_TOLD)(value), "a list"),
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
    """The value, which has that shape. Raises ValueError."""
    problem = _wrong(value, shape)
    if problem is not None:
        raise ValueError(problem)
    assert isinstance(value, dict)
    return value


SCHEMA = 1
"""Of `job.json`; another one is another version's."""


@dataclass(frozen=True)
class JobSpec:
    """What a job was asked to do: `job.json`, which never changes. `inputs` are `video_folder`, resolved; `only`
    restricts the job to these files; `config` holds the keys of an EngineConfig that were given."""

    id: str
    task: str
    video_folder: str
    inputs: tuple[str, ...]
    config: Mapping[str, Any]
    output: str
    created_at: str
    only: tuple[str, ...] | None = None
    workers: int = 1
    queue: str | None = None
    client: Mapping[str, Any] = field(default_factory=dict)
    """Who made it: host, user, pid."""

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
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
            client=found.get("client", {}),
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
            "output": self.output,
            "created_at": self.created_at,
            "client": dict(self.client),
        }


@dataclass(frozen=True)
class ModelFacts:
    """The model of a job, by name and hash, or why there is none; nothing where it was not looked for."""

    name: str | None = None
    sha256: str | None = None
    error: str | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
        found = _check(value, _MODEL)
        return cls(found.get("name"), found.get("sha256"), found.get("error"))

    def to_json(self) -> dict[str, str]:
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class VideoFacts:
    """A video of a job's list. `stem` is its place below the output folder; sizes in bytes and pixels. What its
    container claims may be wrong or missing, and `error` says why it could not be opened. `follows` is the number of
    the video before it of the same camera, which is done first."""

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
        """Of a frame; 0 where that is not known."""
        return (self.width or 0) * (self.height or 0)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
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
    """What was found at the start of a job: `start.json`. `refused` says why the job can't be done; `started_at` is
    None only where the record itself can't be read."""

    started_at: str | None
    worker: str
    videos: tuple[VideoFacts, ...] = ()
    model: ModelFacts = ModelFacts()
    resources: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refused: str | None = None

    @classmethod
    def refusal(cls, why: str) -> Self:
        """Return a record that refuses a job."""
        return cls(started_at=None, worker="", refused=why)

    @property
    def total_frames(self) -> int:
        """As the containers claim them."""
        return sum(video.frames or 0 for video in self.videos)

    @property
    def total_duration_s(self) -> float:
        return round(sum(video.duration_s or 0.0 for video in self.videos), 3)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
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
        resources = found.get("resources")
        return cls(
            started_at=found["started_at"],
            worker=found["worker"],
            videos=tuple(videos),
            model=ModelFacts.from_json(found["model"]),
            resources=resources if type(resources) is dict else {},
            warnings=tuple(found["warnings"]),
            refused=found["refused"],
        )

    def log(self) -> dict[str, object]:
        """Return the record without its list of videos, as results show it."""
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
class VideoResult:
    """The one result of a video: `videos/0007.done.json`. `entry` is the engine's, as the summary has it."""

    entry: Mapping[str, Any]
    attempt: int
    worker: str
    at: str

    @property
    def status(self) -> str:
        return str(self.entry["status"])

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
        found = _check(value, _RESULT)
        return cls(_check(found["entry"], _ENTRY), found["attempt"], found["worker"], str(found.get("at", "")))

    def to_json(self) -> dict[str, object]:
        return {"entry": dict(self.entry), "attempt": self.attempt, "worker": self.worker, "at": self.at}


@dataclass(frozen=True)
class EndRecord:
    """How a job ended: `end.json`. `result` is the pipeline's, in the original program's structure."""

    state: str
    ended_at: str
    result: Mapping[str, Any]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The videos of the result."""
        return list(self.result["processing_result"]["videos"])

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
        found = _check(value, _END)
        return cls(found["state"], found["ended_at"], found["result"])

    def to_json(self) -> dict[str, object]:
        return {"state": self.state, "ended_at": self.ended_at, "result": dict(self.result)}


@dataclass(frozen=True)
class VideoProgress:
    """How far a video is: frames done, of `frames_total` where that is known."""

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
        """Raises ValueError."""
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
    """What a process step wrote last: `tasks/process-1.progress.json`. `at` is in seconds since 1970."""

    key: str
    worker: str
    stage: str
    at: float
    time: str
    videos: tuple[VideoProgress, ...] = ()

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
        found = _check(value, _PROGRESS)
        videos = tuple(map(VideoProgress.from_json, found["videos"]))
        return cls(found["key"], found["worker"], found["stage"], found["at"], str(found.get("time", "")), videos)

    def to_json(self) -> dict[str, object]:
        videos = [video.to_json() for video in self.videos]
        about = {"key": self.key, "worker": self.worker, "stage": self.stage, "at": self.at, "time": self.time}
        return {**about, "videos": videos}


class How(StrEnum):
    """How the work under a lease ended, a video's or a step's."""

    DONE = "done"
    HANDED_BACK = "handed back"
    CANCELLED = "cancelled"
    LOST = "lost"
    CRASHED = "crashed"
    STALLED = "stalled"
    # of steps
    EXHAUSTED = "exhausted"
    FAILED = "failed"
    ENDED = "ended"
    BROKE_OFF = "broke off"
    # of what its owner wrote, and what can't be read any more
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class EngineFacts:
    """The model and the backend of a step's engine, as it reported them."""

    model: ModelFacts
    backend: Mapping[str, str]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
        found = _check(value, {"model": (_of(_MODEL), "a model"), "backend": (_of(_BACKEND), "a backend")})
        return cls(ModelFacts.from_json(found["model"]), found["backend"])

    def to_json(self) -> dict[str, object]:
        return {"model": self.model.to_json(), "backend": dict(self.backend)}


@dataclass(frozen=True)
class Ending:
    """How the work under a lease ended: `videos/0007.2.end.json`, `tasks/process-1.1.end.json`. `how` is one of How;
    another version may know others."""

    how: str
    error: str | None = None
    engine: EngineFacts | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ValueError."""
        found = _check(value, _ENDING)
        try:
            engine = EngineFacts.from_json(found)
        except ValueError:  # of a video, or of a step that came to no engine
            engine = None
        return cls(found["how"], found.get("error"), engine)

    def to_json(self) -> dict[str, object]:
        error = {} if self.error is None else {"error": self.error}
        return {"how": str(self.how), **(self.engine.to_json() if self.engine else {}), **error}


def _wrong(value: Any, shape: _Shape) -> str | None:
    if type(value) is not dict:
        return f"it must be a dictionary. Got {_shown(value)}"
    for name, (check, rule) in shape.items():
        key = name.strip("[]")
        if key not in value:
            if name == key:
                return f"{key} is missing"
        elif not check(value[key]):
            return f"{key} must be {rule}. Got {_shown(value[key])}"
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
