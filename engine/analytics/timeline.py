"""The files of one camera, one after another, on one timeline.

Files are ordered by their clocks if all have one, otherwise by name in natural order. If container times continue from
one file to the next, they give the files' positions; otherwise the clocks do; failing both, each file begins where the
previous one ended. A clock with a resolution of one second can't show shorter gaps: files that it places so close are
taken to be contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.analytics.clock import Clock, ClockOrigin
from engine.analytics.naming import natural
from engine.analytics.stitching import Objects

# Names and containers have whole seconds, so the difference of two times may be off by one.
_WHOLE_SECOND_S = 1.0


class Film(NamedTuple):
    """One video with its tracks.

    `name` is its path below the input folder, `size_wh` the size of the upright frame. `first_s` is the container's
    time of the first frame; `examined_s` is from the first examined frame to the end of the last, None if none was
    examined, and `left_out_s` are the intervals within it that were not. `tracks` is the file of its rows, if any.
    `sequence_offset_s` and `sequence_joined` are set if it was tracked as part of its camera's sequence, with ids
    unique within the camera: its position on the timeline then. `recording` names the live source of which it is a
    segment, and `session` the run that recorded it, or the video itself if it was tracked again, alone: track ids
    restart with each. `heatmap` is the file of the sums made while tracking, if still valid, so that rows need not be
    read; `objects` is the number of objects counted then. `duration_s` is its length as far as that is known without
    its frames.
    """

    name: str
    camera: str
    size_wh: tuple[int, int] | None = None
    first_s: float = 0.0
    examined_s: tuple[float, float] | None = None
    tracks: Path | None = None
    clock: Clock = Clock(None, ClockOrigin.NONE)
    sequence_offset_s: float | None = None
    sequence_joined: bool = False
    recording: str | None = None
    session: str | None = None
    heatmap: Path | None = None
    objects: Objects | None = None
    left_out_s: tuple[tuple[float, float], ...] = ()
    duration_s: float = 0.0

    @property
    def known_as(self) -> str:
        """The name by which its scene is looked up."""
        return self.recording or self.name


class Placed(NamedTuple):
    """A film on its camera's timeline: container time + `offset_s` = timeline; `joined`: it continues where the
    previous film ended."""

    film: Film
    offset_s: float
    joined: bool = False


def lay_out(films: Sequence[Film], max_gap_s: float = 1.0, max_overlap_s: float = 2.0) -> tuple[list[Placed], Clock]:
    """Place the films of one camera on a timeline that begins at the first one's first frame, and return it with the
    clock at its time 0. Films of which nothing was examined are left out, unless there are no others."""
    shown = [film for film in films if film.examined_s is not None]
    films = shown or films
    if all(film.clock.start is not None for film in films):
        ordered = sorted(films, key=lambda film: (_moment(film), natural(film.name)))
    else:
        ordered = sorted(films, key=lambda film: natural(film.name))
    if shown and all(film.sequence_offset_s is not None for film in shown):
        known = [Placed(film, film.sequence_offset_s or 0.0, film.sequence_joined) for film in shown]
        known.sort(key=lambda each: each.film.first_s + each.offset_s)
        return known, known[0].film.clock
    placed: list[Placed] = []
    for film in ordered:
        before, first = (placed[-1], placed[0]) if placed else (None, None)
        placed.append(place(film, before, first, max_gap_s, max_overlap_s))
    clock = placed[0].film.clock if placed else Clock(None, ClockOrigin.NONE)
    return placed, clock


def unexamined(films: Sequence[Film], clock: Clock) -> list[tuple[float, float]]:
    """Return the intervals of a timeline, whose clock this is, at which films lie of which nothing was examined. Only
    its clock tells where such a film is; where nothing tells its length, the interval is a moment."""
    found = []
    for film in films:
        if film.examined_s is None and film.clock.start is not None and clock.start is not None:
            # In UTC, because Python subtracts the local clock times of two times in one zone.
            start_s = film.clock.start.timestamp() - clock.start.timestamp()
            found.append((start_s, start_s + max(0.0, film.duration_s)))
    return found


def place(film: Film, before: Placed | None, first: Placed | None, max_gap_s: float, max_overlap_s: float) -> Placed:
    """Place a film after the one `before` it; `first` is the first film of its camera, which defines time 0."""
    if first is None:
        return Placed(film, -film.first_s)
    if before is None or before.film.examined_s is None:
        return Placed(film, _by_clock(film, first, -film.first_s))
    end_s = before.film.examined_s[1]
    if film.examined_s is not None and film.first_s > before.film.first_s:
        distance = film.examined_s[0] - end_s
        if -max_overlap_s - 1e-6 <= distance <= max_gap_s + 1e-6:  # container times continue
            return Placed(film, before.offset_s, joined=True)
    behind = end_s + before.offset_s - film.first_s
    offset_s = _by_clock(film, first, behind)
    gap_s = offset_s - behind
    if _tells_whole_seconds(film, first) and abs(gap_s) <= _WHOLE_SECOND_S:
        offset_s, gap_s = behind, 0.0
    return Placed(film, offset_s, joined=-max_overlap_s - 1e-6 <= gap_s <= max_gap_s + 1e-6)


def _moment(film: Film) -> float:
    return film.clock.start.timestamp() if film.clock.start is not None else 0.0


def _by_clock(film: Film, first: Placed, otherwise: float) -> float:
    """Return the offset by the clocks; `otherwise` if one of them has none."""
    start, zero = film.clock.start, first.film.clock.start
    if start is None or zero is None:
        return otherwise
    # In UTC, because Python subtracts the local clock times of two times in one zone.
    return start.timestamp() - zero.timestamp() - film.first_s


def _tells_whole_seconds(film: Film, first: Placed) -> bool:
    return not any(start is not None and start.microsecond for start in (film.clock.start, first.film.clock.start))
