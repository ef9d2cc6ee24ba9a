"""Exports by the formats' own readers, which live in an environment of their own: `make test-exports`."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from engine.exports import ExportSettings, export_run
from engine.finished import FinishedRun
from tests.e2e.clips import Shot, make
from tests.engine.after.finished_runs import frames_of
from tests.engine.after.test_exports import moving, run_with

PYTHON = os.environ.get("YOLO_ENGINE_READERS")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="`make test-exports` sets up datumaro, motmetrics and the like")


def read(form: str, folder: Path) -> list[list]:
    script = Path(__file__).with_name("readers.py")
    done = subprocess.run([PYTHON, script, form, folder], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("form", ["cvat", "mot", "coco", "yolo", "fiftyone"])
def test_frames_ids_classes_and_boxes_are_those_of_the_rows(tmp_path, form):
    (tmp_path / "in").mkdir()
    first = make(tmp_path / "in", Shot(frames=40), name="a").path
    second = make(tmp_path / "in", Shot(frames=25), name="b").path
    rows = {first: moving(40, {3: "car", 7: "person"}, hole=(15, 19)), second: moving(25, {1: "person"})}
    out = run_with(tmp_path / "out", {video: (frames_of(video), found) for video, found in rows.items()})
    images = form in ("coco", "yolo", "mot")
    # Datumaro does not interpolate what CVAT would: every box is a key frame here.
    settings = ExportSettings(error_px=0.0 if form == "cvat" else 2.0, images=images)
    made = export_run(FinishedRun.load(out), form, settings)
    found = {(name, frame, track, kind): box for name, frame, track, kind, *box in read(form, made.folder)}
    expected = {}
    for video, given in rows.items():
        for row in given:
            track = None if form == "yolo" else row["track_id"]
            x1, y1, x2, y2 = row["box_xyxy"]
            expected[video.stem, row["frame"], track, row["class"]] = (x1, y1, x2, y2)
    if form == "cvat":  # boxes on the line between others are no key frames
        assert set(found) <= set(expected)
        assert {key for key in expected if key[1] in (0, 14, 20)} & set(expected) <= set(found)
    else:
        assert set(found) == set(expected)
    for key, box in found.items():
        scale = (96, 64, 96, 64) if form == "fiftyone" else (1, 1, 1, 1)
        assert [side * by for side, by in zip(box, scale, strict=True)] == pytest.approx(expected[key], abs=0.02)
