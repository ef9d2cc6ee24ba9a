"""`yolo-engine eval`: how well tracks agree with ground truth: HOTA, MOTA and IDF1, by the package trackeval.

HOTA (Luiten et al. 2021, IJCV 129) is the mean over 19 overlap thresholds; MOTA is from CLEAR MOT (Bernardin and
Stiefelhagen 2008), IDF1 from Ristani et al. (2016). trackeval computes the metrics; this module prepares their input by
the rules of MOTChallenge, so that any two files can be compared without MOTChallenge's folder layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError, describe_os_error
from engine.install import extra

# MOT17's classes that need not be tracked: person on vehicle, static person, distractor, reflection. A track on one of
# them is ignored.
_DISTRACTORS = (2, 7, 8, 12)
_PEDESTRIAN = 1
_SAME_OBJECT = 0.5
_COLUMNS = 9


@dataclass(frozen=True)
class Scores:
    """Scores of one sequence or of several together: ratios in per cent, counts as they are."""

    hota: float
    det_a: float
    ass_a: float
    mota: float
    idf1: float
    id_switches: int
    false_positives: int
    false_negatives: int
    ids: int
    true_ids: int


class Prepared(TypedDict):
    """The input of trackeval's metrics for one sequence: the numbers of frames, ids and boxes, and for each frame the
    ids of truth and tracks, numbered from 0, and the (truth, tracks) IoU of their boxes."""

    num_timesteps: int
    num_gt_ids: int
    num_tracker_ids: int
    num_gt_dets: int
    num_tracker_dets: int
    gt_ids: list[NDArray[np.int_]]
    tracker_ids: list[NDArray[np.int_]]
    similarity_scores: list[NDArray[np.float64]]


def read_boxes(path: Path) -> NDArray[np.float64]:
    """Read a MOTChallenge file: (N, 9) float64 frame, id, left, top, width, height, score or flag, class, visibility.
    Columns that the file lacks are -1. Raises InputError that names the file and the line."""
    rows: list[list[float]] = []
    number = 0
    try:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            number += 1
            if line.strip():
                values = [float(value) for value in line.split(",")[:_COLUMNS]]
                if len(values) < 6 or not np.isfinite(values).all():
                    raise ValueError("six finite numbers or more are needed")
                rows.append(values + [-1.0] * (_COLUMNS - len(values)))
    except OSError as error:
        raise InputError(f"{path} can't be read: {describe_os_error(error)}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a MOTChallenge file: it is not text.") from error
    except ValueError as error:
        raise InputError(f"{path}, line {number}: not a MOTChallenge row ({error}).") from error
    return np.array(rows, dtype=np.float64).reshape(-1, _COLUMNS)


def prepare(tracks: NDArray[np.float64], truth: NDArray[np.float64], *, distractors: bool = True) -> Prepared:
    """Convert tracks and truth, (N, 9) and (M, 9) as returned by `read_boxes`, into the input of the metrics.

    Rows of the truth whose flag is 0 are ignored. With `distractors`, MOT17's classes are honoured: only pedestrians
    count as truth, and tracks on distractors are left out. Raises InputError if an id occurs twice in a frame.
    """
    has_classes = distractors and bool((truth[:, 7] > 0).any())
    frames = np.union1d(tracks[:, 0], truth[:, 0]).astype(int)
    last = int(frames.max(initial=0))
    gt_ids, ids, similarities = [], [], []
    for frame in range(1, last + 1):
        found, true = tracks[tracks[:, 0] == frame], truth[truth[:, 0] == frame]
        for name, rows in (("tracks", found), ("ground truth", true)):
            if len(np.unique(rows[:, 1])) < len(rows):
                raise InputError(f"The {name} have an id twice in frame {frame}: one row for each id is needed.")
        similarity = _iou(true[:, 2:6], found[:, 2:6])
        if has_classes and len(true) and len(found):
            keep = ~_on_distractors(similarity, true[:, 7])
            found, similarity = found[keep], similarity[:, keep]
        wanted = true[:, 6] != 0
        if has_classes:
            wanted &= true[:, 7] == _PEDESTRIAN
        gt_ids.append(true[wanted, 1].astype(int))
        ids.append(found[:, 1].astype(int))
        similarities.append(similarity[wanted])
    gt_ids, gt_count = _numbered(gt_ids)
    ids, id_count = _numbered(ids)
    return {
        "num_timesteps": last,
        "num_gt_ids": gt_count,
        "num_tracker_ids": id_count,
        "num_gt_dets": sum(map(len, gt_ids)),
        "num_tracker_dets": sum(map(len, ids)),
        "gt_ids": gt_ids,
        "tracker_ids": ids,
        "similarity_scores": similarities,
    }


def score(sequences: Mapping[str, Prepared]) -> tuple[dict[str, Scores], Scores]:
    """Return the scores of each sequence and of all together. Raises InputError if trackeval is not installed."""
    hota, clear, identity = _metrics()
    metrics = {"hota": hota, "clear": clear, "id": identity}
    results = {
        name: {kind: metric.eval_sequence(sequence) for kind, metric in metrics.items()}
        for name, sequence in sequences.items()
    }
    whole = {
        kind: metric.combine_sequences({name: parts[kind] for name, parts in results.items()})
        for kind, metric in metrics.items()
    }
    counts = {name: (s["num_tracker_ids"], s["num_gt_ids"]) for name, s in sequences.items()}
    each = {name: _scores(parts, *counts[name]) for name, parts in results.items()}
    return each, _scores(whole, sum(n for n, _ in counts.values()), sum(n for _, n in counts.values()))


def _metrics() -> Sequence[Any]:
    try:
        import trackeval
    except ImportError as error:
        raise InputError(f"eval needs the package trackeval: {extra('eval')}") from error
    quiet = {"PRINT_CONFIG": False}
    return trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet), trackeval.metrics.Identity(quiet)


def _scores(parts: Mapping[str, Mapping[str, Any]], ids: int, true_ids: int) -> Scores:
    hota, clear, identity = parts["hota"], parts["clear"], parts["id"]
    return Scores(
        100 * float(np.mean(hota["HOTA"])),
        100 * float(np.mean(hota["DetA"])),
        100 * float(np.mean(hota["AssA"])),
        100 * float(clear["MOTA"]),
        100 * float(identity["IDF1"]),
        int(clear["IDSW"]),
        int(clear["CLR_FP"]),
        int(clear["CLR_FN"]),
        ids,
        true_ids,
    )


def _on_distractors(similarity: NDArray[np.float64], classes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (N,) bool: whether each track's box is matched, one to one, with a distractor's box."""
    from scipy.optimize import linear_sum_assignment

    matching = np.where(similarity < _SAME_OBJECT - np.finfo(float).eps, 0, similarity)
    rows, columns = linear_sum_assignment(-matching)
    taken = matching[rows, columns] > np.finfo(float).eps
    on = np.zeros(similarity.shape[1], dtype=np.bool_)
    on[columns[taken & np.isin(classes[rows], _DISTRACTORS)]] = True
    return on


def _iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (N, M) IoU of boxes given as left, top, width, height."""
    a, b = first[:, None, :], second[None, :, :]
    width = np.minimum(a[..., 0] + a[..., 2], b[..., 0] + b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 1] + a[..., 3], b[..., 1] + b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    both = np.clip(width, 0, None) * np.clip(height, 0, None)
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - both
    return np.asarray(np.divide(both, union, out=np.zeros_like(both), where=union > 0))


def _numbered(ids: list[NDArray[np.int_]]) -> tuple[list[NDArray[np.int_]], int]:
    """Renumber ids consecutively from 0, and return how many there are."""
    known = np.unique(np.concatenate(ids)) if ids else np.array([], dtype=int)
    return [np.searchsorted(known, some) for some in ids], len(known)
