"""ByteTrack, OC-SORT and C-BIoU alone, the first two compared with pyxtrackers (Cython), by object count.

The scenes are those of the stage `sort` with scores: of all boxes a fifth are below the thresholds. The first frames,
which only start tracks, aren't timed.

Ours must report the tracks of its NumPy twin, which is tested against the authors' programs, in every frame: the same
boxes, with ids that correspond one to one. The result says if pyxtrackers does not.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.context import Context
from benchmarks.peers import pyxtrackers
from benchmarks.record import Answer, Row, checked
from benchmarks.stages.sort import F64, STARTING, Run, Update, in_words, largest_error, scene, us_a_frame
from engine_ext.bytetrack import ByteTracker
from engine_ext.cbiou import CBIoUTracker
from engine_ext.ocsort import OCSortTracker
from tests.reference import bytetrack, cbiou, ocsort

# Objects -> timed frames.
SCENES = {10: 400, 100: 60, 300: 20, 1000: 6}
GROWTH = {1000: 6, 3000: 2}
TOLERANCE_PX = 1e-6
LOW_SHARE = 0.2


@dataclass(frozen=True)
class Kind:
    """A tracker, its twin, and its peer, if any; `parameters` are the authors' defaults."""

    name: str
    parameters: tuple[object, ...]
    ours: Callable[..., Update]
    twin: Callable[..., Update]
    peer: Callable[..., Update] | None = None

    @property
    def label(self) -> str:
        return f"our {self.name}"

    def trackers(self) -> dict[str, Callable[..., Update]]:
        there = self.peer is not None and importlib.util.find_spec(pyxtrackers.NAME) is not None
        return {self.label: self.ours} | ({pyxtrackers.NAME: self.peer} if self.peer and there else {})


KINDS = (
    Kind(
        "ByteTrack",
        (0.5, 0.8, 30),
        lambda *parameters: ByteTracker(*parameters).update,
        lambda *parameters: bytetrack.ByteTracker(*parameters).update,
        pyxtrackers.byte_updater,
    ),
    Kind(
        "OC-SORT",
        (0.6, 30, 3, 0.3, 3, 0.2, False),
        lambda *parameters: OCSortTracker(*parameters).update,
        lambda *parameters: ocsort.OCSortTracker(*parameters).update,
        pyxtrackers.oc_updater,
    ),
    Kind("C-BIoU", (), lambda: CBIoUTracker().update, lambda: cbiou.CBIoUTracker().update),
)


def measure(context: Context) -> Iterator[Row]:
    for kind in KINDS:
        for objects, frames in SCENES.items():
            yield measure_scene(context, kind, objects, frames)
        yield measure_growth(context, kind, GROWTH)


def measure_scene(context: Context, kind: Kind, objects: int, frames: int) -> Row:
    """Measure one kind of tracker on one scene."""
    dets = scored(scene(objects, STARTING + frames))
    runs = {name: Run(make, dets, STARTING, kind.parameters) for name, make in kind.trackers().items()}
    return context.row(
        "trackers",
        f"{kind.name}, {objects} objects",
        figures=us_a_frame(context, runs),
        unit="us a frame",
        better="lower",
        ours=kind.label,
        input=f"scene of {objects} moving objects, {np.mean([len(each) for each in dets]):.1f} boxes a frame, "
        f"{frames} frames after {STARTING} that start tracks",
        answer=answer_of(kind, dets),
        curve=f"{kind.name}: objects per frame",
        x=objects,
        tracker=kind.parameters,
    )


def measure_growth(context: Context, kind: Kind, frames: dict[int, int]) -> Row:
    """Measure ours alone on a large and a larger scene: the cost per object in each."""
    scenes = {objects: scored(scene(objects, STARTING + count)) for objects, count in frames.items()}
    figures = us_a_frame(
        context, {f"{n} objects": Run(kind.ours, dets, STARTING, kind.parameters) for n, dets in scenes.items()}
    )
    few, many = frames
    return context.row(
        "trackers",
        f"{kind.name}, growth from {few} to {many} objects",
        figures={f"{n} objects": [us / n for us in figures[f"{n} objects"]] for n in scenes},
        unit="us a frame and object",
        better="lower",
        ours=f"{many} objects",
        input=f"scenes of {few} and {many} moving objects at the same density",
        answer=answer_of(kind, scenes[few]),
        tracker=kind.parameters,
    )


def scored(dets: list[F64]) -> list[F64]:
    """Return the same boxes with scores: most well above all thresholds, the others below, in the reach of second
    stages."""
    rng = np.random.default_rng(1)
    for each in dets:
        low = rng.random(len(each)) < LOW_SHARE
        each[:, 4] = np.where(low, rng.uniform(0.1, 0.5, len(each)), rng.uniform(0.7, 1.0, len(each)))
    return dets


def answer_of(kind: Kind, dets: list[F64]) -> Answer:
    """Check that each tracker has the twin's tracks."""
    update = kind.twin(*kind.parameters)
    expected = [update(each) for each in dets]
    errors: dict[str, float | None] = {}
    for name, make in kind.trackers().items():
        update = make(*kind.parameters)
        errors[name] = largest_error([update(each) for each in dets], expected, TOLERANCE_PX)
    wrong = [name for name, error in errors.items() if error is None]
    return checked(
        kind.label not in wrong,
        f"the NumPy twin of {kind.name}",
        in_words(wrong),
        rows=sum(map(len, expected)),
        **{f"{name}_max_box_error_px": error for name, error in errors.items() if error is not None},
    )
