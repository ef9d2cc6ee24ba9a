"""Which parts of which videos become clips: happenings with the time before and after, merged if they are close."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from engine.config import ClipKeys
from engine.finished import Happening, Selection
from engine.finished.happenings import Span


@dataclass(frozen=True)
class ClipSettings:
    """`pre_s` and `post_s` are added before and after; parts less than `merge_gap_s` apart become one clip unless it
    would be longer than `max_length_s`. A single longer happening is cut into consecutive clips. `exact`: a clip begins
    and ends at the exact frame, and is re-encoded where no key frame allows copying."""

    selection: Selection = field(default_factory=Selection)
    pre_s: float = 5.0
    post_s: float = 5.0
    merge_gap_s: float = 2.0
    max_length_s: float = 300.0
    exact: bool = False

    @classmethod
    def of(cls, keys: ClipKeys) -> ClipSettings:
        """Take the settings from a configuration."""
        selection = Selection(
            tuple(keys.kinds or ()),
            tuple(keys.classes or ()),
            tuple(keys.places or ()),
            tuple(keys.directions or ()),
            keys.longer_s,
            keys.shorter_s,
        )
        return cls(selection, keys.pre_s, keys.post_s, keys.merge_gap_s, keys.max_length_s, keys.exact)


@dataclass(frozen=True)
class Part:
    """A part of a video that becomes a clip: seconds of its container, ends included. It must contain `frames`,
    whatever their times. For a happening that is too long, `number` counts its parts from 1, and frames at or before
    `after_s` are in the previous part."""

    begins_s: float
    ends_s: float
    happenings: tuple[tuple[Happening, Span], ...]
    frames: tuple[int, int] | None = None
    number: int = 1
    of: int = 1
    after_s: float = -math.inf


def parts_of(happenings: Iterable[Happening], settings: ClipSettings) -> dict[int, list[Part]]:
    """Return the parts of each video, by its number in the run, in order of time."""
    spans: defaultdict[int, list[tuple[Happening, Span]]] = defaultdict(list)
    for happening in happenings:
        for span in happening.spans:
            spans[span.video].append((happening, span))
    return {video: list(_joined(found, settings)) for video, found in sorted(spans.items())}


def _joined(spans: list[tuple[Happening, Span]], settings: ClipSettings) -> Iterable[Part]:
    group: list[tuple[Happening, Span]] = []
    begins_s = ends_s = 0.0
    for each in sorted(spans, key=lambda each: (each[1].begins_s, each[1].ends_s)):
        first_s, last_s = each[1].begins_s - settings.pre_s, each[1].ends_s + settings.post_s
        joined_s = max(ends_s, last_s) - begins_s
        if group and first_s - ends_s <= settings.merge_gap_s and joined_s <= settings.max_length_s:
            group.append(each)
            ends_s = max(ends_s, last_s)
            continue
        if group:
            yield from _cut(begins_s, ends_s, group, settings)
        group, begins_s, ends_s = [each], first_s, last_s
    if group:
        yield from _cut(begins_s, ends_s, group, settings)


def _cut(begins_s: float, ends_s: float, group: list[tuple[Happening, Span]], settings: ClipSettings) -> Iterable[Part]:
    """Yield one part, or several if it would be longer than allowed."""
    count = max(1, math.ceil((ends_s - begins_s) / settings.max_length_s - 1e-9))
    length_s = (ends_s - begins_s) / count
    for number in range(count):
        first_s = begins_s + number * length_s
        last_s = ends_s if number + 1 == count else first_s + length_s
        inside = tuple(each for each in group if each[1].begins_s <= last_s and each[1].ends_s >= first_s)
        if not inside:  # only lead-in or lead-out
            inside = tuple(group)
        bounds = [span.frames for _, span in inside if span.frames is not None]
        frames = (min(first for first, _ in bounds), max(last for _, last in bounds)) if bounds else None
        after_s = first_s if number else -math.inf
        yield Part(first_s, last_s, inside, frames, number + 1, count, after_s)
