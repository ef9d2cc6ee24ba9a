"""The configuration: every key with its rule and default, validated on construction.

The first eight keys are those of the original program and keep their names, meaning and defaults.
"""

# No deferred annotations: pydantic would compile each one by itself, which takes 4 ms of each start.

import difflib
import json
import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from engine.choices import defaults
from engine.choices.backends import AUTO, BACKENDS
from engine.choices.formats import EXPORTS, FORMATS
from engine.choices.precision import Precision
from engine.errors import ConfigError, describe_os_error
from engine.trackers import registry
from engine.trackers.keys import Count, Share, TrackerKeys, not_bool
from models.layouts import LayoutName
from models.registry import DEFAULT_MODEL, get_manifest

_MAX_SKIPPED = 1000
_MAX_WAITING = 30  # frames that are held for the next inference, where gaps are filled from both sides
_CLOCK_TIME = re.compile(r"(?:\d+:)?(?:\d+:)?\d+(?:\.\d+)?")
# Of the lowest score that the tracker gets: from here on, detections tell a gate what is between two frames.
_FAINT = 0.4
_MAX_NUMBER = 1e6  # of a scale or a mean, as the manifests have it
_NUMBER = r"(\d+(?:\.\d+)?)"
_LENGTH = re.compile(rf"{_NUMBER}|(?:{_NUMBER} *d)? *(?:{_NUMBER} *h)? *(?:{_NUMBER} *m(?:in)?)? *(?:{_NUMBER} *s)?")


def _listed(value: Any) -> Any:
    """Read 'a,b' as the list ['a', 'b']."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _frames_to_skip(value: Any) -> Any:
    """Read true, false or a number, also as the text of a command line."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower(), value)
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= _MAX_SKIPPED or (isinstance(value, float) and value != number):
        raise ValueError(f"true, false or a whole number in [0, {_MAX_SKIPPED}]")
    return value if isinstance(value, bool) else number


def _two(value: Any) -> Any:
    value = _listed(value)
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("two numbers, height and width")
    return value


def _one_or_three(value: Any) -> Any:
    """Return a number, or three of them: as numbers, as a list or as the text of a command line."""
    parts = _listed(value)
    parts = list(parts) if isinstance(parts, list | tuple) else [not_bool(parts)]
    try:
        numbers = tuple(float(part) for part in parts if not isinstance(part, bool))
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    if len(parts) not in (1, 3) or len(numbers) != len(parts):
        raise ValueError("a number, or three with commas, one per channel")
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a finite number" if len(numbers) == 1 else "three finite numbers")
    if any(abs(number) > _MAX_NUMBER for number in numbers):
        raise ValueError(f"at most {_MAX_NUMBER:,.0f} in size")
    return numbers if len(numbers) == 3 else numbers[0]


def _parts(value: Any) -> Any:
    """Return the names of parts of a label; the text "none" means no parts."""
    return () if value == "none" else _listed(value)


def _scales(value: Any) -> Any:
    checked = _one_or_three(value)
    if any(number <= 0 for number in (checked if isinstance(checked, tuple) else (checked,))):
        raise ValueError("more than 0")
    return checked


Three = tuple[float, float, float]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed), Field(min_length=1)]


def _name_in(known: Collection[str], *others: str) -> BeforeValidator:
    """Return the rule for a key whose values are the names in a registry."""

    def check(value: Any) -> Any:
        names = [*others, *known]
        if not isinstance(value, str) or value not in names:
            *first, last = map(repr, names)
            raise ValueError(f"one of {', '.join(first)} or {last}")
        return value

    return BeforeValidator(check)


def _enum(*names: str) -> Any:
    """Return the JSON schema of such a key."""
    return Field(json_schema_extra={"enum": list(names)})


Format = Annotated[str, _name_in(FORMATS), _enum(*FORMATS)]
BackendName = Annotated[str, _name_in(BACKENDS, AUTO), _enum(AUTO, *BACKENDS)]
TrackerName = Annotated[str, _name_in(registry.TRACKERS), _enum(*registry.TRACKERS)]
Exported = Annotated[str, _name_in(EXPORTS), _enum(*EXPORTS)]


