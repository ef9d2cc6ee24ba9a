"""The project's targets on two cores, as data, and the comparison with a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.record import Row, Spread
from benchmarks.text import measured, number, table

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Target:
    """A row's ratio to a peer (median of the rounds), or its own figure without a peer. Each row is judged
    separately."""

    what: str
    stage: str
    cases: tuple[str, ...]
    against: str | None  # the peer among the figures; above 1 where ours is better
    bound: Bound
    value: float
    why: str = ""  # in words, if the number alone is not enough

    def found(self, row: Row) -> Spread | None:
        if self.against is None:
            return row.spreads[row.ours]
        return row.times_better.get(self.against)

    def met(self, found: Spread) -> bool:
        return found.median >= self.value if self.bound == "at least" else found.median <= self.value

    def verdict(self, found: Spread) -> str:
        """Return whether the median meets the target, and if so, whether some round did not."""
        if not self.met(found):
            return "no"
        if self.bound == "at least":
            return "yes, lowest below" if found.low < self.value else "yes"
        return "yes, highest above" if found.high > self.value else "yes"


PYXTRACKERS, IOUTRACK, OPENCV = "pyxtrackers", "ioutrack", "OpenCV"
PLAIN, OPENVINO, LIMIT = "plain loop", "OpenVINO loop", "limit"
VIDEOS = ("people.mp4", "vtest.avi")
ANNOTATED = tuple(f"{video} annotated" for video in VIDEOS)

OBJECTS = (10, 100, 300, 1000)

TARGETS = (
    Target("SORT, MOT15", "sort", ("MOT15",), PYXTRACKERS, "at least", 2, "half its time"),
    Target("SORT, few objects", "sort", ("10 objects", "100 objects"), PYXTRACKERS, "at least", 2, "half its time"),
    Target("SORT, 300 objects", "sort", ("300 objects",), PYXTRACKERS, "at least", 4, "a quarter of its time"),
    Target("SORT, 300 objects", "sort", ("300 objects",), IOUTRACK, "at least", 4, "a quarter of its time"),
    Target("SORT, 1000 objects", "sort", ("1000 objects",), PYXTRACKERS, "at least", 10, "a tenth of its time"),
    Target("SORT, 1000 objects", "sort", ("1000 objects",), IOUTRACK, "at least", 10, "a tenth of its time"),
    *(
        Target(
            f"{name}, {OBJECTS[0]} to {OBJECTS[-1]} objects",
            "trackers",
            tuple(f"{name}, {objects} objects" for objects in OBJECTS),
            PYXTRACKERS,
            "at least",
            3,
            "a third of its time",
        )
        for name in ("ByteTrack", "OC-SORT")
    ),
    *(
        Target(
            f"{name}, growth at constant density",
            "trackers",
            (f"{name}, growth from 1000 to 3000 objects",),
            "1000 objects",
            "at least",
            0.8,
            "near linear: an object among 3000 costs at most 1.25 times one among 1000",
        )
        for name in ("ByteTrack", "C-BIoU")
    ),
    Target(
        "SORT, growth at constant density",
        "sort",
        ("growth from 1000 to 3000 objects",),
        "1000 objects",
        "at least",
        0.8,
        "near linear: an object among 3000 costs at most 1.25 times one among 1000",
    ),
    Target(
        "letterbox, one thread",
        "letterbox",
        tuple(f"{source} to {tensor}" for source in ("1080p", "2160p") for tensor in ("256x416", "384x640")),
        OPENCV,
        "at least",
        3,
    ),
    Target("pipeline, tracks only", "pipeline", VIDEOS, PLAIN, "at least", 3.5),
    Target("pipeline, tracks only", "pipeline", VIDEOS, OPENVINO, "at least", 1.5),
    Target("pipeline, share of the limit", "pipeline", VIDEOS, LIMIT, "at least", 0.92),
    Target("pipeline, annotated", "pipeline", ANNOTATED, "plain loop, drawing and writing", "at least", 3),
    Target("pipeline, annotated beside tracks only", "pipeline", ANNOTATED, "engine, tracks only", "at least", 0.65),
    Target(
        "a run with scene, tables, crops and heatmap",
        "answers",
        (*VIDEOS, *(f"{video}, all cores" for video in VIDEOS)),
        "without",
        "at least",
        0.98,
        "2 % more time",
    ),
    Target("peak memory, four 1080p videos at once", "memory", ("four 1080p videos",), None, "at most", 500, "MB"),
    Target("memory, flat with length", "memory", ("length",), "short video", "at least", 0.91, "10 % more at most"),
)

HEADINGS = ("what", "case", "beside", "target", "measured, median [lowest .. highest]", "met", "that is")


def judged(rows: Sequence[Row], targets: Sequence[Target] = TARGETS) -> list[tuple[str, ...]]:
    """Return a line per target and case, in the order of HEADINGS."""
    by_key = {(row.stage, row.case): row for row in rows}
    lines = []
    for target in targets:
        for case in target.cases:
            row = by_key.get((target.stage, case))
            found = target.found(row) if row else None
            lines.append(
                (
                    target.what,
                    case,
                    target.against or "-",
                    f"{target.bound} {number(target.value)}",
                    measured(found) if found else "not measured",
                    target.verdict(found) if found else "-",
                    target.why,
                )
            )
    return lines


def shown(rows: Sequence[Row]) -> str:
    """Return text for a terminal: each target covered by `rows`, and the number of others."""
    lines = judged(rows)
    known = [line[:-1] for line in lines if line[5] != "-"]
    unknown = len(lines) - len(known)
    text = table(HEADINGS[:-1], known) if known else "No target was measured."
    return f"{text}\n{unknown} not measured." if known and unknown else text
