"""Named boundaries between the steps of an attempt at a video.

An attempt suspended at one and resumed much later must do no harm. Tests replace `reached` to suspend there; otherwise
it does nothing. It is called a few times per video and once per checkpoint, never per frame.
"""

from __future__ import annotations


def reached(step: str) -> None:
    """Mark that everything before `step` is done."""
