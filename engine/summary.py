"""What became of videos, as it stands in a summary, a manifest and the verdict of an attempt. JSON in and out.

The keys and their order are pinned by tests/engine/golden/*.json, and their meaning is in the README, "Results".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

if TYPE_CHECKING:
    from engine.profiling.bottleneck import VerdictJson

SCHEMA = 1


class VideoStatus(StrEnum):
    """How a video ended: whole, with all that could be read, or not at all."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


class FileJson(TypedDict):
    """A file by size and hash: an input, or an output."""

    size_bytes: int
    sha256: str


class MediaJson(TypedDict):
    """What must be known of a video to track or draw it again (engine/pipeline/facts.py)."""

    size_wh: list[int]
    time_base: str
    step_s: str | None
    first_s: float
    examined_s: list[float]
    creation_time: NotRequired[str]


class SequenceJson(TypedDict):
    """Where a file lies among those of its camera: `offset_s` leads from its times to the camera's timeline, and it is
    `joined` where it continues the file before."""

    camera: str
    offset_s: float
    joined: bool


class SegmentJson(TypedDict, total=False):
    """A segment of a live source, as it stands in the list of segments (engine/pipeline/recording.py). One that was
    `salvaged` was not complete: it has frames and outputs only."""

    segment: str
    session: str
    started_at: str
    at_s: float
    frames: int
    detections: int
    tracks: int
    duration_s: float
    outputs: dict[str, str]
    files: dict[str, FileJson]
    salvaged: bool


class ShareJson(TypedDict):
    """A share that was seen in windows of a video, and between what it lies in the whole of it, with 95 %. Of one
    window, or of nothing, that is not known: between 0 and 1."""

    value: float
    low: float
    high: float


class GateAuditJson(TypedDict):
    """What the gate cost, as the run itself has seen it in `windows` of so many `frames` that were inferred whole, too.

    `boxes`   F1 of boxes at IoU 0.5, beside those of whole frames; `compared` is how many of either there were
    `ids`     of the tracks that agree, those with the same id
    `counts`  agreement of the numbers of different ids in a window
    `level`   how far the gate is open in the end, 0 to 4; `opened_at` the frames behind which it opened
    """

    windows: int
    frames: int
    compared: int
    boxes: ShareJson
    ids: ShareJson
    counts: ShareJson
    level: int
    opened_at: list[int]


class GateJson(TypedDict):
    """How the frames of a gated video were looked at, by their number (engine.records.Look): `whole` and in `parts`
    were inferred, the `same` and those `between` were not. `inferred_share` is what was inferred, as a share of all
    pixels of all frames at the model's own scale; `audit` is None where the video is too short for a window."""

    whole: int
    parts: int
    same: int
    between: int
    inferred_share: float
    audit: GateAuditJson | None


class ClockJson(TypedDict):
    """The wall clock of a video: its first frame's time, None where nothing tells it, how that is known, and the
    zone."""

    start: str | None
    origin: str
    zone: str


class EntryJson(TypedDict):
    """How a video ended, as JSON values: a VideoResult without its path. The last keys are those of a manifest, and of
    `Engine.work`."""

    status: str
    error: str | None
    frames: int
    inferred_frames: int
    detections: int
    tracks: int
    tracks_by_class: dict[str, int]
    duration_s: float
    elapsed_s: float
    fps: float
    outputs: dict[str, str]
    files: NotRequired[dict[str, FileJson]]
    stem: NotRequired[str]
    resumed_from: NotRequired[int]
    video_offset_s: NotRequired[float]
    objects: NotRequired[list[int]]
    media: NotRequired[MediaJson]
    sequence: NotRequired[SequenceJson]
    notes: NotRequired[list[str]]
    boxes_without_area: NotRequired[int]
    segments: NotRequired[list[SegmentJson]]
    dropped_frames: NotRequired[int]
    gate: NotRequired[GateJson]
    clock: NotRequired[Mapping[str, object]]
    input: NotRequired[FileJson | None]
    attempts: NotRequired[int]
    unfinished: NotRequired[bool]
    lost: NotRequired[bool]
    known_ahead: NotRequired[int]


