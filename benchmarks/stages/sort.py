"""SORT: the tracker alone, compared with pyxtrackers (Cython), ioutrack (Rust) and the filterpy reference, by object
count.

All get the same float64 boxes and the same parameters, those of the authors' program. Scenes are made here at a
constant density: objects that move, are missed one time in ten, and are joined by as many false boxes; the first
frames, which only start tracks, aren't timed. Then the available MOT15 sequences, from their first frame.

Every tracker must report the reference's boxes in every frame, with ids that correspond one to one; the association
must be optimal according to SciPy.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks import rounds
from benchmarks.context import Context
from benchmarks.machine import asset
from benchmarks.peers import ioutrack, pyxtrackers, reference
from benchmarks.record import Answer, Row, checked
from benchmarks.reference_sort import iou
from benchmarks.rounds import alternate
from engine_ext.assignment import testing_associate
from engine_ext.sort import SortTracker

F64 = NDArray[np.float64]
Update = Callable[[F64], NDArray[np.floating]]

OURS = "SortTracker"
PARAMETERS = (1, 3, 0.3)  # max_age, min_hits, iou_threshold
# Objects -> timed frames.
SCENES = {10: 400, 100: 60, 300: 20, 1000: 6, 3000: 2}
STARTING = 2
GROWTH = (1000, 3000)
# The reference takes 5 ms per frame at 100 objects; above that it is not timed.
MAX_WITH_REFERENCE = 100
# MOT15 has eleven training sequences with detections; these are the ones among the assets.
MOT15 = ("ADL-Rundle-6", "ETH-Bahnhof", "ETH-Sunnyday", "KITTI-13", "TUD-Campus", "TUD-Stadtmitte", "Venice-2")
MOT15_ALL = 11

# ioutrack returns float32.
TOLERANCES_PX = {OURS: 1e-6, pyxtrackers.NAME: 1e-6, ioutrack.NAME: 0.01}
LOST = 1e-9  # of the sum of all IoU: rounding
FILE_TOLERANCE_PX = 1e-3  # the stored answers are rounded


def ours(max_age: int, min_hits: int, iou_threshold: float) -> Update:
    return SortTracker(max_age, min_hits, iou_threshold).update


TRACKERS: dict[str, Callable[..., Update]] = {OURS: ours}
ABSENT: list[str] = []
for peer in (pyxtrackers, ioutrack):
    if importlib.util.find_spec(peer.NAME) is None:
        ABSENT.append(peer.NAME)
    else:
        TRACKERS[peer.NAME] = peer.updater


def measure(context: Context) -> Iterator[Row]:
    few, _ = GROWTH
    for objects, frames in SCENES.items():
        if objects <= few or context.profile.name != "quick":
            yield measure_scene(context, objects, frames)
    yield measure_growth(context, *GROWTH)
    yield measure_mot15(context, MOT15)


def measure_scene(context: Context, objects: int, frames: int) -> Row:
    """Measure all trackers on one scene."""
    dets = scene(objects, STARTING + frames)
    trackers = TRACKERS | ({reference.NAME: reference.updater} if objects <= MAX_WITH_REFERENCE else {})
    return context.row(
        "sort",
        f"{objects} objects",
        figures=us_a_frame(context, {name: Run(make, dets, STARTING) for name, make in trackers.items()}),
        unit="us a frame",
        better="lower",
        ours=OURS,
        input=f"scene of {objects} moving objects, {np.mean([len(each) for each in dets]):.1f} boxes a frame, "
        f"{frames} frames after {STARTING} that start tracks",
        answer=answer_of(dets),
        curve="objects per frame",
        x=objects,
        tracker=PARAMETERS,
        absent=ABSENT,
    )


def measure_growth(context: Context, few: int, many: int) -> Row:
    """Measure ours alone on a large and a larger scene: the cost per object in each."""
    scenes = {objects: scene(objects, STARTING + SCENES[objects]) for objects in (few, many)}
    figures = us_a_frame(context, {f"{n} objects": Run(ours, dets, STARTING) for n, dets in scenes.items()})
    lost = gain_below_optimum(scenes[many])
    return context.row(
        "sort",
        f"growth from {few} to {many} objects",
        figures={f"{n} objects": [us / n for us in figures[f"{n} objects"]] for n in scenes},
        unit="us a frame and object",
        better="lower",
        ours=f"{many} objects",
        input=f"scenes of {few} and {many} moving objects at the same density",
        answer=checked(
            lost <= LOST, "SciPy's linear_sum_assignment", f"the best association of {many} objects", gain_lost=lost
        ),
        tracker=PARAMETERS,
    )


def measure_mot15(context: Context, sequences: tuple[str, ...]) -> Row:
    """Measure each tracker over all sequences, with a new instance per sequence."""
    inputs = {name: mot15(asset(f"mot/{name}/det.txt")) for name in sequences}
    frames = sum(len(dets) for dets in inputs.values())
    boxes = sum(len(each) for dets in inputs.values() for each in dets)
    # One pass takes the reference two seconds.
    trackers = TRACKERS | ({} if context.profile.name == "quick" else {reference.NAME: reference.updater})
    work = {name: partial(over_all, make, list(inputs.values())) for name, make in trackers.items()}
    samples = alternate(work, rounds=context.profile.rounds)
    there = f"{len(sequences)} of MOT15's {MOT15_ALL} sequences"
    return context.row(
        "sort",
        "MOT15",
        figures={name: sample.each(frames, 1e6) for name, sample in samples.items()},
        unit="us a frame",
        better="lower",
        ours=OURS,
        input=f"{there} ({', '.join(sequences)}), {frames} frames, {boxes / frames:.1f} boxes a frame",
        answer=mot15_answer(inputs),
        tracker=PARAMETERS,
        absent=ABSENT,
    )


class Run:
    """One tracker on one scene. `start` gives it the first frames, `go` the others, which are timed; a fast one does it
    as often as rounds.MIN_S takes, each time with a tracker of its own."""

    def __init__(
        self, make: Callable[..., Update], dets: list[F64], starting: int, parameters: tuple[object, ...] = PARAMETERS
    ) -> None:
        self.frames = len(dets) - starting
        self.passes = 1
        self._make, self._first, self._rest = partial(make, *parameters), dets[:starting], dets[starting:]
        self._updates: list[Update] = []
        self.start()
        begin = time.perf_counter()
        self.go()
        self.passes = max(1, round(rounds.MIN_S / (time.perf_counter() - begin)))

    def start(self) -> None:
        self._updates = [self._make() for _ in range(self.passes)]
        for update in self._updates:
            for each in self._first:
                update(each)

    def go(self) -> None:
        for update in self._updates:
            for each in self._rest:
                update(each)


def us_a_frame(context: Context, runs: dict[str, Run]) -> dict[str, list[float]]:
    work = {name: run.go for name, run in runs.items()}
    samples = alternate(work, rounds=context.profile.rounds, setup={name: run.start for name, run in runs.items()})
    return {name: sample.each(runs[name].frames * runs[name].passes, 1e6) for name, sample in samples.items()}


def over_all(make: Callable[..., Update], inputs: list[list[F64]]) -> None:
    for dets in inputs:
        update = make(*PARAMETERS)
        for each in dets:
            update(each)


def scene(objects: int, frames: int, seed: int = 0) -> list[F64]:
    """Return each frame's (N, 5) x1 y1 x2 y2 score, in random order. An object has 10 000 square pixels."""
    rng = np.random.default_rng(seed)
    side = 100 * np.sqrt(objects)
    centre, speed = rng.uniform(0, side, (objects, 2)), rng.normal(0, 3, (objects, 2))
    size = rng.uniform(30, 80, (objects, 2))
    found = []
    for _ in range(frames):
        centre += speed
        seen, false = rng.random(objects) < 0.9, rng.poisson(0.1 * objects)
        where = np.concatenate([centre[seen], rng.uniform(0, side, (false, 2))])
        half = np.concatenate([size[seen], rng.uniform(30, 80, (false, 2))]) / 2
        boxes = np.concatenate([where - half, where + half], axis=1) + rng.normal(0, 1, (len(where), 4))
        found.append(np.ascontiguousarray(np.column_stack([boxes, np.ones(len(boxes))])[rng.permutation(len(boxes))]))
    return found


