"""The reference programs on stored detections: the same frames, ids and boxes, for all trackers and parameters."""

import json
from functools import cache

import numpy as np
import pytest

from engine_ext.bytetrack import ByteTracker
from engine_ext.cbiou import CBIoUTracker
from engine_ext.ocsort import OCSortTracker
from tests.assets import ASSETS, require_asset

TRACKERS = {"ByteTrack": ByteTracker, "OC-SORT": OCSortTracker, "C-BIoU": CBIoUTracker}
# In params.json for those who read it, or what only one value is known of.
NO_ARGUMENTS = {"fixed", "max_time_lost", "asso_func", "per_class"}


@cache
def table(name):
    return json.loads(require_asset(f"trackers/{name}.json").read_text())


def cases():
    found = sorted(ASSETS.glob("trackers/tracks/*/*.csv"))
    # One case that is skipped, or fails where assets are required, when they are not there.
    return [(path.parent.name, path.stem) for path in found] or [("mot17-09", "bytetrack_t0.5_m0.8_b30")]


def make(name):
    given = table("params")[name]
    arguments = {key: value for key, value in given["parameters"].items() if key not in NO_ARGUMENTS}
    return TRACKERS[given["tracker"]](**arguments), given["parameters"].get("per_class", False)


@cache
def frames_of(sequence):
    """Each frame's (N, 5) x1 y1 x2 y2 score, and classes; the empty ones too."""
    rows = np.loadtxt(require_asset(f"trackers/detections/{sequence}/det.txt"), delimiter=",", ndmin=2)
    dets = rows[:, 2:7].copy()
    dets[:, 2:4] += dets[:, :2]
    frame_of, classes = rows[:, 0].astype(int), rows[:, 7].astype(np.int64)
    return [(dets[frame_of == frame], classes[frame_of == frame]) for frame in range(1, frame_of.max() + 1)]


def track(tracker, sequence, per_class):
    """(R, 8) frame, id, x1 y1 x2 y2, score, class, by frame and id: ids from 1 by the frame a track is reported in
    first, then by where its detection stands there, the first of equal boxes, then as the tracker numbered them."""
    rows, first_seen = [], {}
    for frame, (dets, classes) in enumerate(frames_of(sequence), 1):
        found = tracker.update(dets, classes if per_class else None)
        for row, at in zip(found, tracker.last_matches, strict=True):
            first = int(np.flatnonzero((dets[:, :4] == dets[at, :4]).all(axis=1))[0])
            first_seen.setdefault(row[4], (frame, first, row[4]))
            rows.append((frame, row[4], *row[:4], dets[at, 4], classes[at]))
    number = {own: at for at, own in enumerate(sorted(first_seen, key=first_seen.__getitem__), 1)}
    return np.array(sorted((row[0], number[row[1]], *row[2:]) for row in rows)).reshape(-1, 8)


def expected_rows(sequence, name):
    """The reference's rows, up to the frame before the first in which its solver's choice of equals decides."""
    rows = np.loadtxt(require_asset(f"trackers/tracks/{sequence}/{name}.csv"), delimiter=",", skiprows=1, ndmin=2)
    tie = table("ties")[sequence].get(name, {}).get("first_frame_that_depends_on_the_solver")
    return rows[rows[:, 0] < (tie or np.inf)], tie or np.inf


@pytest.mark.parametrize(("sequence", "name"), cases())
def test_equals_the_reference(sequence, name):
    expected, end = expected_rows(sequence, name)
    tracker, per_class = make(name)
    found = track(tracker, sequence, per_class)
    found = found[found[:, 0] < end]
    np.testing.assert_array_equal(found[:, :2], expected[:, :2])
    np.testing.assert_allclose(found[:, 2:6], expected[:, 2:6], rtol=0, atol=2e-3)
