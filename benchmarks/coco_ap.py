"""Mean average precision as COCO defines it, in plain NumPy.

Detections of an image are matched by descending score, each to the unmatched object of its class that it overlaps
most; below the IoU threshold it is a false positive. Average precision is the mean, over 101 recalls from 0 to 1, of
the best precision at that recall or a higher one. mAP50 is at IoU 0.50, mAP50-95 the mean over 0.50, 0.55 ... 0.95;
both are means over the classes that have an object in the labels.

Not included, since YOLO labels lack them: crowd regions, sizes. Left to the caller: a limit of detections per image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


class Boxes(NamedTuple):
    """The objects of one image: boxes_xyxy (N, 4) in pixels, class_ids (N,), scores (N,); labels have score 1."""

    boxes_xyxy: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]


class Matches(NamedTuple):
    """One class in one image: number of labelled objects, scores (N,) descending, right (T, N) bool per threshold."""

    objects: int
    scores: NDArray[np.float64]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class MeanAp:
    """`by_class` is (C, T): a row per class with objects, a column per threshold. Fractions, not per cent."""

    map50: float
    map50_95: float
    by_class: NDArray[np.float64]


def read_labels(path: Path, size_wh: tuple[int, int]) -> Boxes:
    """Return a YOLO label file, rows of `class cx cy w h` in shares of the image. No file, or an empty one: no
    objects."""
    rows = [[float(word) for word in line.split()[:5]] for line in _lines(path)]
    table = np.array(rows, np.float64).reshape(-1, 5)
    centre, half = table[:, 1:3], table[:, 3:5] / 2
    boxes = np.hstack([centre - half, centre + half]) * np.tile(size_wh, 2)
    return Boxes(boxes, table[:, 0].astype(np.int64), np.ones(len(table)))


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N, M) IoU of (N, 4) and (M, 4) xyxy boxes; 0 if both boxes are empty."""
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.clip(np.minimum(a[:, None, 2:], b[None, :, 2:]) - corner, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match_image(found: Boxes, labels: Boxes) -> dict[int, Matches]:
    """Return class id -> matches, for every class that was detected or labelled."""
    matches = {}
    for class_id in np.union1d(found.class_ids, labels.class_ids):
        mine = np.flatnonzero(found.class_ids == class_id)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        objects = labels.boxes_xyxy[labels.class_ids == class_id]
        overlaps = iou(np.asarray(found.boxes_xyxy[mine], np.float64), objects)
        right = np.array([_greedy(overlaps, threshold) for threshold in IOU_THRESHOLDS])
        matches[int(class_id)] = Matches(len(objects), np.asarray(found.scores[mine], np.float64), right)
    return matches


def summarise(images: Sequence[dict[int, Matches]]) -> MeanAp:
    """Return the mean over all images. Raises ValueError if no image has an object."""
    labelled = sorted({c for image in images for c, matches in image.items() if matches.objects})
    if not labelled:
        raise ValueError("labels must hold at least one object. Got none.")
    by_class = np.array([_average_precision([image[c] for image in images if c in image]) for c in labelled])
    return MeanAp(float(by_class[:, 0].mean()), float(by_class.mean()), by_class)


def mean_ap(found: Sequence[Boxes], labels: Sequence[Boxes]) -> MeanAp:
    """Return detections and labels of the same images, in the same order."""
    return summarise([match_image(*pair) for pair in zip(found, labels, strict=True)])


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def _greedy(overlaps: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Return (N,) bool, whether each detection matches an object, from (N, M) IoU, best score first."""
    right = np.zeros(len(overlaps), bool)
    free = np.ones(overlaps.shape[1], bool)
    for row in np.flatnonzero((overlaps >= threshold).any(axis=1)):
        best = int(np.argmax(np.where(free, overlaps[row], -1)))
        if free[best] and overlaps[row, best] >= threshold:
            right[row], free[best] = True, False
    return right


def _average_precision(images: Sequence[Matches]) -> NDArray[np.float64]:
    """Return the (T,) average precision of one class over all images."""
    objects = sum(image.objects for image in images)
    scores = np.concatenate([image.scores for image in images])
    right = np.concatenate([image.right for image in images], axis=1)[:, np.argsort(-scores, kind="stable")]
    hits = right.cumsum(axis=1)
    precision = hits / np.arange(1, len(scores) + 1)
    # The best precision at this or a higher recall; 0 beyond the highest recall.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    envelope = np.hstack([envelope, np.zeros((len(envelope), 1))])
    at = [np.searchsorted(row / objects, RECALLS, side="left") for row in hits]
    return np.array([row[columns].mean() for row, columns in zip(envelope, at, strict=True)])
