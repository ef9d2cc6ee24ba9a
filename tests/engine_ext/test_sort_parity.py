"""The authors' program on the MOT15 detections that ship with it: same frames, same ids, same boxes."""

import numpy as np
import pytest

from engine_ext.sort import SortTracker
from tests.assets import require_asset
from tests.reference import sort as reference

SEQUENCES = ["ADL-Rundle-6", "ETH-Bahnhof", "ETH-Sunnyday", "KITTI-13", "TUD-Campus", "TUD-Stadtmitte", "Venice-2"]
PARAMETERS = [(1, 3, 0.3), (10, 3, 0.3), (15, 2, 0.4)]


def frames_of(sequence):
    rows = np.loadtxt(require_asset(f"mot/{sequence}/det.txt"), delimiter=",")
    for frame in range(1, int(rows[:, 0].max()) + 1):
        dets = rows[rows[:, 0] == frame, 2:7]
        dets[:, 2:4] += dets[:, :2]
        yield frame, dets


def track(tracker, sequence):
    rows = [
        (frame, row[4], *row[:4])
        for frame, dets in frames_of(sequence)
        for row in sorted(tracker.update(dets).tolist(), key=lambda row: row[4])
    ]
    return np.array(rows)


@pytest.mark.parametrize(("max_age", "min_hits", "iou_threshold"), PARAMETERS)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_equals_the_reference(sequence, max_age, min_hits, iou_threshold):
    name = f"mot/{sequence}/sort_age{max_age}_hits{min_hits}_iou{iou_threshold}.csv"
    expected = np.loadtxt(require_asset(name), delimiter=",", skiprows=1)
    found = track(SortTracker(max_age, min_hits, iou_threshold), sequence)
    np.testing.assert_array_equal(found[:, :2], expected[:, :2])
    np.testing.assert_allclose(found[:, 2:], expected[:, 2:], rtol=0, atol=1e-3)


def test_the_twin_equals_the_reference():
    expected = np.loadtxt(require_asset("mot/KITTI-13/sort_age1_hits3_iou0.3.csv"), delimiter=",", skiprows=1)
    found = track(reference.SortTracker(1, 3, 0.3), "KITTI-13")
    np.testing.assert_array_equal(found[:, :2], expected[:, :2])
    np.testing.assert_allclose(found[:, 2:], expected[:, 2:], rtol=0, atol=1e-3)
