"""The results of videos, as in a summary, a manifest and the verdict of an attempt, with their JSON.

tests/engine/golden/*.json pin the keys and their order; docs/results.md and docs/schema/summary.json explain them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NotRequired, Self, TypedDict, cast

if TYPE_CHECKING:
    from engine.profiling.bottleneck import VerdictJson

SCHEMA = 1


class VideoStatus(StrEnum):
    """How a video ended: completely, with the readable part, or not at all."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


class FileJson(TypedDict):
    """A file by size and hash: an input, or an output."""

    size_bytes: int
    sha256: str


class InputJson(TypedDict):
    """An input: a file by size and hash, an object in storage by size and etag."""

    size_bytes: int
    sha256: NotRequired[str]
    etag: NotRequired[str]


class MediaJson(TypedDict):
    """The data needed to track or draw a video again (engine/pipeline/facts.py)."""

    size_wh: list[int]
    time_base: str
    step_s: str | None
    first_s: float
    examined_s: list[float]
    not_examined_s: NotRequired[list[list[float]]]
    creation_time: NotRequired[str]


class SequenceJson(TypedDict):
    """A file's place among those of its camera: `offset_s` converts its times to the camera's timeline, and it is
    `joined` if it continues the previous file. `continued` is how many of its tracks the files before had."""

    camera: str
    offset_s: float
    joined: bool
    continued: NotRequired[int]


class SegmentJson(TypedDict, total=False):
    """A segment of a live source, as in the list of segments (engine/pipeline/recording.py). A `salvaged` one was
    incomplete: it has only frames and outputs. Older versions did not write `media`."""

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
    media: MediaJson | None
    salvaged: bool


class ShareJson(TypedDict):
    """A share measured in windows of a video, with its 95 % interval for the whole video. From one window, or none, the
    interval is unknown: 0 to 1."""

    value: float
    low: float
    high: float


class GateAuditJson(TypedDict):
    """The cost of the gate, as measured by the run itself in `windows` with `frames` frames that were also inferred
    whole.

    `boxes`   F1 of boxes at IoU 0.5 against those of whole frames; `compared` is the number of both
    `ids`     the share of matching tracks with the same id
    `counts`  agreement of the numbers of distinct ids in a window
    `level`   how far the gate is open at the end, 0 to 4; `opened_at` has the frames after which it opened, `closed_at`
              those after which it closed by one step
    """

    windows: int
    frames: int
    compared: int
    boxes: ShareJson
    ids: ShareJson
    counts: ShareJson
    level: int
    opened_at: list[int]
    closed_at: list[int]


class GateJson(TypedDict):
    """How many frames of a gated video were treated in which way (engine.records.Look): `whole` and `parts` were
    inferred, `same` and `between` were not. `inferred_share` is the inferred fraction of all pixels of all frames at
    the model's own scale; `audit` is None if the video is too short for a window."""

    whole: int
    parts: int
    same: int
    between: int
    inferred_share: float
    audit: GateAuditJson | None


class ClockJson(TypedDict):
    """The wall clock of a video: its first frame's time (None if unknown), its origin, and the zone."""

    start: str | None
    origin: str
    zone: str


class InferredByJson(TypedDict):
    """Which provider inferred a video's frames from this one on."""

    from_frame: int
    provider: str


class EntryJson(TypedDict):
    """How a video ended, as JSON values: a VideoResult without its path. The last keys occur only in a manifest and in
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
    inferred_by: NotRequired[list[InferredByJson]]
    clock: NotRequired[Mapping[str, object]]
    input: NotRequired[InputJson | None]
    attempts: NotRequired[int]
    unfinished: NotRequired[bool]
    lost: NotRequired[bool]
    known_ahead: NotRequired[int]


class VideoJson(EntryJson):
    """A VideoResult as JSON values."""

    path: str


class TotalsJson(TypedDict):
    """Totals as JSON values. The last keys occur only in jobs."""

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
    """The backend, its device, and why it was chosen. `gpu_s`: seconds that the GPU spent on each part."""

    name: str
    provider: str
    device: NotRequired[str]
    why: NotRequired[str | None]
    precision: NotRequired[str]
    gpu_s: NotRequired[dict[str, float]]


class LineJson(TypedDict):
    """How often a line was crossed in one direction; None if nothing was examined."""

    line: str
    direction: str
    count: int | None
    by_class: dict[str, int]


class ZoneJson(TypedDict):
    """The stays in a zone; None if nothing was examined."""

    zone: str
    stays: int | None
    median_dwell_s: float | None


class ReviewedJson(TypedDict):
    """The effect of a review's verdicts; `unknown` ones name events that don't exist."""

    confirmed: int
    rejected: int
    unknown: int


class CameraJson(TypedDict):
    """The counts of a camera. `objects` is the minimum and maximum number of objects behind the ids; `ids` and
    `objects` are None if nothing was examined. `map_residual_m` is the fit error of the scene's map."""

    camera: str
    ids: int | None
    objects: list[int] | None
    lines: list[LineJson]
    zones: list[ZoneJson]
    map_residual_m: NotRequired[float]
    reviewed: NotRequired[ReviewedJson]


