"""What an audit found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

_NAMED = 5


class Kind(StrEnum):
    """What is not as it is claimed.

    MANIFEST: the manifest itself. MISSING: a file that is not there. CHANGED: a file with another content. SOURCE: a
    source that is another file, or can't be read. FRAME: a frame that is not in an output, or not in the source. ROW: a
    row too few or too many, or with other numbers. BOXES: a frame whose boxes are not the model's. MODEL, PRECISION:
    boxes that are throughout those of another model, or of the same one less exactly.
    """

    MANIFEST = "manifest"
    MISSING = "missing"
    CHANGED = "changed"
    SOURCE = "source"
    FRAME = "frame"
    ROW = "row"
    BOXES = "boxes"
    MODEL = "model"
    PRECISION = "precision"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it is claimed. `video` is the source as the manifest names it, "" where it is about the
    run; `file` the output, below the output folder, "" where it is about none."""

    kind: Kind
    video: str
    file: str
    detail: str


@dataclass(frozen=True)
class AuditedVideo:
    """What was looked at of a video: `frames` that the model saw again, and `boxes` in them; where the video was done
    again as a whole, `rows` of its data files that were compared with those of that. `left_out` says why not all of it
    was looked at; "" where it was."""

    video: str
    frames: int = 0
    boxes: int = 0
    rows: int = 0
    left_out: str = ""


@dataclass(frozen=True)
class Audit:
    """What an audit looked at and found. `files` is how many files had their hash compared, `left_out` what was not
    looked at of the run as a whole."""

    findings: tuple[Finding, ...]
    videos: tuple[AuditedVideo, ...] = ()
    files: int = 0
    left_out: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "schema": 1,
            "passed": self.passed,
            "findings": [asdict(each) for each in self.findings],
            "videos": [asdict(each) for each in self.videos],
            "files": self.files,
            "left_out": list(self.left_out),
        }


def named(things: Sequence[str]) -> str:
    """Return the first of many, and how many more there are."""
    more = f", and {len(things) - _NAMED:,} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more
