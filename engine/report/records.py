"""What a report says, before it is a page: frozen records, one camera at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from engine.analytics import Answers, Bin, Count, Objects, Scene
from engine.analytics.paths import TrackPath
from engine.analytics.verdicts import Reviewed
from engine.report.crops import Crop
from engine.report.stills import Still


@dataclass(frozen=True)
class VideoFacts:
    """One video as its manifest has it. `name` is its path below the input folder; `annotated` that of its annotated
    video below the output folder, None if there is none; the annotated video's zero is `offset_s` of the
    container's time. `duration_s` is its length, `examined_s` how much of it was looked at: 0 where it failed. `clock`
    says how its wall clock is known: given, name, container, none."""

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
    """The part of each video that was requested: seconds from its beginning; None: from there, or up to its end."""

    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class LeftOut:
    """A file that was not taken for a video, and why."""

    path: str
    why: str


@dataclass(frozen=True)
class Gap:
    """A stretch of a camera's timeline, in seconds, of which nothing was looked at."""

    camera: str
    start_s: float
    end_s: float
    starts: datetime | None
    ends: datetime | None


@dataclass(frozen=True)
class CameraReport:
    """Everything about one camera. `bins` are those of the charts, `counts` as the tables have them; `paths` has the
    way of each track by its id, `crops` says where the best crop of a track is. `offsets_s` leads
    from the container's times of a video, by its name, to the camera's timeline."""

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
    """What made the results. `settings` are the keys that differ from the defaults, as texts; `verdict` are sentences
    on where the time went, none where it was not measured; `precision` is what was computed in, empty where that is
    the model's own."""

    model: str
    model_sha256: str
    model_description: str
    backend: str
    why: str
    config_sha256: str
    settings: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    verdict: tuple[str, ...]
    workers: tuple[str, ...]
    precision: str


@dataclass(frozen=True)
class Note:
    """A sentence of `words`, by its key, and what it is about."""

    key: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Totals:
    """A run or job, added up. `cpu_s` and that for an hour of video are of jobs alone."""

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
    """What stands once on a report. `report_id` tells one run's events from another's: verdicts bear it. `part` is None
    where whole videos were asked for."""

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