def _groups(value: Any) -> Any:
    """Return a table such as {"vehicle": ["car", "truck"]}, or read "vehicle=car,truck;cycle=bicycle,motorcycle"."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(";") if part.strip()]
    if not pairs or not all(separator and name.strip() for name, separator, _ in pairs):
        raise ValueError("groups of classes, such as vehicle=car,truck,bus;cycle=bicycle,motorcycle")
    return {name.strip(): classes for name, _, classes in pairs}


Groups = Annotated[dict[Annotated[str, Field(min_length=1)], Names], BeforeValidator(_groups), Field(min_length=1)]


def _clock_time(value: Any) -> Any:
    """Return seconds; also reads texts such as "90", "1:30" or "1:02:03.5"."""
    value = not_bool(value)
    if not isinstance(value, str):
        return value
    parts = value.strip().split(":")
    if not _CLOCK_TIME.fullmatch(value.strip()):
        raise ValueError("seconds, or a time such as 1:30 or 1:02:03.5")
    return sum(float(part) * 60**place for place, part in enumerate(reversed(parts)))


def _length(value: Any) -> Any:
    """Return seconds; also reads texts such as "90", "30s", "15m", "1h30m" or "1d"."""
    if not isinstance(value, str):
        return not_bool(value)
    found = _LENGTH.fullmatch(value.strip().lower())
    if not found or not any(found.groups()):
        raise ValueError("seconds, or a length such as 30s, 15m, 1h or 1d")
    parts = (float(part or 0) for part in found.groups())
    return sum(part * unit for part, unit in zip(parts, (1, 86_400, 3600, 60, 1), strict=True))


def _zone(value: Any) -> Any:
    try:
        ZoneInfo(value if isinstance(value, str) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("an IANA name such as Europe/Berlin") from None
    return value


def _moment(value: Any) -> str:
    """Return ISO 8601, with or without a zone."""
    try:
        return datetime.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError("a time such as 2024-05-01T08:00:00") from None


def _starts(value: Any) -> Any:
    """Return a time, or a table of globs and times."""
    if isinstance(value, Mapping):
        return {str(pattern): _moment(moment) for pattern, moment in value.items()}
    return _moment(value)


def _strptime(value: str) -> str:
    try:
        datetime.strptime(datetime(2001, 2, 3, 4, 5, 6).strftime(value), value)
    except ValueError:
        raise ValueError("a strptime pattern such as %Y%m%d_%H%M%S") from None
    if "%" not in value:
        raise ValueError("a strptime pattern such as %Y%m%d_%H%M%S")
    return value


def _camera(value: Any) -> Any:
    if not isinstance(value, str) or not value:
        raise ValueError('"folder", or a regular expression that finds the camera in a path')
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f'"folder", or a regular expression ({error})') from None
    return value


def _not_empty(value: Any) -> Any:
    if value == "":  # it would be the folder that one is in
        raise ValueError("a path that is not empty")
    return value


def _several(value: Any) -> Any:
    """Return a list; a single value becomes a list of one."""
    return value if isinstance(value, list | tuple) else (value,)


def _wanted(value: Any) -> Any:
    """Read true as an empty table and false as None."""
    if value is not None and not isinstance(value, bool | Mapping | BaseModel):
        raise ValueError("true, or a table of keys")
    return ({} if value else None) if isinstance(value, bool) else value


def _scene(value: Any) -> Any:
    """Return a path, or a scene as a table; engine.analytics.scene checks its contents."""
    if not isinstance(value, str | Path | Mapping) or value == "":
        raise ValueError("a path, or a scene as a table")
    return value


Seconds = Annotated[float, BeforeValidator(not_bool), Field(gt=0, le=3600)]
Length = Annotated[float, BeforeValidator(_length), Field(ge=1, le=86_400, allow_inf_nan=False)]
Gap = Annotated[float, BeforeValidator(_length), Field(ge=0, le=3600, allow_inf_nan=False)]
SceneOrPath = Annotated[Path | dict[str, object], BeforeValidator(_scene)]
Time = Annotated[float, BeforeValidator(_clock_time), Field(ge=0, le=1e10, allow_inf_nan=False)]
Limit = Annotated[float, BeforeValidator(not_bool), Field(gt=0, allow_inf_nan=False)]
Roll = Annotated[float, BeforeValidator(_length), Field(ge=0, le=86_400, allow_inf_nan=False)]
Kind = Literal["track", "crossing", "enter", "leave", "stay"]


Drawn = Literal["lines", "zones", "counts", "clock"]


class ClipKeys(BaseModel):
    """Which clips to cut at the end of a run, and how. See docs/after.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: Annotated[tuple[Kind, ...], BeforeValidator(_listed), Field(min_length=1)] | None = None
    """Kinds of events, and `track` for whole tracks. None: crossings and stays if there is a scene, else tracks."""
    classes: Names | None = None
    """Names of classes. None: all."""
    places: Names | None = None
    """Names of lines and zones. None: all."""
    directions: Names | None = None
    """Labels of directions over lines. None: all."""
    longer_s: Roll | None = None
    """Minimum seconds that a stay or a track lasts; also as the text "30s" or "2m"."""
    shorter_s: Roll | None = None
    """Maximum seconds that it lasts."""
    pre_s: Roll = 5.0
    """Seconds before the event."""
    post_s: Roll = 5.0
    """Seconds after the event."""
    merge_gap_s: Roll = 2.0
    """Parts at most this many seconds apart become one clip."""
    max_length_s: Annotated[float, BeforeValidator(_length), Field(ge=1, le=86_400, allow_inf_nan=False)] = 300.0
    """Maximum seconds of a clip: parts are not merged beyond it, and a longer event is cut into several clips."""
    exact: bool = False
    """false: packets are copied from the preceding key frame; true: a clip starts at the exact frame, re-encoded up to
    the next key frame if necessary."""

    @model_validator(mode="after")
    def _some_length(self) -> Self:
        if self.longer_s is not None and self.shorter_s is not None and self.longer_s > self.shorter_s:
            raise ValueError(f"nothing lasts at least {self.longer_s:g} s and at most {self.shorter_s:g} s")
        return self


