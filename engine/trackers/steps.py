"""Time between frames in steps: 1 is the time between two frames at the container's nominal rate.

All is decided on whole ticks and fractions, so that a constant rate gives exactly 1, whatever the time base.
"""

from __future__ import annotations

from fractions import Fraction

# A kernel takes no longer step.
_LONGEST = 10**9
# Times are rounded to ticks. Where a step has fewer ticks than this, a tick is no rounding any more.
_FINE_TICKS = 10
# A rate that no camera has is a container's clock, or a guess.
_FASTEST = 1000
# Up to so much faster than the mean, a container's own rate is believed: some frames are missing.
_MISSING = Fraction(3, 2)


def nominal_step_s(average: Fraction | None, declared: Fraction | None) -> Fraction | None:
    """Return the seconds between two frames at the nominal rate; None if it is not known.

    average: frames over duration, as the container has them. declared: the rate on whose grid all its times lie. That
    one is the nominal rate unless it is much faster: then it is only the grid of a rate that varies.
    """
    rates = [rate for rate in (average, declared) if rate is not None and 0 < rate <= _FASTEST]
    if not rates:
        return None
    believed = len(rates) == 2 and rates[0] <= rates[1] <= _MISSING * rates[0]
    return 1 / (rates[1] if believed else rates[0])


def steps_between(before_pts: int, pts: int, time_base: Fraction, step_s: Fraction | None) -> float:
    """Return how many steps lie between two frames; exactly a whole number where their times, which are rounded to
    ticks, allow it. 1 where the step is not known."""
    if step_s is None or pts <= before_pts:
        return 1.0
    ticks_a_step = step_s / time_base
    ticks = pts - before_pts
    whole = round(ticks / ticks_a_step)
    if whole >= 1 and ticks_a_step >= _FINE_TICKS and abs(ticks - whole * ticks_a_step) < 1:
        return float(min(whole, _LONGEST))
    return float(min(ticks / ticks_a_step, Fraction(_LONGEST)))
