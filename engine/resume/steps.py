"""The boundaries between the steps of an attempt at a video, by name.

Whoever is halted at one and wakes much later must do no harm. Tests put another function in the place of `reached`, to
halt there; otherwise it does nothing. It is called a few times per video and once per checkpoint, never per frame.
"""

from __future__ import annotations


def reached(step: str) -> None:
    """Say that the step before `step` is done."""
