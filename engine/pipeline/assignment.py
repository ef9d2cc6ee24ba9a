"""Videos that come one by one from elsewhere, such as a job system: what it says of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from engine.media.inputs import Video


def not_fenced() -> None:
    """Do nothing: nobody else can get the video."""


@dataclass(frozen=True)
class Assignment:
    """One video to be done.

    attempt  which attempt at it this is; goes into its entry as "attempts"
    fence    called before anything is taken over, before each checkpoint and before outputs appear; raises
             engine.errors.LeaseLost when this attempt has lost the video to another
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
