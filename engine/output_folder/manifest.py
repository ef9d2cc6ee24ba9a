"""Validation of manifests: each key that is read, with its type and bounds.

Anyone who can write to an output folder may have written its manifest. It is checked here, once, and the result
conforms to `engine.summary`; unknown keys, such as those of another version, are left as they are.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from engine.config import EngineConfig
from engine.errors import ConfigError, InputError, LaterVersion, describe_os_error
from engine.output_folder.own_files import STATE_FOLDER
from engine.storage.urls import place_of
from engine.summary import SCHEMA, ManifestJson
from engine.text.printable import printable
from engine.text.within import with_texts

# The largest time; 2**32 s is the year 2106, for containers that keep a camera's epoch.
_LATEST_S = 2.0**33
_LONGEST_S = 1e8
_LONGEST_PATH, _LONGEST_NAME, _LONGEST_TEXT = 4096, 255, 100_000
_SHOWN = 60
# How Python represents non-UTF-8 bytes of file names. Other surrogates occur in no name.
_NO_TEXT = re.compile("[\udc80-\udcff]")
_LARGEST = 1 << 28


def _a_path(value: str) -> str:
    if "\0" in value:
        raise ValueError("a path without NUL")
    return value


def _below(value: str) -> str:
    """Return a path below the output folder."""
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError("a path below the output folder")
    if any(len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME for part in path.parts):
        raise ValueError(f"of names with {_LONGEST_NAME} bytes at most")
    return value


Text: TypeAlias = Annotated[str, Strict(), Field(max_length=_LONGEST_TEXT)]
PathText: TypeAlias = Annotated[str, Strict(), Field(min_length=1, max_length=_LONGEST_PATH), AfterValidator(_a_path)]
Below: TypeAlias = Annotated[PathText, AfterValidator(_below)]
Count: TypeAlias = Annotated[int, Strict(), Field(ge=0, le=2**53)]
Number: TypeAlias = Annotated[float, Strict(), Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
Seconds: TypeAlias = Annotated[float, Strict(), Field(ge=-_LATEST_S, le=_LATEST_S, allow_inf_nan=False)]
Side: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=2**20)]
Ratio: TypeAlias = Annotated[str, Strict(), Field(pattern=r"^[1-9]\d{0,9}(/[1-9]\d{0,9})?$")]
Flag: TypeAlias = Annotated[bool, Strict()]


# For keys that may be missing but are never null.
_ABSENT: Any = Field(default=None)


class _Facts(BaseModel):
    # Built on first use: most runs read no manifest.
    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True, protected_namespaces=())


class _File(_Facts):
    size_bytes: Count
    sha256: Text


class _Input(_Facts):
    size_bytes: Count
    sha256: Text = _ABSENT
    etag: Text = _ABSENT

    @model_validator(mode="after")
    def _is_identified(self) -> _Input:
        if self.sha256 is None and self.etag is None:
            raise ValueError("a table with sha256 or etag")
        return self


class _Media(_Facts):
    size_wh: tuple[Side, Side]
    examined_s: tuple[Seconds, Seconds]
    not_examined_s: list[tuple[Seconds, Seconds]] = _ABSENT
    first_s: Seconds = 0.0
    time_base: Ratio | None = None
    step_s: Ratio | None = None
    creation_time: Text = _ABSENT

    @model_validator(mode="after")
    def _in_order(self) -> _Media:
        first_s, last_s = self.examined_s
        if not first_s <= last_s <= first_s + _LONGEST_S:
            raise ValueError(f"of examined_s that are in their order, and {_LONGEST_S:.0e} s apart at most")
        return self


class _Sequence(_Facts):
    camera: Text = _ABSENT
    offset_s: Seconds
    joined: Flag = False
    continued: Count = 0


class _Segment(_Facts):
    segment: Below
    session: Text = _ABSENT
    started_at: Text
    at_s: Seconds
    frames: Count
    detections: Count
    tracks: Count
    duration_s: Annotated[float, Strict(), Field(ge=0, le=_LONGEST_S, allow_inf_nan=False)]
    outputs: dict[Text, PathText]
    files: dict[Text, _File] = _ABSENT
    media: _Media | None = None


class _Video(_Facts):
    path: PathText
    status: Text
    stem: Below
    error: Text | None
    frames: Count
    inferred_frames: Count = 0
    detections: Count
    tracks: Count
    tracks_by_class: dict[Text, Count] = _ABSENT
    duration_s: Number
    elapsed_s: Number = 0.0
    fps: Number = 0.0
    outputs: dict[Text, PathText]
    files: dict[Text, _File] = _ABSENT
    resumed_from: Count = _ABSENT
    video_offset_s: Seconds = _ABSENT
    objects: list[Count] = _ABSENT
    media: _Media | None = None
    sequence: _Sequence = _ABSENT
    notes: list[Text] = _ABSENT
    segments: list[_Segment] = _ABSENT
    clock: dict[Text, Text | None] = _ABSENT
    input: _Input | None = None
    attempts: Count = _ABSENT
    recording: Text = _ABSENT


class _Totals(_Facts):
    videos: Count
    failed: Count
    partial: Count
    frames: Count
    detections: Count
    tracks: Count
    elapsed_s: Number
    fps: Number


class _Model(_Facts):
    name: Text
    sha256: Text


class _Backend(_Facts):
    name: Text
    provider: Text
    device: Text | None = None
    why: Text | None = None
    precision: Text | None = None


class _LeftOut(_Facts):
    path: Text
    why: Text


class _Limit(_Facts):
    of: Literal["decode", "worker", "track", "sink", "cores", "streams"]
    fps: Annotated[float, Strict()]


class _Change(_Facts):
    change: Literal["without", "halved", "doubled"]
    of: Text
    fps: Annotated[float, Strict()]
    then: Text


class _Cores(_Facts):
    count: Number
    used: Number
    others: Number


class _Verdict(_Facts):
    fps: Annotated[float, Strict()]
    stage: Text
    explained: Number
    next: _Change | None
    changes: list[_Change]
    limits: Annotated[list[_Limit], Field(min_length=1)]
    cores: _Cores


class _Manifest(_Facts):
    schema_: Annotated[int, Strict(), Field(ge=1, le=SCHEMA)] = Field(default=1, alias="schema")
    videos: list[_Video]
    config: dict[str, object]
    model: _Model
    totals: _Totals
    backend: _Backend
    left_out: list[_LeftOut] = _ABSENT
    verdict: _Verdict | None = None
    error: Text | None = None
    started_at: Text | None = None
    classes: list[Text] = _ABSENT
    config_sha256: Text = _ABSENT
    manifest_sha256: Text = _ABSENT
    versions: dict[Text, Text] = _ABSENT
    files: dict[Below, _File] = _ABSENT
    job: Annotated[str, Strict(), Field(pattern=r"^[A-Za-z0-9-]{1,100}$")] | None = None
    workers: list[Text] = _ABSENT


def refuse_object(folder: Path) -> None:
    """Raise InputError, with what to do, for results in object storage, where a folder is needed."""
    if (place := place_of(folder)) is not None:
        url = place.url.rstrip("/")
        raise InputError(
            f"{url} is in object storage, and results are read from a folder here: copy them, e.g. "
            f"`aws s3 cp --recursive {url} OUT`, and name OUT."
        )


def read_manifest(folder: Path) -> ManifestJson:
    """Read and validate the manifest of an output folder. Raises InputError that names the file and the key."""
    refuse_object(folder)
    path = folder / "manifest.json"
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file.")
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is too large for a manifest.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / STATE_FOLDER).is_dir():
            raise InputError(
                f"{folder} contains no manifest.json yet: the run there has not ended. If it was killed, the same "
                "command resumes it."
            ) from None
        what = "contains no manifest.json" if folder.is_dir() else "does not exist"
        raise InputError(f"{folder} {what}. Name the output folder of a run or a job.") from None
    except NotADirectoryError:
        raise InputError(f"{folder} is not a folder. Name the output folder of a run or a job.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {describe_os_error(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}.") from error
    return checked(values, path)


def is_of_a_run(folder: Path) -> bool:
    """Return whether a run has ever written to a folder, even if it has no manifest."""
    return (folder / "manifest.json").exists() or (folder / STATE_FOLDER).is_dir()


def checked(values: object, path: Path) -> ManifestJson:
    """Validate the values of a manifest that was read from `path`, and return them. Raises InputError that names the
    file and the key, and LaterVersion if a later version wrote them."""
    if _is_of_a_later_version(values):
        raise LaterVersion(
            f"{path} was written by a later version of yolo-engine: its schema is {_schema_of(values)}, and this "
            f"version reads up to {SCHEMA}. Update this one with pip install --upgrade yolo-engine, or run again into "
            "another folder."
        )
    if _is_of_an_older_version(values):
        raise InputError(
            f"{path} was written by an older version, its videos have no stem: run again, with --no-resume."
        )
    try:
        manifest = _Manifest.model_validate(with_texts(values, _as_text, keys=True))
    except ValidationError as error:
        raise InputError(f"{path} is not the manifest of a run: {_sentence(error)}.") from None
    except RecursionError:
        raise InputError(f"{path} is not the manifest of a run: it is nested too deeply.") from None
    try:
        EngineConfig(**manifest.config)
    except (ConfigError, RecursionError) as error:
        raise InputError(f"{path} is not the manifest of a run: config: {error}") from None
    return cast("ManifestJson", values)


def _is_of_an_older_version(values: object) -> bool:
    """Return whether videos have no `stem`, as in the oldest versions."""
    videos = values.get("videos") if isinstance(values, dict) else None
    return isinstance(videos, list) and any(isinstance(each, dict) and "stem" not in each for each in videos)


def _as_text(text: str) -> str:
    """Replace undecodable bytes of file names, because pydantic accepts only valid text."""
    return text if text.isascii() else _NO_TEXT.sub("?", text)


def _schema_of(values: object) -> object:
    return values.get("schema") if isinstance(values, dict) else None


def _is_of_a_later_version(values: object) -> bool:
    """Return whether a later version wrote the manifest, so that keys may have another meaning."""
    schema = _schema_of(values)
    return isinstance(schema, int) and not isinstance(schema, bool) and schema > SCHEMA


def _sentence(error: ValidationError) -> str:
    """Describe the first fault: its place, the rule, and the value found."""
    fault = error.errors(include_url=False, include_context=False)[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    rule = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    rule = {"model_type": "a table", "missing": "there"}.get(fault["type"], rule)
    found = fault["input"]
    plain = isinstance(found, str | int | float | bool | None)
    shown = repr(found[:_SHOWN] if isinstance(found, str) else found) if plain else f"a {type(found).__name__}"
    return printable(f"{key or 'the whole'} must be {rule[:1].lower()}{rule[1:]}. Got {shown}", 500)
