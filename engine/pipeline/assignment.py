"""Videos that are assigned one by one from elsewhere, such as by a job system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from engine.media.inputs import Video


def not_fenced() -> None:
    """Do nothing: nobody else can take the video."""


@dataclass(frozen=True)
class Assignment:
    """One video to process.

    attempt  the number of this attempt; goes into its entry as "attempts"
    fence    called before anything is taken over, before each checkpoint and before outputs are published; raises
             engine.errors.LeaseLost if this attempt has lost the video to another
    behind   in a sequence: where the camera's previous files, which have ended, have their outputs, the last one first
    job      identifies all attempts, at any time, at the same results: the outcome of one holds for all. "": an earlier
             outcome counts if it would be the same today, as between two runs
    """

    video: Video
    attempt: int = 1
    fence: Callable[[], None] = not_fenced
    job: str = ""
    behind: tuple[PurePath, ...] = ()
