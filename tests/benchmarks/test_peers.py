"""The plain loop gives what it says, and Ultralytics is a process of its own or not there."""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.clips import described
from benchmarks.context import PROFILES
from benchmarks.peers import ultralytics
from benchmarks.peers.plain_loop import draw, plain_loop
from benchmarks.soak import make_clip
from benchmarks.stages import ultralytics as stage


class BrightSquare:
    """A detector without a model: the bounding box of what is bright."""

    def __call__(self, image_bgr):
        rows, columns = np.nonzero(image_bgr.min(axis=2) > 180)
        boxes = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float64)
        return boxes, np.array([0.9]), np.array([0])


@pytest.fixture
def video(tmp_path):
    make_clip(tmp_path / "square.mp4", frames=6)
    return tmp_path / "square.mp4"


def test_a_square_that_moves_is_one_track(video, tmp_path):
    counts = plain_loop(video, BrightSquare(), tmp_path / "out.txt")
    lines = [line.split(",") for line in (tmp_path / "out.txt").read_text().splitlines()]
    assert (counts.frames, counts.detections, counts.rows, counts.track_ids) == (6, 6, 6, {1})
    assert [int(line[0]) for line in lines] == [1, 2, 3, 4, 5, 6]
    lefts = [float(line[2]) for line in lines]
    assert np.allclose(np.diff(lefts), 4, atol=1.5)
    assert [len(boxes) for boxes, _, _ in counts.found] == [1] * 6


def test_its_annotated_video_holds_every_frame_and_the_boxes(video, tmp_path):
    annotated = tmp_path / "annotated.mp4"
    plain_loop(video, BrightSquare(), tmp_path / "out.txt", annotated)
    assert described(annotated) == {"frames": 6, "size_wh": (64, 48), "codec": "mpeg4"}
    before, after = (cv2.VideoCapture(str(path)).read()[1].astype(int) for path in (video, annotated))
    assert np.abs(after - before).max() > 60


def test_drawing_stays_at_the_box():
    image = np.zeros((60, 80, 3), np.uint8)
    draw(image, (20.4, 20.0, 50.0, 39.6), 7)
    assert image[20, 20].any()
    assert image[40, 50].any()
    assert not image[45:].any()


UNPACKED = """
import json, sys
print("a remark of its own", flush=True)
print(json.dumps({"ultralytics": "1.0"}), flush=True)
for line in sys.stdin:
    boxes = 8 if line.strip() == "predict" else 5
    print(json.dumps({"frames": 2, "boxes": boxes, "tracks": 3, "elapsed_s": 0.5}), flush=True)
    if boxes == 8:
        break
"""


@pytest.fixture
def _stand_in(tmp_path, monkeypatch):
    """An environment whose Python runs a stand-in for Ultralytics."""
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    (tmp_path / "stand_in.py").write_text(UNPACKED)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/stand_in.py"\n')
    program.chmod(0o755)
    monkeypatch.setattr(ultralytics, "HOME", tmp_path)


@pytest.mark.usefixtures("_stand_in")
def test_ultralytics_is_asked_line_by_line():
    peer = ultralytics.Ultralytics(Path("a.mp4"), Path("b.onnx"), conf=0.25, nms_iou=0.45)
    assert peer.versions == {"ultralytics": "1.0"}
    assert [peer.track()["boxes"], peer.predict()["boxes"]] == [5, 8]
    with pytest.raises(RuntimeError, match="ended with status 0"):
        peer.track()
    peer.close()


def test_without_ultralytics_its_row_is_left_out_and_that_is_told(context, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ultralytics, "HOME", tmp_path)
    with pytest.raises(FileNotFoundError, match="make bench-ultralytics"):
        ultralytics.Ultralytics(Path("a.mp4"), Path("b.onnx"), conf=0.25, nms_iou=0.45)
    assert list(stage.measure(replace(context, profile=PROFILES["full"]))) == []
    assert "make bench-ultralytics" in capsys.readouterr().out


def test_nothing_here_imports_ultralytics():
    assert "ultralytics" not in sys.modules
