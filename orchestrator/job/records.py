"""The shape of each record in a job's directory, checked where it is read: whoever can write there may be a stranger.

Each `wrong_in_...` says what is wrong with a value as JSON gave it, None where nothing is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

MOST_WORKERS = 1000
_MOST_VIDEOS = 10**6
_LARGEST = 2**63

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
    return type(value) is int and 0 <= value < _LARGEST


def _number(value: Any) -> bool:
    """Not NaN either."""
    return type(value) in (int, float) and -_LARGEST < value < _LARGEST


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

_BACKEND: _Shape = {"name": (_text, "a text"), "provider": (_text, "a text")}

_JOB: _Shape = {
    "id": (_text, "a text"),
    "task": (_text, "a text"),
    "video_folder": (_text, "a path"),
    "inputs": (lambda value: _texts(value) and len(value) > 0, "a list of paths"),
    "[only]": (_or_none(_texts), "a list of paths"),
    "config": (_dictionary, "a dictionary"),
    "[workers]": (lambda value: type(value) is int and 1 <= value <= MOST_WORKERS, f"in [1, {MOST_WORKERS}]"),
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
    "videos": (lambda value: type(value) is list and len(value) <= _MOST_VIDEOS, "a list"),
}

_VIDEO: _Shape = {
    "index": (lambda value: type(value) is int and 0 <= value < _MOST_VIDEOS, "a number of a video"),
    "path": (_text, "a path"),
    "stem": (_stem, "a path below the output folder"),
    "size_bytes": (_count, "a count"),
    "[follows]": (lambda value: type(value) is int and 0 <= value < _MOST_VIDEOS, "a number of a video"),
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

_ANSWERS: _Shape = {
    "cameras": (_list_of(_CAMERA), "a list of cameras"),
    "tables": (lambda value: type(value) is dict and all(map(_text, value.values())), "paths by name"),
    "[error]": (_text, "a text"),
}

_SUMMARY: _Shape = {
    "videos": (_list_of(_ENTRY), "a list of results"),
    "totals": (_of(_TOTALS), "counts"),
    "model": (_of(_MODEL), "a model"),
    "backend": (_of(_BACKEND), "a backend"),
    "[answers]": (_of(_ANSWERS), "counts"),
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


def wrong_in_job(value: Any) -> str | None:
    return _wrong(value, _JOB)


def wrong_in_start(value: Any) -> str | None:
    problem = _wrong(value, _START)
    if problem is not None:
        return problem
    for place, row in enumerate(value["videos"]):
        problem = _wrong(row, _VIDEO)
        if problem is not None:
            return f"videos[{place}]: {problem}"
    for key in ("index", "stem"):
        if len({row[key] for row in value["videos"]}) < len(value["videos"]):
            return f"videos: two have the same {key}"
    return None


def wrong_in_result(value: Any) -> str | None:
    return _wrong(value, _RESULT) or _wrong(value["entry"], _ENTRY)


def wrong_in_end(value: Any) -> str | None:
    return _wrong(value, _END)


def wrong_in_engine_facts(value: Any) -> str | None:
    """Of how a step ended: the model and the backend of its engine."""
    return _wrong(value, {"model": (_of(_MODEL), "a model"), "backend": (_of(_BACKEND), "a backend")})


def wrong_in_progress(value: Any) -> str | None:
    return _wrong(value, _PROGRESS)


def refusal(why: str) -> dict[str, Any]:
    """A start record that refuses a job."""
    return {
        "started_at": None,
        "worker": "",
        "total_videos": 0,
        "total_frames": 0,
        "total_duration_s": 0.0,
        "total_size_bytes": 0,
        "resources": {},
        "warnings": [],
        "refused": why,
        "model": {},
        "videos": [],
    }


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
