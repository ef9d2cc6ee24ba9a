"""The content of a report as frozen records, one camera at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from engine.analytics import Answers, Bin, Count, Objects, Scene
from engine.analytics.paths import TrackPath
from engine.analytics.reviewed import Reviewed
from engine.report.crops import Crop
from engine.report.stills import Still


@dataclass(frozen=True)
class VideoFacts:
    """One video from the manifest. `name` is its path below the input folder; `annotated` that of its annotated video
    below the output folder, if any, which begins at `offset_s` of the container's time. `duration_s` is its duration,
    `examined_s` the examined part of it, 0 if it failed. `clock` is the source of its wall-clock time: given, name,
    container, none."""

    name: str
    camera: str
    status: str
    error: str | None
    frames: int
    tracks: int
    duration_s: float
    examined_s: float
    annotated: str | None
    offset_s: float
    clock: str
    sha256: str
    notes: tuple[str, ...]
    resumed_from: int
    attempts: int


@dataclass(frozen=True)
class Part:
    """The requested part of each video, in seconds from its beginning; None: its beginning or end."""

    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class LeftOut:
    """A file that was left out, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class Gap:
    """An interval of a camera's timeline, in seconds, of which nothing was examined."""

    camera: str
    start_s: float
    end_s: float
    starts: datetime | None
    ends: datetime | None


@dataclass(frozen=True)
class CameraReport:
    """Everything about one camera. `bins` are those of the charts, `counts` are as in the tables; `paths` has the path
    of each track by id, `crops` the location of its best crop. `offsets_s` has, by video name, the offset from
    container times to the camera's timeline."""

    name: str
    zone: str
    size_wh: tuple[int, int] | None
    answers: Answers
    objects: Objects
    reviewed: Reviewed | None
    bins: tuple[Bin, ...]
    counts: tuple[Count, ...]
    gaps: tuple[Gap, ...]
    videos: tuple[VideoFacts, ...]
    heatmap: Mapping[str, object] | None
    paths: Mapping[int, TrackPath]
    offsets_s: Mapping[str, float]
    still: Still | None
    crops: dict[int, Crop] = field(default_factory=dict)

    @property
    def scene(self) -> Scene:
        return self.answers.scene or Scene()


@dataclass(frozen=True)
class Provenance:
    """How the results were made. `settings` are the keys that differ from the defaults, as text; `verdict` are
    sentences on where the time went; if there are none, `unmeasured` is the key of the text in `words` that says why.
    `precision` is "" if it is the model's own."""

    model: str
    model_sha256: str
    model_description: str
    backend: str
    why: str
    config_sha256: str
    settings: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    verdict: tuple[str, ...]
    unmeasured: str
    workers: tuple[str, ...]
    precision: str


@dataclass(frozen=True)
class Note:
    """A sentence of `words`, by key, its values, and the classes that it lists."""

    key: str
    values: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Totals:
    """The totals of a run or job. `cpu_s` and its value per hour of video only exist for jobs."""

    videos: int
    failed: int
    partial: int
    frames: int
    examined_s: float
    tracks: int
    elapsed_s: float
    fps: float
    cpu_s: float | None = None
    cpu_s_per_hour: float | None = None


@dataclass(frozen=True)
class Report:
    """The parts of a report that are not per camera. `report_id` is in verdicts, to distinguish the events of one run
    from another's. `part` is None if whole videos were requested."""

    report_id: str
    folder: str
    job: str | None
    started_at: str | None
    error: str | None
    totals: Totals
    part: Part | None
    videos: tuple[VideoFacts, ...]
    problems: tuple[VideoFacts, ...]
    noted: tuple[VideoFacts, ...]
    untracked: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    provenance: Provenance
    accuracy: tuple[Note, ...]
