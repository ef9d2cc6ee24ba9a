"""What was cut: the clips of a run, and the videos that could not be."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath

from engine.clips.plan import Part


@dataclass(frozen=True)
class Clip:
    """One clip: its path (`name` is relative to the clips folder) and its frames, numbered as in the rows; seconds are
    the container's. `mode` is copy or exact, `lead_s` is how much was copied before the requested part,
    `encoded_frames` how many frames were re-encoded; `note` says why it differs from the request."""

    path: Path
    name: PurePosixPath
    mode: str
    video: str
    part: Part
    begins_s: float
    ends_s: float
    begins_at: datetime | None
    ends_at: datetime | None
    first_frame: int
    last_frame: int
    lead_s: float = 0.0
    encoded_frames: int = 0
    note: str = ""


@dataclass
class Cut:
    """The outcome: the clips, the lists, and the videos that could not be cut, with reasons."""

    folder: Path
    clips: list[Clip] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
