from fractions import Fraction

import pytest

from engine.records import Detections, Frame
from tests.engine.conftest import make_frame, make_tracks


@pytest.mark.parametrize(
    ("pts", "time_base", "time_s"),
    [
        (0, Fraction(1, 25), 0.0),
        (1, Fraction(1, 3), 1 / 3),
        (-512, Fraction(1, 12_800), -0.04),  # before the edit list's start
        (90_000 * 3600 * 48, Fraction(1, 90_000), 172_800.0),  # two days
        (1001, Fraction(1, 30_000), 1001 / 30_000),  # NTSC
    ],
)
def test_time_s(pts, time_base, time_s):
    frame = Frame(0, 0, pts, 1, time_base, None)
    assert frame.time_s == time_s
    assert type(frame.time_s) is float


def test_empty_detections():
    found = Detections()
    assert len(found) == 0
    assert (found.boxes_xyxy.shape, found.scores.shape, found.class_ids.shape) == ((0, 4), (0,), (0,))
    assert [a.dtype.name for a in (found.boxes_xyxy, found.scores, found.class_ids)] == ["float32", "float32", "int32"]
    assert found.boxes_xyxy is not Detections().boxes_xyxy


def test_length_of_tracks():
    assert len(make_tracks(make_frame(0), [])) == 0
    assert len(make_tracks(make_frame(0), [(1, 0, 0.5, (0, 0, 1, 1)), (2, 0, 0.5, (0, 0, 1, 1))])) == 2
