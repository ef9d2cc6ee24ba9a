"""Videos that are assigned one by one from elsewhere, such as by a job system."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # a worker's parent knows assignments, and holds no media library
    from engine.media.inputs import Video
    from engine.resume.journal import CarriedJson

PIECE_SUFFIX = ".bin"
NOTES_SUFFIX = ".notes"
DRAWN_SUFFIX = ".drawn"


def not_fenced() -> None:
    """Do nothing: nobody else can take the video."""


def nothing_before() -> CarriedJson | None:
    """Return None: no file of the same camera was before."""
    return None


class Piece(NamedTuple):
    """A part of a video: its frames from `start_s` up to `end_s`, in seconds from its first one; `file` is where their
    detections go."""

    start_s: float
    end_s: float
    file: Path


def spare_of(file: Path) -> Path:
    """Return a path beside a file that nobody else uses, from which it is renamed."""
    return file.with_name(f".{file.name}.{secrets.token_hex(8)}")


class Drawing(NamedTuple):
    """A piece of an annotated video: the file that says what is to be drawn, and that of the encoded packets."""

    notes: Path
    file: Path


class PiecesOf(NamedTuple):
    """The pieces of a video, each `length_s` long, which may come to be there: their files have numbers behind
    `base`. `drawn`: others also draw pieces of its annotated video."""

    base: Path
    length_s: float
    drawn: bool = False

    def piece(self, number: int) -> Piece:
        """Return the piece of this number, from 0."""
        file = self.base.with_name(f"{self.base.name}-{number:05d}{PIECE_SUFFIX}")
        return Piece(number * self.length_s, (number + 1) * self.length_s, file)

    def drawing(self, number: int) -> Drawing:
        """Return where a piece of the annotated video is noted, and where it comes to be."""
        file = self.piece(number).file
        return Drawing(file.with_suffix(NOTES_SUFFIX), file.with_suffix(DRAWN_SUFFIX))


class Assignment(NamedTuple):
    """One video to process.

    attempt  the number of this attempt; goes into its entry as "attempts"
    fence    called before anything is taken over, before each checkpoint and before outputs are published; raises
             engine.errors.LeaseLost if this attempt has lost the video to another
    pieces   of the video, which others may process in the meantime; None: nobody else works on it
    before   in a sequence: returns what the camera's previous file, which has ended, left to this one; None: nothing
    job      identifies all attempts, at any time, at the same results: the outcome of one holds for all. "": an earlier
             outcome counts if it would be the same today, as between two runs
    """

    video: Video
    attempt: int = 1
    fence: Callable[[], None] = not_fenced
    job: str = ""
    before: Callable[[], CarriedJson | None] = nothing_before
    pieces: PiecesOf | None = None


class PieceAssignment(NamedTuple):
    """The detections of a piece to be made, of a video that somebody else tracks. The video's stem names this piece
    alone."""

    video: Video
    piece: Piece


class DrawingAssignment(NamedTuple):
    """A piece of an annotated video to be drawn, of a video with the stem `of` that somebody else has tracked. The
    video's own stem names this piece alone."""

    video: Video
    drawing: Drawing
    of: PurePosixPath