def mot15(path: Path) -> list[F64]:
    """Return each frame's (N, 5) x1 y1 x2 y2 score, including empty ones."""
    rows = np.loadtxt(path, delimiter=",")
    found = []
    for frame in range(1, int(rows[:, 0].max()) + 1):
        dets = rows[rows[:, 0] == frame, 2:7]
        dets[:, 2:4] += dets[:, :2]
        found.append(np.ascontiguousarray(dets))
    return found


def answers(make: Callable[..., Update], dets: list[F64]) -> list[NDArray[np.floating]]:
    update = make(*PARAMETERS)
    return [update(each) for each in dets]


def answer_of(dets: list[F64]) -> Answer:
    """Check that each tracker has the reference's tracks, and that our association is optimal."""
    expected = answers(reference.updater, dets)
    found = {name: answers(make, dets) for name, make in TRACKERS.items()}
    errors = {name: largest_error(rows, expected, TOLERANCES_PX[name]) for name, rows in found.items()}
    lost = gain_below_optimum(dets)
    wrong = [name for name, error in errors.items() if error is None]
    return checked(
        OURS not in wrong and lost <= LOST,
        f"the {reference.NAME} and SciPy's linear_sum_assignment",
        f"{in_words(wrong)}; {'an' if lost > LOST else 'no'} association is better",
        gain_lost=lost,
        rows=sum(map(len, expected)),
        **{f"{name}_max_box_error_px": error for name, error in errors.items() if error is not None},
    )


