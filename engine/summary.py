"""What became of videos, as it stands in a summary, a manifest and the verdict of an attempt. JSON in and out.

The keys and their order are pinned by tests/engine/golden/*.json, and their meaning is in the README, "Results".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

SCHEMA = 1


class VideoStatus(StrEnum):
    """How a video ended: whole, with all that could be read, or not at all."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """One video of a summary. Counts are the whole video's, times those of the run that ended it.

    `stem` is the place of its outputs below the output folder, `resumed_from` the frame at which that run went on.
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
    stem: str = ""
    resumed_from: int = 0
    video_offset_s: float = 0.0
    objects: list[int] | None = None
    media: dict[str, Any] | None = None
    sequence: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    boxes_without_area: int = 0
    segments: list[dict[str, Any]] = field(default_factory=list)
    dropped_frames: int = 0
    others: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        always = {name: getattr(self, name) for name in _ALWAYS}
        told = {name: value for name in _WHERE_TOLD if (value := getattr(self, name))}
        return {**always, "status": self.status.value, **told, **self.others}

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
_WHERE_TOLD = _NAMES[_NAMES.index("stem") :]
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

    def to_json(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run did. `model` is its name and hash, `backend` what computed, where, and why that was taken."""

    videos: tuple[VideoResult, ...]
    totals: Totals
    model: dict[str, str]
    backend: dict[str, Any]

    @property
    def success(self) -> bool:
        """Whether all videos are whole."""
        return all(video.status is VideoStatus.OK for video in self.videos)

    def to_json(self) -> dict[str, Any]:
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
            backend=dict(values["backend"]),
        )