class AnswersJson(TypedDict):
    """A summary's counts, crossings and stays, and the table files by name. `error`: why there are none."""

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
    """A summary's clips. `failed` has, by name, why a video gave none; `error` says why there are none at all."""

    folder: NotRequired[str]
    clips: list[ClipJson]
    failed: dict[str, str]
    error: NotRequired[str]


class ExportJson(TypedDict):
    """An export for another tool. `key_frames` counts the boxes from which the tool interpolates the others; None if
    all boxes are written."""

    format: str
    folder: str
    videos: int
    tracks: int
    boxes: int
    key_frames: int | None
    images: int


class ExportsJson(TypedDict):
    """A summary's exports. `error`: why some are missing."""

    exports: list[ExportJson]
    error: NotRequired[str]


class FollowUpJson(TypedDict, total=False):
    """What was made from the tracks once the videos were done, if requested."""

    answers: AnswersJson
    clips: ClipsJson
    exports: ExportsJson
    report: str


class AlarmsJson(TypedDict):
    """The outcome of the events for one receiver. `error` is the last failure."""

    target: str
    sent: int
    given_up: int
    error: NotRequired[str]


class LeftOutJson(TypedDict):
    """A file or folder that was named or found but not processed, and why (engine/media/listing.py)."""

    path: str
    why: str


class SummaryJson(TypedDict):
    """The summary of a run, as described by docs/schema/summary.json."""

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
    """A summary with the data needed to trust it or to repeat the run. `classes` are the model's; older versions did
    not record them. `files` are the outputs of the run as a whole, by path below the output folder. On writing it is
    sealed with `manifest_sha256` (engine/output_folder/hashes.py)."""

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
    """One video of a summary. Counts cover the whole video, times only the run that ended it.

    `files` has the size and hash of each output by kind, `stem` is their common path below the output folder,
    `resumed_from` the frame at which that run resumed. `sequence` is its place among the files of its camera. `others`
    are keys of another version, which are kept.
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
    inferred_by: list[InferredByJson] = field(default_factory=list)
    others: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> VideoJson:
        """Return it as JSON values."""
        always = {name: getattr(self, name) for name in _ALWAYS}
        told = {name: value for name in _WHERE_TOLD if (value := getattr(self, name))}
        return cast("VideoJson", {**always, "status": self.status.value, **told, **self.others})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> VideoResult:
        """Parse the output of `to_json`, of this version or another. Raises ValueError or KeyError for anything
        else."""
        known = {name: values[name] for name in (*_ALWAYS, *_WHERE_TOLD) if name in values}
        others = {key: value for key, value in values.items() if key not in known}
        return cls(**{**known, "status": VideoStatus(values["status"])}, others=others)

    def done_before(self, path: str, outputs: dict[str, str]) -> VideoResult:
        """Return the result of a later run that finds the video done, at `path`."""
        return replace(self, path=path, outputs=outputs, notes=[*self.notes, "done in an earlier run"])


_NAMES = [each.name for each in fields(VideoResult) if each.name != "others"]
_WHERE_TOLD = _NAMES[_NAMES.index("files") :]
_ALWAYS = _NAMES[: -len(_WHERE_TOLD)]


def new_tracks(tracks: int, sequence: Mapping[str, Any] | None) -> int:
    """Return how many of a video's tracks no previous file of its camera had. `sequence` is as in SequenceJson."""
    return tracks - (sequence.get("continued", 0) if sequence else 0)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The totals over the videos of a run. `fps` counts only the frames that this run processed; a track that continues
    from one file of a camera to the next counts once."""

    videos: int
    failed: int
    partial: int
    frames: int
    detections: int
    tracks: int
    elapsed_s: float
    fps: float

    @classmethod
    def over(cls, videos: Sequence[VideoResult], done_now: int, elapsed_s: float) -> Self:
        """Add up the results of videos; `done_now` is how many frames this run has processed in `elapsed_s`."""
        return cls(
            videos=len(videos),
            failed=sum(video.status is VideoStatus.FAILED for video in videos),
            partial=sum(video.status is VideoStatus.PARTIAL for video in videos),
            frames=sum(video.frames for video in videos),
            detections=sum(video.detections for video in videos),
            tracks=sum(new_tracks(video.tracks, video.sequence) for video in videos),
            elapsed_s=round(elapsed_s, 3),
            fps=round(done_now / elapsed_s, 2) if elapsed_s > 0 else 0.0,
        )

    def to_json(self) -> TotalsJson:
        return cast("TotalsJson", {each.name: getattr(self, each.name) for each in fields(self)})


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The summary of a run. `model` is its name and hash, `backend` the backend, its device and why it was chosen."""

    videos: tuple[VideoResult, ...]
    totals: Totals
    model: dict[str, str]
    backend: BackendJson

    @property
    def success(self) -> bool:
        """Whether all videos are complete."""
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
        """Parse the output of `to_json`. Raises ValueError, TypeError or KeyError for anything else."""
        return cls(
            videos=tuple(VideoResult.from_json(video) for video in values["videos"]),
            totals=Totals(**values["totals"]),
            model=dict(values["model"]),
            backend=values["backend"],
        )