class VideoJson(EntryJson):
    """A VideoResult as JSON values."""

    path: str


class TotalsJson(TypedDict):
    """Totals as JSON values. The last keys are those of a job."""

    videos: int
    failed: int
    partial: int
    frames: int
    detections: int
    tracks: int
    elapsed_s: float
    fps: float
    cancelled: NotRequired[int]
    not_begun: NotRequired[int]
    cpu_s: NotRequired[float]
    cpu_s_per_hour: NotRequired[float]


class BackendJson(TypedDict):
    """What computed, where, and why that was taken. `gpu_s`: how long the GPU had to do with each part."""

    name: str
    provider: str
    device: NotRequired[str]
    why: NotRequired[str | None]
    precision: NotRequired[str]
    gpu_s: NotRequired[dict[str, float]]


class LineJson(TypedDict):
    """How often a line was crossed in one direction; None where nothing was examined."""

    line: str
    direction: str
    count: int | None
    by_class: dict[str, int]


class ZoneJson(TypedDict):
    """The stays in a zone; None where nothing was examined."""

    zone: str
    stays: int | None
    median_dwell_s: float | None


class ReviewedJson(TypedDict):
    """What came of the verdicts of a review; `unknown` name what is not there."""

    confirmed: int
    rejected: int
    unknown: int


class CameraJson(TypedDict):
    """What was counted at a camera. `objects` is how many the ids stand for, at least and at most; `ids` and
    `objects` are None where nothing was examined. `map_residual_m`: how well the scene's map fits."""

    camera: str
    ids: int | None
    objects: list[int] | None
    lines: list[LineJson]
    zones: list[ZoneJson]
    map_residual_m: NotRequired[float]
    reviewed: NotRequired[ReviewedJson]


class AnswersJson(TypedDict):
    """What a summary says of counts, crossings and stays, and the files of the tables by name. `error`: why there are
    none."""

    cameras: list[CameraJson]
    tables: dict[str, str]
    error: NotRequired[str]


class ClipJson(TypedDict):
    """A clip: its path, how it was made, and what of its video it shows."""

    clip: str
    mode: str
    video: str
    from_s: float
    to_s: float
    first_frame: int
    last_frame: int
    events: int
    note: str


class ClipsJson(TypedDict):
    """What a summary says of clips. `failed` says by name why a video gave none, `error` why there are none at all."""

    folder: NotRequired[str]
    clips: list[ClipJson]
    failed: dict[str, str]
    error: NotRequired[str]


class ExportJson(TypedDict):
    """What was written for another tool. `key_frames` are the boxes from which the tool interpolates the others; None
    where all are written."""

    format: str
    folder: str
    videos: int
    tracks: int
    boxes: int
    key_frames: int | None
    images: int


class ExportsJson(TypedDict):
    """What a summary says of exports. `error`: why they are not all there."""

    exports: list[ExportJson]
    error: NotRequired[str]


class FollowUpJson(TypedDict, total=False):
    """What was made of the tracks once the videos were done, each where it was asked for."""

    answers: AnswersJson
    clips: ClipsJson
    exports: ExportsJson
    report: str


class AlarmsJson(TypedDict):
    """What became of the events for one receiver. `error` is the last thing that went wrong."""

    target: str
    sent: int
    given_up: int
    error: NotRequired[str]


class LeftOutJson(TypedDict):
    """A file or folder that was named, or found, and is not done, and why (engine/media/listing.py)."""

    path: str
    why: str


class SummaryJson(TypedDict):
    """What a run did, as docs/schema/summary.json has it."""

    schema: int
    success: bool
    videos: list[VideoJson]
    totals: TotalsJson
    model: dict[str, str]
    backend: BackendJson
    left_out: NotRequired[list[LeftOutJson]]
    verdict: NotRequired[VerdictJson | None]
    answers: NotRequired[AnswersJson]
    report: NotRequired[str]
    clips: NotRequired[ClipsJson]
    exports: NotRequired[ExportsJson]
    alarms: NotRequired[list[AlarmsJson]]
    error: NotRequired[str]


