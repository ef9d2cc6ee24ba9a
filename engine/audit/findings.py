"""The findings of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum

_NAMED = 5


class Kind(StrEnum):
    """The kinds of findings.

    MANIFEST: the manifest itself. MISSING: a file that does not exist. CHANGED: a file with other content. SOURCE: a
    source that is another file, or can't be read. FRAME: a frame missing in an output, or not in the source. ROW: a row
    that is missing, extra or different. BOXES: a frame whose boxes are not the model's. MODEL, PRECISION: boxes that
    are consistently those of another model or of a lower precision.
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
    """One deviation from the claims. `video` is the source as named in the manifest, "" for the run itself; `file` is
    the output below the output folder, "" if none is concerned."""

    kind: Kind
    video: str
    file: str
    detail: str


@dataclass(frozen=True)
class AuditedVideo:
    """What was checked of a video: `frames` inferred again with `boxes` in them, or, if the whole video was processed
    again, the number of `rows` compared. `left_out` says why not everything was checked, "" if it was."""

    video: str
    frames: int = 0
    boxes: int = 0
    rows: int = 0
    left_out: str = ""


@dataclass(frozen=True)
class Audit:
    """What an audit checked and found. `files` is the number of files whose hash was compared, `left_out` what was not
    checked of the run as a whole."""

    findings: tuple[Finding, ...]
    videos: tuple[AuditedVideo, ...] = ()
    files: int = 0
    left_out: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, object]:
        """Return JSON values."""
        return {
            "schema": 1,
            "passed": self.passed,
            "findings": [asdict(each) for each in self.findings],
            "videos": [asdict(each) for each in self.videos],
            "files": self.files,
            "left_out": list(self.left_out),
        }


def named(things: Sequence[str]) -> str:
    """List the first few, and the number of others."""
    more = f", and {len(things) - _NAMED:,} more" if len(things) > _NAMED else ""
    return ", ".join(things[:_NAMED]) + more
