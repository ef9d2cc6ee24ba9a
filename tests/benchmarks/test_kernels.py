"""The kernels' stages on tiny inputs, and that each notices a wrong answer."""

import dataclasses

import numpy as np
import pytest

from benchmarks.record import WrongAnswer
from benchmarks.stages import decode_heads, letterbox, overlay, sort, trackers
from engine.analytics import Scene, analyse
from tests.assets import require_asset


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    for stage in (letterbox, overlay):
        monkeypatch.setattr(stage, "ROUNDS", 1)


# --- sort


def test_sort_scene(context):
    row = sort.measure_scene(context, 10, 12)
    assert row.case == "10 objects"
    assert set(row.figures) == {*sort.TRACKERS, "filterpy reference"}
    assert row.parameters["x"] == 10
    assert row.answer.accuracy["gain_lost"] < 1e-9
    assert row.answer.accuracy["rows"] > 0


def test_sort_growth(context):
    row = sort.measure_growth(context, 10, 100)
    assert list(row.times_better) == ["10 objects"]


def test_sort_mot15(context):
    require_asset("mot/TUD-Campus/det.txt")
    row = sort.measure_mot15(context, ("TUD-Campus",))
    assert row.input.startswith("1 of MOT15's 11 sequences (TUD-Campus), 71 frames, 4.5 boxes a frame")
    assert row.answer.accuracy["SortTracker_max_box_error_px"] < 1e-3


def test_sort_notices_other_tracks(context, monkeypatch):
    def forgetful(max_age, min_hits, iou_threshold):
        return sort.SortTracker(0, min_hits, iou_threshold).update

    monkeypatch.setitem(sort.TRACKERS, sort.OURS, forgetful)
    with pytest.raises(WrongAnswer, match="but for SortTracker"):
        sort.measure_scene(context, 10, 12)


def test_sort_notices_a_worse_association(context, monkeypatch):
    monkeypatch.setattr(sort, "testing_associate", lambda dets, tracks, _: np.full(len(dets), -1, np.int32))
    with pytest.raises(WrongAnswer, match="an association is better"):
        sort.measure_scene(context, 10, 12)


# --- the other trackers


@pytest.mark.parametrize("kind", trackers.KINDS, ids=lambda kind: kind.name)
def test_tracker_scene_and_growth(context, kind):
    row = trackers.measure_scene(context, kind, 10, 12)
    assert row.case == f"{kind.name}, 10 objects"
    assert set(row.figures) == {kind.label, "pyxtrackers"} if kind.peer else {kind.label}
    assert row.answer.accuracy["rows"] > 0
    assert list(trackers.measure_growth(context, kind, {10: 4, 50: 2}).times_better) == ["10 objects"]


def test_tracker_notices_other_tracks(context):
    (kind,) = (each for each in trackers.KINDS if each.name == "ByteTrack")
    forgetful = dataclasses.replace(kind, ours=lambda high, limit, _: trackers.ByteTracker(high, limit / 2, 0).update)
    with pytest.raises(WrongAnswer, match="but for our ByteTrack"):
        trackers.measure_scene(context, forgetful, 10, 12)


ONE, OTHER = [0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0]


def rows(*tracks):
    return np.array([[*box, number] for number, box in tracks]).reshape(-1, 5)


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([rows()], [rows()], 0.0),
        ([rows((1, ONE), (2, OTHER))], [rows((1, ONE), (2, OTHER))], 0.0),
        ([rows((2, OTHER), (1, ONE))], [rows((1, ONE), (2, OTHER))], 0.0),  # in another order
        ([rows((7, ONE), (3, OTHER))] * 2, [rows((1, ONE), (2, OTHER))] * 2, 0.0),  # numbered in another order
        ([rows((1, [0, 0, 10, 10.5]))], [rows((1, ONE))], 0.5),
        ([rows((1, [0, 0, 10, 12.0]))], [rows((1, ONE))], None),  # further than the tolerance
        ([rows((1, ONE))], [rows((1, ONE), (2, OTHER))], None),
        ([rows((1, ONE))], [rows()], None),
        ([rows((1, ONE)), rows((2, ONE))], [rows((1, ONE))] * 2, None),  # a track is two here
        ([rows((1, ONE))] * 2, [rows((1, ONE)), rows((2, ONE))], None),  # two tracks are one here
        ([rows((1, ONE), (1, OTHER))], [rows((1, ONE), (2, OTHER))], None),
    ],
)
def test_largest_error(found, expected, error):
    assert sort.largest_error(found, expected, 1.0) == error