class EngineConfig(TrackerKeys):
    """All settings of a run. Immutable. The constructor raises ConfigError if a value breaks its rule.

    The first keys are the trackers' parameters, in engine/trackers/keys.py.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=False)

    skip_frames: Annotated[bool | int, BeforeValidator(_frames_to_skip)] = False
    """false: every frame is inferred; true: every second frame; N: N frames are skipped between two inferences, and
    `fill` says where objects are in them."""
    fill: Literal["predict", "both"] = "predict"
    """With `skip_frames`: boxes in the skipped frames. predict: where the tracker expects them from the frames before.
    both: interpolated between the inferences before and after, which is more accurate; up to 30 frames are held."""
    gate: Literal["off", "motion"] = "off"
    """motion: infer only what has changed since the last inference, and carry over the rest; for fixed cameras. off:
    infer every frame. See docs/gate.md."""
    full_every_s: Annotated[float, BeforeValidator(not_bool), Field(gt=0, le=60)] = 2.0
    """With `gate`: seconds after which a whole frame is inferred, whatever has changed; up to eight times as many while
    nothing changes at all."""
    gate_scale: Annotated[float, BeforeValidator(not_bool), Field(ge=1, le=4)] = 1.0
    """With `gate`: resolution at which changed parts are inferred, relative to a whole frame. Higher finds smaller
    objects there; the time grows with its square."""
    gate_target: Share = 0.98
    """With `gate`: if the audit finds that boxes agree less well than this with those of whole frames (F1 at IoU 0.5),
    the gate opens, up to inferring every frame. 0: it never opens."""
    scan: bool = False
    """true: of a file, only groups of pictures in which something moves are decoded, found by comparing its key frames
    and the sizes of its packets; for footage that is mostly empty. What was not examined is stated. See
    docs/gate.md."""
    visualize: bool = True
    """Write an annotated video."""
    output_folder: Annotated[Path, BeforeValidator(_not_empty)] = Path(defaults.OUTPUT_FOLDER)
    """Folder for the results."""
    overwrite: bool = False
    """true: results also replace files there that yolo-engine did not write; false: such files are an error.
    Results of earlier runs are replaced either way, and corrected tracks are kept beside."""
    max_detections_in_memory: Annotated[Count, Field(ge=1)] = 10_000
    """Rows of results held in memory over all videos of a run. The rest is written to disk."""
    save_intermediate_results: bool = True
    """true: results of an unfinished video are kept in `*.part` files in `.yolo-engine` and survive a killed run;
    false: they are kept in unnamed temporary files, and nothing of an unfinished video remains."""

    model: Annotated[str, Field(min_length=1)] = DEFAULT_MODEL
    """A name from `yolo-engine models list`, or the path of an ONNX file or a TensorRT plan."""
    layout: LayoutName | None = None
    """Layout of the model's output, if its file does not state it."""
    class_names: Names | None = None
    """Names of the model's classes in order, if its file does not state them."""
    input_size: Annotated[tuple[Count, Count], BeforeValidator(_two)] | None = None
    """Height and width of the model's input, if its file leaves them open."""
    input_scale: Annotated[float | Three, BeforeValidator(_scales)] | None = None
    """Factor for pixel values of 0 to 255, if the model's file does not state it: one number, or one per channel."""
    input_mean: Annotated[float | Three, BeforeValidator(_one_or_three)] | None = None
    """Value that is first subtracted from pixels of 0 to 255, if the model's file does not state it: one number, or one
    per channel, in the order of `channel_order`. None: the file's value, or nothing."""
    channel_order: Literal["rgb", "bgr"] | None = None
    """Channel order that the model was trained on, if its file does not state it."""

    conf: Share = defaults.CONF
    """Minimum score of a detection. Higher gives fewer false boxes but misses more objects."""
    nms_iou: Share = defaults.NMS_IOU
    """Overlap above which the lower-scoring of two boxes is removed. Higher keeps more of a crowd, and more
    duplicates."""
    classes: Names | None = None
    """Names of the classes to keep. None: all."""
    class_agnostic: bool = False
    """true: boxes of different classes suppress each other and tracks may change class."""
    max_detections: Annotated[Count, Field(ge=1, le=30_000)] = defaults.MAX_DETECTIONS
    """Maximum number of detections kept per frame."""

    tracker: TrackerName = registry.DEFAULT
    """Tracker that joins detections into tracks. Each has its own parameters; see docs/trackers.md."""
    class_groups: Groups | None = None
    """Groups of classes, by name, that count as one class when boxes are matched to tracks: a car that is mistaken for
    a truck in some frames keeps its id. Rows keep the class of their detection."""

    formats: Annotated[tuple[Format, ...], BeforeValidator(_listed)] = defaults.FORMATS
    """Data files to write."""
    store_conf: Share | None = None
    """Store detections with at least this score in `<name>.detections.bin`, from which `yolo-engine retrack` makes
    tracks again without the model. None: don't store any."""
    shape: Literal["auto", "square", "rect"] = defaults.SHAPE
    """square: the model's own input size; rect: the same size along the video's longer side, with the shorter side
    padded only to the stride; auto: rect if the model allows it."""
    backend: BackendName = AUTO
    """native: our own executor for CPUs; tensorrt: a plan from `yolo-engine build-trt`; onnxruntime-tensorrt: ONNX
    Runtime's TensorRT provider, which builds its engine on first use."""
    precision: Precision = "f32"
    """Precision of inference on a CPU. f32: the file as it is. bf16 and int8 are faster on processors that support them
    and change results slightly: see docs/models.md. int8 needs a file written by `yolo-engine quantize`."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = defaults.DEVICE
    """auto: the first that can be used of a TensorRT plan, ONNX Runtime's TensorRT or CUDA provider, and the CPU."""
    build_plan: bool = False
    """On a machine with an NVIDIA GPU and without a TensorRT plan for the model: build one beside the run, and change
    over to it as soon as it is there. Results from then on are those of the plan; the manifest says from which frame
    on."""
    batch: Annotated[Count, Field(ge=1, le=64)] | None = None
    """Frames per inference. None: 1 on a CPU, 8 on a GPU."""
    streams: Annotated[Count, Field(ge=1, le=64)] | None = None
    """Videos decoded in parallel. None: the number of cores, at least 2 and at most 4."""
    workers: Annotated[Count, Field(ge=1, le=64)] | None = None
    """Inferences in parallel, each on one thread. None: the number of cores on a CPU, 2 on a GPU."""
    window: Annotated[Count, Field(ge=1, le=1024)] | None = None
    """Maximum frames of one stream in flight between decoding and the sinks; this bounds memory use. None: enough to
    keep the workers busy."""

    resume: bool = True
    """true: checkpoints are kept, and a run resumes where a killed or interrupted one stopped; false: it starts over
    and keeps none."""
    start_s: Time = 0.0
    """Seconds from a video's first frame at which results start. Frame numbers and times stay those of the file."""
    end_s: Annotated[Time, Field(gt=0)] | None = None
    """Seconds from a video's first frame at which results end. None: at the end of the video."""
    duration_s: Annotated[Time, Field(gt=0)] | None = None
    """Seconds of video to process from start_s on, in place of end_s; ends the recording of a live source."""
    max_pixels: Annotated[Count, Field(ge=1)] = 134_217_728
    """Maximum pixels (width x height) of an image to decode; a video stops at a larger one."""
    max_frame_bytes: Annotated[Count, Field(ge=1)] = 54_525_952
    """Maximum bytes of an image to decode: 8K with 8 bits takes 50 MB, with 10 bits 100 MB. At that size one image is
    in flight between decoder and results and six are kept for reference; smaller images allow more. With twice the
    bytes, the next image can be decoded while one is being processed."""
    max_duration_s: Limit | None = None
    """Maximum seconds of video to read from a file (not from a live source): it then ends as partial, with the results
    up to there. None: no limit."""
    max_decode_s: Limit | None = None
    """Maximum seconds of decoding per file, against files made to keep a decoder busy. None: no limit."""

    scene: Annotated[tuple[SceneOrPath, ...], BeforeValidator(_several), Field(min_length=1)] | None = None
    """Scene files, or folders of them: lines and zones to count in the matching videos, and regions to ignore. See
    docs/answers.md."""
    tables: Annotated[tuple[Literal["csv", "parquet", "xlsx"], ...], BeforeValidator(_listed)] | None = None
    """Tables to write at the end. None: csv if there is a scene. parquet and xlsx need the extra `tables`."""
    heatmap: bool = False
    """Write heatmap.json beside the tables: how long, and by how many tracks, each cell of the frame was occupied."""
    crops: bool = False
    """Write <name>.crops.zip: for each track, the crop that shows its object best, as JPEG, with an index."""
    report: bool | None = None
    """Write report.html, a page with counts, maps and events with their video. None: for a job, but not for a run."""
    report_language: Literal["en", "es"] = "en"
    """Language of the report: English or Spanish."""
    bin_s: Length = defaults.BIN_S
    """Seconds per bin of counts, aligned to the clock, a day at most; also as a text such as 15m, 1h or 1d."""
    zone: Annotated[str, BeforeValidator(_zone)] = defaults.ZONE
    """IANA name of the cameras' time zone, such as Europe/Berlin."""
    start: Annotated[str | dict[str, str], BeforeValidator(_starts)] | None = None
    """Wall-clock time of a video's first frame, ISO 8601: one for all videos, or a table of globs and times. None: a
    time in the file's name, else the container's creation time."""
    clock_patterns: Annotated[
        tuple[Annotated[str, Field(min_length=2), AfterValidator(_strptime)], ...], BeforeValidator(_several)
    ] = ()
    """strptime patterns for the start of file names, tried before the built-in ones of common recorders."""
    camera: Annotated[str, BeforeValidator(_camera)] | None = None
    """Which videos belong to one camera and follow each other: "folder", or a regular expression that finds the
    camera's name in a video's path. None: each video stands alone."""
    max_gap_s: Gap = 1.0
    """Maximum gap in seconds between two files of a camera across which tracks continue."""
    max_overlap_s: Gap = 2.0
    """Maximum overlap in seconds of two files of a camera; repeated frames are dropped."""

    clips: Annotated[ClipKeys | None, BeforeValidator(_wanted)] = None
    """Cut clips of events into `clips` in the output folder: true, or a table of what to cut and how. None: don't. See
    docs/after.md."""

    export: Annotated[tuple[Exported, ...], BeforeValidator(_listed), Field(min_length=1)] | None = None
    """Export the tracks for other tools, into `export` in the output folder. See docs/after.md."""

    open_timeout_s: Seconds = 15.0
    """Seconds that a URL may take to open."""
    read_timeout_s: Seconds = 15.0
    """Seconds that a URL may send nothing."""
    reconnect_attempts: Annotated[Count, Field(ge=0)] = 5
    """Attempts in a row to reopen a live source that broke off."""
    segment: Annotated[float, BeforeValidator(_length), Field(ge=1, le=86_400)] = defaults.SEGMENT_S
    """Length of a segment of a live recording: seconds, or a text such as 90s, 10m or 1h."""

    split_s: Annotated[float, BeforeValidator(_length), Field(ge=1, le=3600)] | None = None
    """Of a job: workers that have no video of their own look for objects in pieces, of this length, of videos that are
    longer, and draw the annotated video in pieces; results stay the same. Seconds, or a text such as 90s, 10m or 1h.
    None: videos stay whole. See docs/jobs.md."""

    label: Annotated[tuple[Literal["class", "id", "score"], ...], BeforeValidator(_parts)] = ("class", "id")
    """Contents of the label of each track in an annotated video, in this order; "none" for no labels. If the label
    would cover another one, only the id is drawn."""
    colour_by: Literal["id", "class"] = "id"
    """Whether each track or each class gets its own colour in an annotated video."""
    draw: Annotated[tuple[Drawn, ...], BeforeValidator(_parts)] | None = None
    """Parts of the scene to draw on an annotated video: its lines, its zones, their counts up to each frame, and the
    clock; "none" for nothing. None: all four if the video has a scene. See docs/results.md."""
    line_width: Annotated[Count, Field(ge=1, le=64)] | None = None
    """Width of boxes, trails, lines and zones in an annotated video, in pixels. None: by frame size, 3 at 1080p."""
    label_size: Annotated[Count, Field(ge=7, le=64)] | None = None
    """Height of labels, counts and the clock in an annotated video, in pixels per em. None: by frame size, 19 at
    1080p."""
    trail_s: Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=60, allow_inf_nan=False)] = 0.0
    """Seconds of its path to draw behind each track in an annotated video, at the foot of its boxes. 0: none."""
    video_crf: Annotated[Count, Field(ge=0, le=51)] = 25
    """Quality of the annotated video: lower is better and larger."""
    video_preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"] = "ultrafast"
    """Slower presets give smaller files: `superfast` saves a sixth to a half of the size for twice the time."""

    blur: Names | None = None
    """Classes to make unrecognisable in the annotated video, by detections and tracks; no guarantee. See docs/after.md.
    None: none."""
    only_blur: bool = False
    """true: no boxes are drawn in the annotated video, only `blur` is applied."""
    blur_style: Literal["pixelate", "fill"] = "pixelate"
    """pixelate: a few coarse cells in place of each box; fill: plain grey, which reveals less."""
    blur_pad: Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=2)] = 0.15
    """Margin on each side of a blurred box, as a fraction of its size."""
    blur_hold_s: Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=5)] = 0.5
    """Seconds for which a box is blurred before its track was first seen and after it was last seen. Frames are held in
    memory for as long, up to 256 MiB."""
    blur_conf: Share = 0.1
    """Minimum score of a detection to blur, also below `conf`: lower hides more, including more false detections."""

    @field_validator("input_size")
    @classmethod
    def _multiple_of_32(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value and any(side < 32 or side > 4096 or side % 32 for side in value):
            raise ValueError("two multiples of 32 in [32, 4096]")
        return value

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _of_the_tracker(cls, values: dict[str, object]) -> dict[str, object]:
        return registry.completed(values)

    @model_validator(mode="after")
    def _groups_differ(self) -> Self:
        named = [name for group in (self.class_groups or {}).values() for name in group]
        if twice := [name for name in named if named.count(name) > 1]:
            raise ValueError(f"class_groups must name a class once. Got {twice[0]!r} twice")
        return self

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.end_s is not None and self.duration_s is not None:
            raise ValueError("end_s and duration_s exclude each other: give one of them")
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s must be more than start_s = {self.start_s:g}")
        if self.writes_tables and "tracks" not in self.formats:
            raise ValueError("scene, tables and heatmap are made from tracks: add tracks to formats")
        if self.clips is not None and "tracks" not in self.formats:
            raise ValueError("clips are cut by tracks: add tracks to formats")
        if self.export is not None and "tracks" not in self.formats:
            raise ValueError("exports are made from tracks: add tracks to formats")
        if self.fill == "both" and self.frames_between_inferences > _MAX_WAITING:
            raise ValueError(
                f"skip_frames must be at most {_MAX_WAITING} with fill = both, which holds so many frames. "
                f"Got {self.frames_between_inferences}"
            )
        if self.gate != "off" and self.skip_frames:
            raise ValueError("gate and skip_frames exclude each other: the gate skips frames itself")
        if self.scan and self.skip_frames:
            raise ValueError("scan and skip_frames exclude each other: with gate = motion, scan skips frames as well")
        return self

    @model_validator(mode="after")
    def _blur_has_what_it_needs(self) -> Self:
        if self.only_blur and not self.blur:
            raise ValueError("only_blur needs blur: the classes to hide")
        if self.blur and not self.visualize:
            raise ValueError("blur applies to the annotated video, and visualize is false")
        if self.blur and self.crops:
            raise ValueError("crops are cut from the source and show what blur hides: choose one of them")
        left_out = [name for name in self.blur or () if self.classes is not None and name not in self.classes]
        if left_out:
            raise ValueError(f"blur names {left_out[0]!r}, which classes leaves out: it would not be detected")
        return self

    def drawn(self, *, has_scene: bool) -> tuple[Drawn, ...]:
        """Return the parts of the scene to draw on an annotated video. Without a scene, only the clock can be."""
        if self.draw is None:
            return get_args(Drawn) if has_scene else ()
        return tuple(part for part in self.draw if has_scene or part == "clock")

    @property
    def writes_tables(self) -> bool:
        """Whether tables are written at the end."""
        return bool(self.scene or self.tables or self.heatmap)

    @property
    def goes_on(self) -> bool:
        """Whether the tracks are processed further once the videos are done."""
        return bool(self.writes_tables or self.clips is not None or self.export)

    @property
    def part_ends_s(self) -> float | None:
        """Where the results of a video end, in seconds from its first frame; None: at the end of the video."""
        return self.end_s if self.duration_s is None else self.start_s + self.duration_s

    @property
    def frames_between_inferences(self) -> int:
        """`skip_frames` as a number: true is 1, false is 0."""
        return int(self.skip_frames)

    @property
    def lowest_conf(self) -> float:
        """The lowest score of a detection that anything uses: results, tracker, storage, blurring or the gate."""
        return min(self.wanted_conf, _FAINT * self.tracker_conf if self.gate == "motion" else 1.0)

    @property
    def wanted_conf(self) -> float:
        """The lowest score of a detection that is passed on: to results, tracker, storage or blurring."""
        return min(self.conf, self.stored_conf, self.blur_conf if self.blur else 1.0)

    @property
    def stored_conf(self) -> float:
        """The lowest score of a stored detection: everything that the tracker gets is stored."""
        return self.tracker_conf if self.store_conf is None else min(self.store_conf, self.tracker_conf)

    @property
    def tracker_conf(self) -> float:
        """The lowest score of a detection that the tracker gets."""
        kind = registry.TRACKERS[self.tracker]
        low = kind.wants_low(registry.parameters_of(self.tracker, self.model_dump(include=set(registry.KEYS))))
        return min(self.conf, registry.LOW_SCORE) if low else self.conf

    def changed(self, key: str) -> bool:
        """Return whether a key has another value than its default."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)

    def updated(self, **values: Any) -> Self:
        """Return a validated copy with other values. Changing the tracker drops the previous one's parameters."""
        own = self.model_dump()
        if values.get("tracker", self.tracker) != self.tracker:
            own = registry.without_parameters(own)
        return type(self)(**{**own, **values})


# Keys on which a video's results depend: a checkpoint made with other values can't be used. The others set where
# results go, how fast they come and how long to wait; a fingerprint names model, backend and precision separately.
RESULT_KEYS = frozenset(registry.KEYS) | frozenset(
    "tracker skip_frames fill gate full_every_s gate_scale gate_target scan visualize crops layout class_names"
    " input_size input_scale channel_order conf class_groups store_conf input_mean nms_iou classes class_agnostic"
    " max_detections formats shape start_s end_s duration_s max_pixels max_frame_bytes max_duration_s max_decode_s"
    " video_crf video_preset blur only_blur blur_style blur_pad blur_hold_s blur_conf zone start clock_patterns"
    " label colour_by draw line_width label_size trail_s build_plan".split()
)
OTHER_KEYS = frozenset(
    "output_folder overwrite max_detections_in_memory save_intermediate_results model backend precision device batch"
    " streams workers window resume open_timeout_s read_timeout_s reconnect_attempts segment scene tables heatmap"
    " bin_s camera max_gap_s max_overlap_s clips export report report_language split_s".split()
)


def clip_keys(values: Mapping[str, Any]) -> ClipKeys:
    """Return validated ClipKeys. Raises ConfigError."""
    try:
        return ClipKeys(**values)
    except ValidationError as error:
        raise ConfigError(_sentence(error, ClipKeys)) from None


def load_config(path: Path) -> dict[str, object]:
    """Return the keys of a JSON or TOML file. Raises a ConfigError that names the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = describe_os_error(error) if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"Configuration {path} can't be read: {reason}.") from error
    try:
        values = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON"
        raise ConfigError(f"Configuration {path} is not {kind}: {error}.") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"Configuration {path} must hold keys and values. Got {json.dumps(values)[:40]}.")
    return dict(values)


def note_on_default(config: EngineConfig, choose: str = "--model yolox-s") -> str | None:
    """Return a note for users who named no model: which one runs, and how to `choose` a better one. None if a model was
    named."""
    if "model" in config.model_fields_set or config.backend == "fake":
        return None
    count = len(get_manifest(config.model).classes)
    return (
        f"Model: {config.model} (bundled, {count} classes: people and vehicles). For better results and 80 classes: "
        f"`yolo-engine models pull yolox-s`, then {choose}."
    )


def _sentence(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return the first error in one fixed form: key, rule, actual value."""
    first = error.errors()[0]
    fields = (model or EngineConfig).model_fields
    if not first["loc"]:  # a rule between keys, which says all itself
        return f"{first['ctx']['error']}." if first["type"] == "value_error" else f"{first['msg']}."
    key = str(first["loc"][0]) if first["loc"] else "configuration"
    if key == "clips" and len(first["loc"]) > 1:  # a table of its own
        key, fields = str(first["loc"][1]), ClipKeys.model_fields
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, fields, n=1)
        hint = f" Did you mean {close[0]}?" if close else f" The keys are: {', '.join(fields)}."
        return f"Unknown key {key!r:.100} in the configuration.{hint}"
    context = first.get("ctx", {})
    rules: dict[str, Callable[[], str]] = {
        "greater_than_equal": lambda: f"at least {context['ge']}",
        "less_than_equal": lambda: f"at most {context['le']}",
        "greater_than": lambda: f"more than {context['gt']:g}",
        "literal_error": lambda: f"one of {context['expected']}",
        "too_short": lambda: "a list of at least one name",
        "string_too_short": lambda: "a text that is not empty",
        "finite_number": lambda: "a finite number",
        "string_type": lambda: "a text",
        "path_type": lambda: "a path",
        "tuple_type": lambda: "a list, or a text with commas",
        **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), lambda: "a whole number"),
        **dict.fromkeys(("float_type", "float_parsing"), lambda: "a number"),
        **dict.fromkeys(("bool_type", "bool_parsing"), lambda: "true or false"),
        "string_pattern_mismatch": lambda: "auto, cpu, cuda or cuda:N",
        "value_error": lambda: str(context["error"]),
    }
    rule = rules.get(first["type"], lambda: first["msg"][:1].lower() + first["msg"][1:])()
    rule = rule.removeprefix("input should be ")
    return f"{key:.100} must be {rule}. Got {first['input']!r:.300}."
