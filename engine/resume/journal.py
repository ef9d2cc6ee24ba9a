"""Journals: the state that an attempt at a video leaves to continue from, as a JSON file with a checksum.

The classes here define its values; `unpacked` validates a file. A `Verdict`, the final result of a video, is stored in
the same way. Nothing heavy is imported here, because other processes read journals, too.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

if TYPE_CHECKING:
    from engine.analytics.heatmap import HeatmapStateJson
    from engine.records import TrackerJson
    from engine.sinks.base import OutputState
    from engine.sinks.scene_overlay import CountsJson
    from engine.summary import EntryJson, SegmentJson

SCHEMA = 1

# Everything the results depend on, in named parts; see engine/resume/fingerprint.py.
Fingerprint = dict[str, object]

# Many times the size of a checkpoint of a crowded street.
LARGEST = 64 << 20


_HEX = re.compile(r"(?:[0-9a-f]{2})*")


class CheckpointJson(TypedDict):
    """A checkpoint after `frames` frames, with the state of each output by kind. For a segment of a live source, which
    is never continued, there is nothing else. `events` is the state of event detection, in its own format."""

    frames: int
    mark: NotRequired[dict[str, object]]
    tracker: NotRequired[TrackerJson]
    tally: NotRequired[dict[str, object]]
    outputs: dict[str, OutputState]
    events: NotRequired[dict[str, object]]


class MadeFile(TypedDict):
    """A finished output: its name in the attempt's folder, its path relative to the output folder, its size, and its
    hash, which earlier versions did not store."""

    name: str
    path: str
    size: int
    sha256: NotRequired[str]


class LiveJson(TypedDict):
    """A segment of a live source: `stem` is the source's, `segment` its own, `audio` is the format of its sound in
    hexadecimal digits. In a verdict, `line` is its line in the list of segments."""

    stem: str
    segment: str
    session: str
    started_at: str
    audio: str
    line: NotRequired[SegmentJson]


class DoneJson(TypedDict):
    """A completed video as written by the previous version; `sizes` are those of its outputs."""

    entry: EntryJson
    sizes: dict[str, int]


class Journal(TypedDict, total=False):
    """The state that an attempt leaves to continue from.

    `attempts` is the number of attempts so far, written before the video is opened. `outputs` has the path of each
    output by kind, relative to the output folder. `checkpoint` is absent before the first one.
    """

    fingerprint: Fingerprint
    attempts: int
    outputs: dict[str, str]
    checkpoint: CheckpointJson
    live: LiveJson
    job: str
    done: DoneJson


class CarriedJson(TypedDict):
    """State passed from one file of a camera to the next. Times are on the file's own clock; plus `offset_s` they are
    on the camera's timeline. `last` is the time of the last frame, as a fraction. `tail` has sketches of the last
    frames. `start` is the wall-clock time at the beginning of this file, `zero` at that of the camera's first.
    `heatmap` has the live tracks, if a heatmap is made, with times of the camera's timeline; `counts` the state of
    drawn counts. `tracks` are the ids that were reported and may come again; older versions did not note them."""

    tracker: TrackerJson
    tail: NotRequired[list[int]]
    first_s: float
    end_s: float
    last: str
    offset_s: float
    start: str | None
    zero: str | None
    heatmap: NotRequired[HeatmapStateJson]
    counts: NotRequired[CountsJson]
    tracks: NotRequired[list[int]]


class Verdict(TypedDict):
    """The final result of a video: its entry in a summary, and its files by kind."""

    entry: EntryJson
    made: dict[str, MadeFile]
    fingerprint: NotRequired[Fingerprint]
    attempts: NotRequired[int]
    carried: NotRequired[CarriedJson | None]
    live: NotRequired[LiveJson]
    job: NotRequired[str]


class Written(Journal, total=False):
    """The values of a file that may be a journal, a verdict, or a ticket (which has a `token`)."""

    entry: EntryJson
    made: dict[str, MadeFile]
    carried: CarriedJson | None
    token: str


class Damaged(ValueError):
    """The file exists but is not a complete journal of this version."""


def packed(values: Mapping[str, object]) -> bytes:
    """Serialise `values` to a file's content."""
    body = json.dumps(values, separators=(",", ":"))
    return json.dumps({"schema": SCHEMA, "crc32": zlib.crc32(body.encode()), "values": body}).encode()


def unpacked(text: bytes) -> Written:
    """Parse a file's content and check the types of its values. Raises Damaged."""
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
    # A checksum proves that a file is complete, not that it is ours.
    problem = _wrong(values)
    if problem is not None:
        raise Damaged(f"{problem} is invalid")
    return cast("Written", values)


def _wrong(values: Any) -> str | None:
    """Return the name of the first invalid value; None if all are valid."""
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
    for key, right in (("entry", _entry), ("made", _made), ("done", _done), ("live", _live)):
        if key in values and not _is(right, values[key]):
            return f"its {key}"
    return None


def _is(right: Callable[[Any], bool], value: Any) -> bool:
    try:
        return right(value)
    except (OverflowError, TypeError):  # a number that is not a valid time
        return False


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and (_count(value.get("offset")) or isinstance(value.get("lost"), str))
        and isinstance(trails := value.get("trails", []), list)
        and all(isinstance(trail, list) and all(type(number) is float for number in trail) for trail in trails)
        and isinstance(labels := value.get("labels", []), list)
        and all(isinstance(label, list) and all(type(number) is int for number in label) for label in labels)
        and isinstance(value.get("scene", {}), dict)
    )


def _entry(value: Any) -> bool:
    """Return whether a value is an entry of a summary, as in engine/results.py."""
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
        and _files(value.get("files", {}))
        and isinstance(notes, list)
        and all(isinstance(note, str) for note in notes)
    )


def _files(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(each, dict) and _count(each.get("size_bytes")) and isinstance(each.get("sha256"), str)
        for each in value.values()
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
        and isinstance(each.get("sha256", ""), str)
        for each in value.values()
    )


def _done(value: Any) -> bool:
    """Return whether a value is a completed video as written by the previous version."""
    return (
        isinstance(value, dict)
        and _entry(value.get("entry"))
        and isinstance(value.get("sizes"), dict)
        and all(map(_count, value["sizes"].values()))
    )


def _live(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("stem", "segment", "session", "started_at", "audio"))
        and is_inside(value["stem"])
        and is_inside(value["segment"])
        and _HEX.fullmatch(value["audio"]) is not None
        and isinstance(value.get("line", {}), dict)
    )


def is_inside(path: str) -> bool:
    """Return whether a relative path names a file below the folder it is relative to."""
    parts = PurePosixPath(path).parts
    return bool(parts) and "\0" not in path and not path.startswith("/") and ".." not in parts
