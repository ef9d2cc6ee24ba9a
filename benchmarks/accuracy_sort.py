"""MOTA and IDF1 of the tracker on two MOT15 sequences, compared with the authors' program on the same detections.

    python benchmarks/accuracy_sort.py [--assets FOLDER]

The folder holds mot/SEQUENCE/{det,gt}.txt and the authors' answers. Exit status: 1 if a figure differs, 2 without
assets. Needs motmetrics. MOTA: Bernardin & Stiefelhagen 2008; IDF1: Ristani et al. 2016; a match is an
IoU of at least 0.5.
"""

import argparse
import os
import sys
from pathlib import Path

import motmetrics
import numpy as np

from engine_ext.geometry import iou_matrix
from engine_ext.sort import SortTracker

SEQUENCES = ["TUD-Campus", "TUD-Stadtmitte"]
PARAMETERS = [(1, 3, 0.3), (10, 3, 0.3), (15, 2, 0.4)]
REPOSITORY = Path(__file__).resolve().parent.parent


def track(dets, parameters):
    """Return rows frame, id, x1, y1, x2, y2 of all frames. dets: rows frame, -1, x, y, w, h, score, ..."""
    tracker = SortTracker(*parameters)
    rows = []
    for frame in range(1, int(dets[:, 0].max()) + 1):
        boxes = dets[dets[:, 0] == frame, 2:7]
        boxes[:, 2:4] += boxes[:, :2]
        rows += [(frame, row[4], *row[:4]) for row in tracker.update(boxes)]
    return np.array(rows)


def accuracy(truth, rows):
    """Return MOTA and IDF1 of rows frame, id, x1, y1, x2, y2. truth: rows frame, id, x, y, w, h, ..."""
    accumulator = motmetrics.MOTAccumulator()
    for frame in np.union1d(truth[:, 0], rows[:, 0]):
        real, found = truth[truth[:, 0] == frame], rows[rows[:, 0] == frame]
        real_xyxy = np.column_stack([real[:, 2:4], real[:, 2:4] + real[:, 4:6]])
        iou = iou_matrix(real_xyxy, found[:, 2:6])
        distance = np.where(iou >= 0.5, 1 - iou, np.nan)
        accumulator.update(real[:, 1].astype(int), found[:, 1].astype(int), distance, frameid=int(frame))
    metrics = motmetrics.metrics.create()
    summary = metrics.compute(accumulator, metrics=["mota", "idf1"], name="all")
    return float(summary["mota"].iloc[0]), float(summary["idf1"].iloc[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=REPOSITORY / os.environ.get("YOLO_ENGINE_ASSETS", "../shared"))
    folder = parser.parse_args().assets / "mot"
    if not folder.is_dir():
        print(f"no folder {folder}: give --assets or YOLO_ENGINE_ASSETS", file=sys.stderr)
        return 2
    print(f"{'sequence':<16}{'age hits iou':<16}{'MOTA':>8}{'theirs':>8}{'IDF1':>8}{'theirs':>8}")
    differ = False
    for sequence in SEQUENCES:
        truth = np.loadtxt(folder / sequence / "gt.txt", delimiter=",")
        dets = np.loadtxt(folder / sequence / "det.txt", delimiter=",")
        for age, hits, iou in PARAMETERS:
            answers = folder / sequence / f"sort_age{age}_hits{hits}_iou{iou}.csv"
            mota, idf1 = accuracy(truth, track(dets, (age, hits, iou)))
            their_mota, their_idf1 = accuracy(truth, np.loadtxt(answers, delimiter=",", skiprows=1))
            same = (mota, idf1) == (their_mota, their_idf1)
            differ |= not same
            print(
                f"{sequence:<16}{f'{age} {hits} {iou}':<16}{mota:8.4f}{their_mota:8.4f}{idf1:8.4f}{their_idf1:8.4f}"
                f"{'' if same else '  differs'}"
            )
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