class ManifestJson(SummaryJson):
    """A summary with what is needed to trust it or to repeat the run. `classes` are those that the model knows; older
    versions did not note them. `files` are the outputs of the run as a whole, by their path below the output folder.
    Where it is written it is sealed with `manifest_sha256` (engine/output_folder/hashes.py)."""

    started_at: str
    classes: NotRequired[list[str]]
    config: dict[str, object]
    config_sha256: str
    versions: dict[str, str]
    files: dict[str, FileJson]


class JobManifestJson(ManifestJson, total=False):
    """The manifest of a job."""

    job: str
    workers: list[str]


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """One video of a summary. Counts are the whole video's, times those of the run that ended it.

    `files` has the size and hash of each output by kind, `stem` is their place below the output folder, `resumed_from`
    the frame at which that run went on.
    `sequence` is where it lies among the files of its camera. `others` are keys of another version, which are kept.
    """

    path: str
    status: VideoStatus
    error: str | None = None
    frames: int = 0
    inferred_frames: int = 0
    detections: int = 0
    tracks: int = 0
    tracks_by_class: dict[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    fps: float = 0.0
    outputs: dict[str, str] = field(default_factory=dict)
    # From here on, keys that are left out where there is nothing to tell.
    files: dict[str, FileJson] = field(default_factory=dict)
    stem: str = ""
    resumed_from: int = 0
    video_offset_s: float = 0.0
    objects: list[int] | None = None
    media: MediaJson | None = None
    sequence: SequenceJson | None = None
    notes: list[str] = field(default_factory=list)
    boxes_without_area: int = 0
    segments: list[SegmentJson] = field(default_factory=list)
    dropped_frames: int = 0
    gate: GateJson | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> VideoJson:
        """Return it as JSON values."""
        always = {name: getattr(self, name) for name in _ALWAYS}
        told = {name: value for name in _WHERE_TOLD if (value := getattr(self, name))}
        return cast("VideoJson", {**always, "status": self.status.value, **told, **self.others})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> VideoResult:
        """Read what `to_json` gives, of this version or another. Raises ValueError or KeyError for anything else."""
        known = {name: values[name] for name in (*_ALWAYS, *_WHERE_TOLD) if name in values}
        others = {key: value for key, value in values.items() if key not in known}
        return cls(**{**known, "status": VideoStatus(values["status"])}, others=others)

    def done_before(self, path: str, outputs: dict[str, str]) -> VideoResult:
        """Return the result of a later run that finds the video done, at `path`."""
        return replace(self, path=path, outputs=outputs, notes=[*self.notes, "done in an earlier run"])


_NAMES = [each.name for each in fields(VideoResult) if each.name != "others"]
_WHERE_TOLD = _NAMES[_NAMES.index("files") :]
_ALWAYS = _NAMES[: -len(_WHERE_TOLD)]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The videos of a run, added up. `fps` counts the frames that this run did."""

    videos: int
    failed: int
    partial: int
    frames: int
    detections: int
    tracks: int
    elapsed_s: float
    fps: float

    def to_json(self) -> TotalsJson:
        return cast("TotalsJson", {each.name: getattr(self, each.name) for each in fields(self)})


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run did. `model` is its name and hash, `backend` what computed, where, and why that was taken."""

    videos: tuple[VideoResult, ...]
    totals: Totals
    model: dict[str, str]
    backend: BackendJson

    @property
    def success(self) -> bool:
        """Whether all videos are whole."""
        return all(video.status is VideoStatus.OK for video in self.videos)

    def to_json(self) -> SummaryJson:
        """Return it as JSON values."""
        return {
            "schema": SCHEMA,
            "success": self.success,
            "videos": [video.to_json() for video in self.videos],
            "totals": self.totals.to_json(),
            "model": self.model,
            "backend": self.backend,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunSummary:
        """Read what `to_json` gives. Raises ValueError, TypeError or KeyError for anything else."""
        return cls(
            videos=tuple(VideoResult.from_json(video) for video in values["videos"]),
            totals=Totals(**values["totals"]),
            model=dict(values["model"]),
            backend=values["backend"],
        )
