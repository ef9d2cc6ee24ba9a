"""The cache of freed models: made once, checked before use, whole or not there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models import surgery
from models.dynamic_axes import freed_model
from models.errors import ModelError, ReshapeError
from models.resolution import resolve
from models.verify_dynamic_axes import compare_rows
from tests.assets import ROOT
from tests.models import builders
from tests.models.builders import save


@pytest.fixture
def model(tmp_path):
    return resolve(save(builders.yolox(), tmp_path / "m.onnx"), layout="yolox", channel_order="bgr", scale=1.0)


@pytest.fixture
def made(monkeypatch):
    """Counts how often a model is really freed."""
    count = []
    original = surgery.free_shape
    monkeypatch.setattr(surgery, "free_shape", lambda *args: count.append(1) or original(*args))
    return count


def test_a_model_is_freed_once(model, made, cache):
    first, second = freed_model(model), freed_model(model)
    assert first == second
    assert len(made) == 1
    assert (first.dynamic, first.batch_safe, first.reason) == (True, True, None)
    assert first.path.parent == cache.parent / "freed"
    assert first.path.name.startswith(model.manifest.sha256)
    again = resolve(first.path, layout="yolox", channel_order="bgr", scale=1.0)
    assert freed_model(again).path == first.path  # what is free passes through
    assert len(made) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-50]),  # cut short
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x00"),  # one byte changed
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.with_name(path.name + ".sha256").unlink(),  # killed before the record was written
        lambda path: path.with_name(path.name + ".sha256").write_bytes(b"\xff\xfe"),
    ],
)
def test_a_damaged_entry_is_made_again(model, made, tmp_path, damage):
    path = freed_model(model, tmp_path / "kept").path
    good = path.read_bytes()
    damage(path)
    assert freed_model(model, tmp_path / "kept").path.read_bytes() == good
    assert len(made) == 2


def test_nothing_is_kept_of_a_failed_check(model, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise ReshapeError("cannot free: the answer differs.")

    monkeypatch.setattr(surgery, "check_freed", refuse)
    found = freed_model(model, tmp_path / "kept")
    assert (found.path, found.dynamic, found.reason) == (model.path, False, "cannot free: the answer differs.")
    assert list((tmp_path / "kept").glob("*.onnx*")) == []


def test_a_model_that_cannot_be_freed_comes_back_with_the_reason(tmp_path):
    points = builders.anchor_points()[0] / 8
    path = save(builders.yolov8(anchors=points), tmp_path / "m.onnx")
    found = freed_model(resolve(path, layout="yolov8"))
    assert (found.path, found.dynamic, found.batch_safe) == (path, False, True)
    assert "uses a constant (1, 2, 84)" in found.reason


def test_a_quantized_model_is_marked(tmp_path):
    found = freed_model(
        resolve(save(builders.quantized(), tmp_path / "m.onnx"), layout="yolox", channel_order="bgr", scale=1.0)
    )
    assert (found.dynamic, found.batch_safe) == (True, False)


def test_a_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        freed_model(model, tmp_path / "file" / "kept")


def test_two_processes_at_once(model, tmp_path):
    code = (
        "import sys; from pathlib import Path; from models.resolution import resolve\n"
        "from models.dynamic_axes import freed_model\n"
        "model = resolve(Path(sys.argv[1]), layout='yolox', channel_order='bgr', scale=1.0)\n"
        "print(freed_model(model, Path(sys.argv[2])).path)"
    )
    command = [sys.executable, "-c", code, str(model.path), str(tmp_path / "kept")]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert said[0] == said[1]
    assert sorted(p.suffix for p in (tmp_path / "kept").iterdir()) == [".lock", ".onnx", ".sha256"]
    assert Path(said[0]).stat().st_size > 0


@pytest.mark.parametrize("scores", [(0.9, 0.8), (0.01, 0.02)])
def test_finished_detections_are_compared_in_any_order(scores):
    rows = np.array([[[1, 2, 30, 40, scores[0], 0], [5, 6, 70, 80, scores[1], 1]]], np.float32)
    assert compare_rows([rows], [rows[:, ::-1]], 1e-4, "") == 0.0
    moved = rows.copy()
    moved[0, 0, 0] += 5
    if scores[0] > 0.05:
        with pytest.raises(ReshapeError, match="the answer differs"):
            compare_rows([rows], [moved], 1e-4, "here")
    weaker = rows.copy()
    weaker[0, 0, 4] /= 2
    with pytest.raises(ReshapeError, match="the answer differs"):
        compare_rows([rows], [weaker], 1e-4, "here")
