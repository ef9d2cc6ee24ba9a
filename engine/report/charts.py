"""Counts per bin as SVG: one direction upwards from the axis, the other downwards, classes on top of each other.

Drawn here, so that charts work without scripts, in print and with screen readers. Colours are those of the page's style
sheet, by class (`c0`, `c1`, ...). A bin in which nothing was examined is hatched, not empty.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup, escape

from engine.analytics import Bin, Count
from engine.report.words import Words
from engine.text.printable import printable

MAX_BARS = 120
COLOURS = 8
"""The number of colours in the style sheet; further classes share the last."""

_WIDTH, _HEIGHT = 720.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 8.0, 24.0, 46.0
_TICKS = 6
_WIDEST_BAR = 56.0


@dataclass(frozen=True)
class Bar:
    """Some bins drawn as one: `up` and `down` have the counts by class. `examined` is False if no bin was examined."""

    start_s: float
    end_s: float
    starts: datetime | None
    ends: datetime | None
    examined: bool
    up: Mapping[str, int]
    down: Mapping[str, int]


def bars_of(bins: Sequence[Bin], counts: Sequence[Count], line: str, into: str, out: str, most: int) -> list[Bar]:
    """Sum the counts of a line in at most `most` groups of equally many bins."""
    step = max(1, math.ceil(len(bins) / most))
    found: dict[tuple[int, str], Counter[str]] = {}
    places = {each.start_s: number for number, each in enumerate(bins)}
    for count in counts:
        if count.line == line and count.count:
            key = places[count.bin.start_s] // step, count.direction
            found.setdefault(key, Counter())[count.class_name] += count.count
    bars = []
    for number, first in enumerate(range(0, len(bins), step)):
        part = bins[first : first + step]
        bars.append(
            Bar(
                part[0].start_s,
                part[-1].end_s,
                part[0].starts,
                part[-1].ends,
                any(each.examined_s for each in part),
                found.get((number, into), Counter()),
                found.get((number, out), Counter()),
            )
        )
    return bars


def chart(bars: Sequence[Bar], classes: Sequence[str], into: str, out: str, title: str, words: Words) -> Markup:
    """Return the SVG of a line's bars. `classes` are in the order of the colours; `title` describes the chart in
    words."""
    highest = max([1, *(sum(bar.up.values()) for bar in bars)])
    deepest = max([1, *(sum(bar.down.values()) for bar in bars)])
    step = _step(highest + deepest)
    highest, deepest = (math.ceil(each / step) * step for each in (highest, deepest))
    scale = (_HEIGHT - _TOP - _BOTTOM) / (highest + deepest)
    axis = _TOP + highest * scale
    wide = (_WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _n(_WIDTH), _n(_HEIGHT), printable(title)
        )
    ]
    for value in range(-deepest, highest + 1, step):
        y = axis - value * scale
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
                _n(_LEFT), _n(_WIDTH - _RIGHT), y=_n(y)
            )
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(
                _n(_LEFT - 6), _n(y + 4), words.number(abs(value))
            )
        )
    for number, bar in enumerate(bars):
        parts += _bar(bar, _LEFT + number * wide, wide, axis, scale, classes, (into, out), words)
    parts.append(
        Markup('<line class="axis" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
            _n(_LEFT), _n(_WIDTH - _RIGHT), y=_n(axis)
        )
    )
    every = max(1, math.ceil(len(bars) / _TICKS))
    for number in range(0, len(bars), every):
        parts.append(
            Markup('<text class="tick" x="{}" y="{}">{}</text>').format(
                _n(_LEFT + number * wide), _n(_HEIGHT - _BOTTOM + 16), moment(bars[number].starts, bars[number].start_s)
            )
        )
    for text, y, place in ((into, _TOP - 10, "▲"), (out, _HEIGHT - 8, "▼")):
        parts.append(
            Markup('<text class="way" x="{}" y="{}">{} {}</text>').format(_n(_LEFT), _n(y), place, printable(text, 60))
        )
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def moment(at: datetime | None, seconds: float) -> str:
    """Return the time of day if there is a clock, otherwise hours, minutes and seconds from the beginning."""
    if at is not None:
        return f"{at:%H:%M}" if not at.second else f"{at:%H:%M:%S}"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def colour_of(classes: Sequence[str], name: str) -> int:
    """Return the colour of a class."""
    return min(classes.index(name), COLOURS - 1) if name in classes else COLOURS - 1


def _bar(
    bar: Bar,
    x: float,
    wide: float,
    axis: float,
    scale: float,
    classes: Sequence[str],
    ways: tuple[str, str],
    words: Words,
) -> list[Markup]:
    when = f"{moment(bar.starts, bar.start_s)}–{moment(bar.ends, bar.end_s)}"
    if not bar.examined:
        return [
            Markup('<rect class="unseen" x="{}" y="{}" width="{}" height="{}"><title>{}: {}</title></rect>').format(
                _n(x), _n(_TOP), _n(wide), _n(_HEIGHT - _TOP - _BOTTOM), when, words("not_looked")
            )
        ]
    parts = []
    inner = min(_WIDEST_BAR, wide * 0.86)
    for counts, upwards, way in ((bar.up, True, ways[0]), (bar.down, False, ways[1])):
        done = 0
        for name in sorted(counts, key=lambda each: colour_of(classes, each)):
            number = counts[name]
            tall = number * scale
            y = axis - done * scale - tall if upwards else axis + done * scale
            done += number
            said = f"{when}, {printable(way, 60)}: {words.number(number)} {printable(words.class_name(name), 60)}"
            parts.append(
                Markup('<rect class="c{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
                    colour_of(classes, name), _n(x + (wide - inner) / 2), _n(y), _n(inner), _n(tall), escape(said)
                )
            )
    return parts


def _step(whole: int) -> int:
    """Return a round number that divides the axis into about six parts."""
    rough = max(1.0, whole / 6)
    power = 10 ** math.floor(math.log10(rough))
    return int(next(each * power for each in (1, 2, 5, 10) if each * power >= rough))


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