def mot15_answer(inputs: dict[str, list[F64]]) -> Answer:
    """Check that each tracker has the tracks of the authors' program, which are stored beside the detections."""
    age, hits, threshold = PARAMETERS
    errors, rows = dict.fromkeys(TRACKERS, 0.0), 0
    wrong: list[str] = []
    for sequence, dets in inputs.items():
        path = asset(f"mot/{sequence}/sort_age{age}_hits{hits}_iou{threshold}.csv")
        stored = np.loadtxt(path, delimiter=",", skiprows=1)
        frames = [stored[stored[:, 0] == frame] for frame in range(1, len(dets) + 1)]
        expected = [frame[:, [2, 3, 4, 5, 1]] for frame in frames]
        rows += len(stored)
        for name, make in TRACKERS.items():
            error = largest_error(answers(make, dets), expected, max(FILE_TOLERANCE_PX, TOLERANCES_PX[name]))
            if error is None:
                wrong.append(f"{name} on {sequence}")
            else:
                errors[name] = max(errors[name], error)
    return checked(
        not any(each.startswith(OURS) for each in wrong),
        "the answers of the authors' program",
        in_words(wrong),
        rows=rows,
        **{f"{name}_max_box_error_px": error for name, error in errors.items()},
    )


def in_words(wrong: list[str]) -> str:
    """`wrong` are the trackers that have other tracks."""
    same = "the same tracks in every frame"
    return same + (f", but for {', '.join(wrong)}" if wrong else "")


def largest_error(found: list[NDArray[np.floating]], expected: list[F64], tolerance_px: float) -> float | None:
    """Return the largest difference of two boxes in pixels; None if a frame has others, or an id here is two there.

    Two trackers may number the tracks that begin in the same frame in another order.
    """
    there_of: dict[float, float] = {}
    here_of: dict[float, float] = {}
    worst = 0.0
    for here, there in zip(found, expected, strict=True):
        if len(here) != len(there):
            return None
        if not len(here):
            continue
        apart = np.abs(here[:, None, :4] - there[None, :, :4]).max(axis=2)
        nearest = apart.argmin(axis=1)
        for row, column in enumerate(nearest.tolist()):
            one, other = float(here[row, 4]), float(there[column, 4])
            if apart[row, column] > tolerance_px or there_of.setdefault(one, other) != other:
                return None
            if here_of.setdefault(other, one) != one:
                return None
            worst = max(worst, float(apart[row, column]))
    return worst


def gain_below_optimum(dets: list[F64]) -> float:
    """Return how much IoU our association of the last two frames loses against the best one, all together; 0 when
    optimal."""
    before, now = dets[-2:]
    overlaps = iou(now[:, :4], before[:, :4])
    best = overlaps[linear_sum_assignment(-overlaps)].sum()
    taken = testing_associate(np.ascontiguousarray(now[:, :4]), np.ascontiguousarray(before[:, :4]), 0.0)
    rows = np.flatnonzero(taken >= 0)
    if len(set(taken[rows].tolist())) != len(rows):
        raise AssertionError("a track was given to two detections")
    return max(0.0, float(best - overlaps[rows, taken[rows]].sum()))
