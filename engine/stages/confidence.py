"""Where a share that was seen in some windows of a stream is in the whole stream, with 95 %."""

from __future__ import annotations

import math

from engine.records import Ratio

# Two-sided 95 % of Student's t, by degrees of freedom; beyond, a bound close above.
_T95 = (math.inf, 12.71, 4.31, 3.19, 2.78, 2.58, 2.45, 2.37, 2.31, 2.27, 2.23, 2.21, 2.18, 2.17, 2.15, 2.14)
_Z95 = 1.96

# A thing that is missed in one frame is missed in the next ones, too: so many boxes tell as much as one.
_BOXES_OF_A_THING = 4


FEWEST_WINDOWS = 2
"""Of fewer it is not known by how much windows differ."""


def drawn(ratio: Ratio) -> tuple[float, float]:
    """Return the interval of a share of so many things, each for itself (Wilson's)."""
    share, draws = ratio.value, ratio.whole / 2 / _BOXES_OF_A_THING
    if not draws:
        return 0.0, 1.0
    bound = _Z95 * _Z95 / draws
    middle = (share + bound / 2) / (1 + bound)
    half = _Z95 * math.sqrt(share * (1 - share) / draws + bound / (4 * draws)) / (1 + bound)
    return max(0.0, middle - half), min(1.0, middle + half)


def interval(ratio: Ratio) -> tuple[float, float]:
    """Return the lowest and the highest share: by how much windows differ (the estimator of a ratio over clusters), and
    no closer than a share of so many things can be known (Wilson's interval). Each thing counts twice in a Ratio. What
    was seen in fewer than FEWEST_WINDOWS, or of nothing, says nothing: 0 to 1."""
    if not ratio.whole or ratio.windows < FEWEST_WINDOWS:
        return 0.0, 1.0
    share, count = ratio.value, ratio.windows
    spread = max(0.0, ratio.part_part - 2 * share * ratio.part_whole + share * share * ratio.whole_whole)
    freedom = count - 1
    student = _T95[freedom] if freedom < len(_T95) else _Z95 + 2.6 / freedom
    half = student * math.sqrt(spread * count / freedom) / ratio.whole
    low, high = drawn(ratio)
    return max(0.0, min(share - half, low)), min(1.0, max(share + half, high))