# --- letterbox


def test_letterbox(context):
    row = letterbox.measure_case(context, "tiny", (160, 120), (32, 64))
    assert set(row.figures) == {"Letterbox", "OpenCV"}
    assert row.answer.accuracy["max_error_levels"] <= 0.1


@pytest.mark.parametrize("level", [0.2, -0.2])
def test_letterbox_notices_a_pixel(level):
    planes = letterbox.planes_of(letterbox.picture(160, 120))
    right = letterbox.reference.letterbox(planes, (160, 120), (32, 64), "yuv420p")
    letterbox.answer_of(planes, (160, 120), (32, 64), right, right)
    wrong = right.copy()
    wrong[1, 2, 3] += level
    with pytest.raises(WrongAnswer, match="NOT within"):
        letterbox.answer_of(planes, (160, 120), (32, 64), wrong, right)


# --- decode_heads


@pytest.mark.parametrize("head", decode_heads.HEADS, ids=lambda head: head.layout)
def test_decode_heads(context, head):
    row = decode_heads.measure_case(context, head, decode_heads.synthetic_outputs(head, 1), 0.25, "synthetic")
    assert set(row.figures) == {"decode + nms", "NumPy"}
    assert row.answer.accuracy["detections"] > 0


@pytest.mark.parametrize("column", [0, 1, 2], ids=["boxes", "scores", "classes"])
def test_decode_heads_notices(monkeypatch, column):
    head = decode_heads.HEADS[0]
    outputs = decode_heads.synthetic_outputs(head, 1)
    found = list(decode_heads.by_kernel(head, outputs[0], 0.25))
    found[column] = found[column] + 1
    monkeypatch.setattr(decode_heads, "by_kernel", lambda *_: tuple(found))
    with pytest.raises(WrongAnswer, match="the same in 0 of 1 images"):
        decode_heads.answer_of(head, outputs, 0.25)


# --- overlay


def test_overlay(context):
    row = overlay.measure_case(context, 5)
    assert set(row.figures) == {"draw_tracks", "OpenCV, on BGR", "OpenCV, YUV->BGR->YUV"}
    assert row.answer.accuracy["outline_pixels"] > 0


def test_what_an_annotated_video_draws(context):
    row = overlay.measure_look(context, "480p", 20)
    assert list(row.figures) == [overlay.LABELS, overlay.TRAILS, overlay.SCENE_TOO]
    assert row.answer.accuracy["events"] > 0


def test_counts_that_are_wrong_are_noticed(monkeypatch):
    monkeypatch.setattr(overlay, "analyse", lambda recordings, scene: analyse(recordings, Scene()))
    with pytest.raises(WrongAnswer, match="counted: north: to centre 0"):
        overlay.counted(overlay.walking(20, (854, 480)), (854, 480))


@pytest.mark.parametrize(
    ("thickness", "words"), [(2, "[1-9][0-9]* pixels of outlines not"), (4, " [1-9][0-9]* drawn elsewhere")]
)
def test_overlay_notices(monkeypatch, thickness, words):
    def draw(planes, tracks):
        overlay.draw_tracks(planes, (overlay.WIDTH, overlay.HEIGHT), *tracks, thickness=thickness, font_size=19)

    monkeypatch.setattr(overlay, "draw", draw)
    with pytest.raises(WrongAnswer, match=words):
        overlay.answer_of(overlay.make_tracks(5))
