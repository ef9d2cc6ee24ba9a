"""A journal: what an attempt at a video leaves to go on with, as a JSON file with a checksum. Its values:

    fingerprint  what the results depend on, in named parts; see engine/resume/fingerprint.py
    attempts     how often the video was begun; written before it is opened
    outputs      kind -> path of each output, relative to the output folder
    checkpoint   frames, mark, tracker, tally, outputs (kind -> state); absent before the first one

A verdict, the last word on a video, is the same with `entry` (of the summary), `job` and `made` (kind -> name, path and
size of each output) instead of a checkpoint. Nothing heavy is imported here: other processes look into journals too.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

SCHEMA = 1

# Many times what a checkpoint of a crowded street takes.
LARGEST = 64 << 20


class Damaged(ValueError):
    """The file is there, but is no journal that this version wrote whole."""


def packed(values: dict[str, Any]) -> bytes:
    """`values` as a file's content."""
    body = json.dumps(values, separators=(",", ":"))
    return json.dumps({"schema": SCHEMA, "crc32": zlib.crc32(body.encode()), "values": body}).encode()


def unpacked(text: bytes) -> dict[str, Any]:
    """The values in a file's content, of the types that they should be. Raises Damaged."""
    try:
        outer = json.loads(text)
        if outer["schema"] != SCHEMA:
            raise Damaged(f"of schema {str(outer['schema'])[:20]}, not {SCHEMA}")
        if zlib.crc32(outer["values"].encode()) != outer["crc32"]:
            raise Damaged("its checksum is wrong")
        values = json.loads(outer["values"])
    except Damaged:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged("not whole") from error
    # A checksum proves that a file is whole, not that it is ours.
    problem = _wrong(values)
    if problem is not None:
        raise Damaged(f"{problem} is not what it should be")
    assert isinstance(values, dict)
    return values


def _wrong(values: Any) -> str | None:
    """The first value that is of a wrong type; None where there is none."""
    if not isinstance(values, dict):
        return "it"
    if not isinstance(values.get("fingerprint", {}), dict):
        return "its fingerprint"
    if not _count(values.get("attempts", 1)):
        return "its number of attempts"
    outputs = values.get("outputs", {})
    if not isinstance(outputs, dict) or not all(isinstance(path, str) and is_inside(path) for path in outputs.values()):
        return "its list of outputs"
    checkpoint = values.get("checkpoint", {"frames": 0, "outputs": {}})
    if not isinstance(checkpoint, dict) or not _count(checkpoint.get("frames")):
        return "its checkpoint"
    states = checkpoint.get("outputs")
    if not isinstance(states, dict) or not states.keys() <= outputs.keys() or not all(map(_state, states.values())):
        return "its checkpoint"
    for key, right in (("entry", _entry), ("made", _made), ("done", _done)):
        if key in values and not _is(right, values[key]):
            return f"its {key}"
    return None


def _is(right: Callable[[Any], bool], value: Any) -> bool:
    try:
        return right(value)
    except (OverflowError, TypeError):  # a number that is no time
        return False


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _state(value: Any) -> bool:
    return isinstance(value, dict) and (_count(value.get("offset")) or isinstance(value.get("lost"), str))


def _entry(value: Any) -> bool:
    """Whether it is an entry of a summary, as engine/results.py makes them."""
    if not isinstance(value, dict) or value.get("status") not in ("ok", "partial", "failed"):
        return False
    counts = ("frames", "inferred_frames", "detections", "tracks")
    times = ("duration_s", "elapsed_s", "fps")
    classes, notes = value.get("tracks_by_class"), value.get("notes", [])
    return (
        isinstance(value.get("error", 0), str | None)
        and all(_count(value.get(key)) for key in counts)
        and all(_count(value.get(key, 0)) for key in ("resumed_from", "dropped_frames"))
        and all(type(value.get(key)) in (int, float) and math.isfinite(value[key]) for key in times)
        and isinstance(classes, dict)
        and all(map(_count, classes.values()))
        and _range(value.get("objects", [0, 0]))
        and isinstance(value.get("media", {}), dict)
        and isinstance(value.get("outputs"), dict)
        and isinstance(notes, list)
        and all(isinstance(note, str) for note in notes)
    )


def _range(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_count, value))


def _made(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and "/" not in each["name"]
        and isinstance(each.get("path"), str)
        and is_inside(each["path"])
        and _count(each.get("size"))
        for each in value.values()
    )


def _done(value: Any) -> bool:
    """What the version before this one wrote of a video that was complete."""
    return (
        isinstance(value, dict)
        and _entry(value.get("entry"))
        and isinstance(value.get("sizes"), dict)
        and all(map(_count, value["sizes"].values()))
    )


def is_inside(path: str) -> bool:
    """Whether a relative path names a file below the folder it is relative to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and "\0" not in path and not path.startswith("/") and ".." not in parts
