"""The tables of docs/trackers.md: the trackers on MOT17, with skipped frames, and the counts of objects.

    python benchmarks/accuracy_trackers.py [--assets FOLDER]

The folder holds trackers/detections/SEQUENCE/{det,gt}.txt, trackers/metrics.json and mot/SEQUENCE/{det,gt}.txt.
Scores are trackeval's. Exit status: 1 if one differs from the reference's by more than 0.05, 2 without assets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from engine.analytics.evaluation import Scores, prepare, read_boxes, score
from engine.analytics.samples import Samples
from engine.analytics.stitching import count_objects, fragments_of, stitch
from engine.config import EngineConfig
from engine.records import Detections, Frame, Tracks
from engine.stages.gaps import Gaps
from engine.stages.track import StreamTracker, TrackerSettings
from engine.trackers.registry import TRACKERS

MOT17 = ("mot17-02", "mot17-05", "mot17-09", "mot17-10", "mot17-11")
TUD = ("TUD-Campus", "TUD-Stadtmitte")
TOLERANCE = 0.05
STEP_S = Fraction(1, 30)
REPOSITORY = Path(__file__).resolve().parent.parent

# Rows of the first table: name in metrics.json (None: our default, which the reference has no row for), tracker,
# parameters, and the score above which detections are given.
ROWS: tuple[tuple[str | None, str, dict[str, Any], float], ...] = (
    ("sort_gt0.6_age1_hits3_iou0.3", "sort", {"max_age": 1}, 0.6),
    ("sort_gt0.6_age30_hits3_iou0.3", "sort", {"max_age": 30}, 0.6),
    (None, "sort", {}, 0.25),
    ("bytetrack_t0.5_m0.8_b30", "bytetrack", {}, 0.0),
    ("bytetrack_t0.6_m0.9_b30", "bytetrack", {"track_thresh": 0.6, "match_thresh": 0.9}, 0.0),
    ("ocsort_t0.6_age30_hits3_iou0.3_dt3_in0.2", "ocsort", {}, 0.0),
    ("ocsort_t0.6_age30_hits3_iou0.3_dt3_in0.2_byte", "ocsort", {"use_byte": True}, 0.0),
    (
        "ocsort_t0.5_age15_hits1_iou0.25_dt1_in0.5_byte",
        "ocsort",
        {
            "det_thresh": 0.5,
            "max_age": 15,
            "min_hits": 1,
            "iou_threshold": 0.25,
            "delta_t": 1,
            "inertia": 0.5,
            "use_byte": True,
        },
        0.0,
    ),
    ("cbiou_default", "cbiou", {}, 0.0),
)

Found = list[np.ndarray[Any, np.dtype[np.float64]]]


class Sequence:
    """Return the detections of each frame, (N, 5) x1 y1 x2 y2 score, and the ground truth."""

    def __init__(self, folder: Path, truth: Path) -> None:
        rows = np.loadtxt(folder / "det.txt", delimiter=",", ndmin=2)
        boxes = rows[:, 2:7].copy()
        boxes[:, 2:4] += boxes[:, :2]
        number = rows[:, 0].astype(int)
        self.truth = read_boxes(truth)
        last = max(int(number.max()), int(self.truth[:, 0].max()))
        self.frames: Found = [boxes[number == frame] for frame in range(1, last + 1)]


def with_kernel(sequence: Sequence, tracker: str, parameters: Mapping[str, Any], above: float) -> Found:
    """Return rows as `read_boxes` gives them of the kernel alone, in double precision, as the reference was run."""
    kernel = TRACKERS[tracker].make({**TRACKERS[tracker].defaults, **parameters}, class_aware=False)
    found = []
    for frame, boxes in enumerate(sequence.frames, 1):
        found.append(mot_rows(frame, kernel.update(boxes[boxes[:, 4] > above] if above else boxes)))
    return found


def with_engine(sequence: Sequence, between: int, settings: TrackerSettings) -> Found:
    """Return the same of the engine's track stage, which infers every (between + 1)-th frame and predicts or
    interpolates the others."""
    tracker, gaps, found = StreamTracker(settings), Gaps(), []

    def take(given: Iterable[Tracks]) -> None:
        for tracks in given:
            rows = np.column_stack((tracks.boxes_xyxy, tracks.track_ids))
            found.append(mot_rows(tracks.frame.index + 1, rows))

    for index, boxes in enumerate(sequence.frames):
        infer = index % (between + 1) == 0
        frame = Frame(0, index, index, 1, STEP_S, None, infer, step_s=STEP_S)
        order = np.argsort(-boxes[:, 4], kind="stable")
        given = boxes[order].astype(np.float32)
        detections = Detections(given[:, :4], given[:, 4], np.zeros(len(given), np.int32)) if infer else None
        tracks = tracker.follow(frame, detections)
        take(gaps.take(tracks) if settings.both else [tracks])
    take(gaps.rest())
    return found


def mot_rows(frame: int, rows: Any) -> Any:
    table = np.full((len(rows), 9), -1.0)
    table[:, 0], table[:, 1], table[:, 6] = frame, rows[:, 4], 1
    table[:, 2:4], table[:, 4:6] = rows[:, :2], rows[:, 2:4] - rows[:, :2]
    return table


def scores_of(
    sequences: Mapping[str, Sequence], track: Callable[[Sequence], Found], *, distractors: bool
) -> tuple[dict[str, Scores], Scores, dict[str, Found]]:
    found = {name: track(sequence) for name, sequence in sequences.items()}
    prepared = {
        name: prepare(np.concatenate(rows), sequences[name].truth, distractors=distractors)
        for name, rows in found.items()
    }
    return *score(prepared), found


def table_of_trackers(mot17: Mapping[str, Sequence], expected: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
    print("| tracker | HOTA | DetA | AssA | MOTA | IDF1 | IDSW | FP | FN | as the reference |\n|---" + "|---" * 9 + "|")
    all_same, tracks = True, {}
    for name, tracker, parameters, above in ROWS:
        each, whole, found = scores_of(
            mot17,
            lambda sequence, t=tracker, p=parameters, a=above: with_kernel(sequence, t, p, a),  # type: ignore[misc]
            distractors=True,
        )
        told = ", ".join([f"score > {above:g}"] * bool(above) + [f"{key} {value}" for key, value in parameters.items()])
        same = "-"
        if name is not None:
            of = expected[name]
            agree = all(agrees(each[key], of[key]) for key in mot17) and agrees(whole, of["combined"])
            all_same &= agree
            same = "yes" if agree else "NO"
        title = TRACKERS[tracker].title + (f" ({told})" if told else "")
        tracks[title] = found
        numbers = (whole.hota, whole.det_a, whole.ass_a, whole.mota, whole.idf1)
        counts = (whole.id_switches, whole.false_positives, whole.false_negatives)
        print(f"| {title} | {' | '.join(f'{n:.2f}' for n in numbers)} | {' | '.join(map(str, counts))} | {same} |")
        sys.stdout.flush()
    return all_same, tracks


def agrees(found: Scores, truth: Mapping[str, float]) -> bool:
    pairs = ((found.hota, truth["HOTA"]), (found.mota, truth["MOTA"]), (found.idf1, truth["IDF1"]))
    return all(abs(ours - theirs) <= TOLERANCE for ours, theirs in pairs)


def table_of_skipping(mot17: Mapping[str, Sequence], tud: Mapping[str, Sequence]) -> None:
    print("\n| sequences | skip_frames | fill | HOTA | IDF1 | MOTA | IDSW |\n|---" + "|---" * 6 + "|")
    for name, sequences, distractors in (("MOT17", mot17, True), ("TUD", tud, False)):
        for skipped, fill in (
            (0, ""),
            (1, "predict"),
            (1, "both"),
            (2, "predict"),
            (2, "both"),
            (4, "predict"),
            (4, "both"),
        ):
            settings = TrackerSettings.of(EngineConfig(skip_frames=skipped, fill=fill or "predict"), ("person",))
            _, whole, _ = scores_of(
                sequences,
                lambda sequence, b=skipped, s=settings: with_engine(sequence, b, s),  # type: ignore[misc]
                distractors=distractors,
            )
            numbers = f"{whole.hota:.2f} | {whole.idf1:.2f} | {whole.mota:.2f} | {whole.id_switches}"
            print(f"| {name} | {skipped} | {fill} | {numbers} |", flush=True)


def table_of_counts(mot17: Mapping[str, Sequence], tracks: Mapping[str, Mapping[str, Found]]) -> None:
    print("\n| tracker | true | ids | error | stitched | error | range |\n|---" + "|---" * 6 + "|")
    for title, found in tracks.items():
        true = ids = joined = low = high = 0
        before = after = 0
        for name, rows in found.items():
            fragments = fragments_of([samples_of(np.concatenate(rows))])
            objects = count_objects(fragments)
            truth = mot17[name].truth
            real = len(np.unique(truth[(truth[:, 6] != 0) & (truth[:, 7] == 1), 1]))
            one = len(set(stitch(fragments).values()))
            true, ids, joined = true + real, ids + objects.ids, joined + one
            low, high = low + objects.low, high + objects.high
            before, after = before + abs(objects.ids - real), after + abs(one - real)
        errors = (f"{100 * before / true:.0f} %", f"{100 * after / true:.0f} %")
        print(f"| {title} | {true} | {ids} | {errors[0]} | {joined} | {errors[1]} | {low} to {high} |", flush=True)


def samples_of(rows: Any) -> Samples:
    frames = rows[:, 0].astype(np.int64)
    boxes = np.column_stack((rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]))
    zeros = np.zeros(len(rows), np.int64)
    ids = rows[:, 1].astype(np.int64)
    return Samples(frames, frames, (frames - 1) / 30, ids, zeros, np.ones(len(rows)), boxes, {0: "person"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=REPOSITORY / os.environ.get("YOLO_ENGINE_ASSETS", "../shared"))
    assets = parser.parse_args().assets
    if not (assets / "trackers").is_dir():
        print(f"no folder {assets / 'trackers'}: give --assets or YOLO_ENGINE_ASSETS", file=sys.stderr)
        return 2
    detections = assets / "trackers" / "detections"
    mot17 = {name: Sequence(detections / name, detections / name / "gt.txt") for name in MOT17}
    tud = {name: Sequence(assets / "mot" / name, assets / "mot" / name / "gt.txt") for name in TUD}
    expected = json.loads((assets / "trackers" / "metrics.json").read_text())["preproc"]
    same, tracks = table_of_trackers(mot17, expected)
    table_of_counts(mot17, tracks)
    table_of_skipping(mot17, tud)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
