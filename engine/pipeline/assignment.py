"""Videos that come one by one from elsewhere, such as a job system: what it says of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from engine.media.inputs import Video

PIECE_SUFFIX = ".bin"


def not_fenced() -> None:
    """Do nothing: nobody else can get the video."""


@dataclass(frozen=True)
class Piece:
    """A part of a video: its frames from `start_s` up to `end_s`, in seconds from its first one; `file` is where their
    detections go."""

    start_s: float
    end_s: float
    file: Path


@dataclass(frozen=True)
class PiecesOf:
    """The pieces of a video, each `length_s` long, which may come to be there: their files have numbers behind
    `base`."""

    base: Path
    length_s: float

    def piece(self, number: int) -> Piece:
        """Return the piece of this number, from 0."""
        file = self.base.with_name(f"{self.base.name}-{number:05d}{PIECE_SUFFIX}")
        return Piece(number * self.length_s, (number + 1) * self.length_s, file)


@dataclass(frozen=True)
class Assignment:
    """One video to be done.

    attempt  which attempt at it this is; goes into its entry as "attempts"
    fence    called before anything is taken over, before each checkpoint and before outputs appear; raises
             engine.errors.LeaseLost when this attempt has lost the video to another
    pieces   of the video, which others may make meanwhile; None: it is nobody else's
    behind   of a sequence: where the files before it of its camera have their outputs, the last one first; they have
             ended
    job      names all attempts, at any time, that work for the same end: what one of them finds stands for all. "":
             what others found counts where it would be the same today, as between two runs
    """

    video: Video
    attempt: int = 1
    fence: Callable[[], None] = not_fenced
    job: str = ""
    behind: tuple[PurePath, ...] = ()
    pieces: PiecesOf | None = None


@dataclass(frozen=True)
class PieceAssignment:
    """The detections of a piece to be made, of a video that somebody else tracks. The video's stem names this piece
    alone."""

    video: Video
    piece: Piece
