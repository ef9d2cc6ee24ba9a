"""Detectors of DETR kinds as their packages export them: the boxes are those of the packages' own post-processing.

The packages bring PyTorch, and live in an environment of their own: `make test-detr`.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine_ext.letterbox import Letterbox
from tests.assets import require_asset

Image = pytest.importorskip("PIL.Image")

PYTHON = os.environ.get("YOLO_ENGINE_DETR")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="`make test-detr` sets up Transformers and PyTorch")

COUNT = 30  # boxes of an image that are compared


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("rt_detr", 80),
        ("rt_detr_v2", 80),
        ("d_fine", 80),
        ("libreyolo", 80),  # its D-FINE
        ("rf_detr", 91),  # COCO's own ids, which are sparse
    ],
)
def test_boxes_are_those_of_the_package(tmp_path, kind, classes):
    images = sorted(require_asset("images/coco-val").glob("*.jpg"))[:3]
    script = Path(__file__).with_name("detr_packages.py")
    done = subprocess.run([PYTHON, script, kind, tmp_path, *images], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = np.load(tmp_path / "answers.npz")
    with Engine(EngineConfig(model=str(tmp_path / "model.onnx"), device="cpu")) as engine:
        model = engine.model
        assert (model.manifest.layout, len(model.manifest.classes)) == ("detr", classes)
        for i, path in enumerate(images):
            rgb = np.asarray(Image.open(path).convert("RGB"))
            fed = answers[f"fed_{i}"]
            assert np.abs(stretched(rgb, model.manifest.input, fed.shape[2:]) - fed[0]).mean() < 0.03
            scores, labels = answers[f"scores_{i}"], answers[f"labels_{i}"]
            conf = float(scores[COUNT - 1] + scores[COUNT]) / 2
            boxes, found, class_ids = model.layout.decode(model.backend.run(fed)[0], fed.shape[2:], conf)
            order = np.argsort(-found, kind="stable")
            height, width = rgb.shape[:2]
            scale = np.array([width, height] * 2) / np.array([*fed.shape[:1:-1]] * 2)
            assert len(found) == COUNT
            np.testing.assert_array_equal(class_ids[order], labels[:COUNT])
            np.testing.assert_allclose(found[order], scores[:COUNT], atol=1e-4)
            ends = np.array([width, height] * 2)  # some packages clip boxes to the image, the engine does so later
            expected = np.clip(answers[f"boxes_{i}"][:COUNT], 0, ends)
            np.testing.assert_allclose(np.clip(boxes[order] * scale, 0, ends), expected, atol=0.1)


def stretched(rgb, spec, hw):
    """What the engine feeds for a picture."""
    height, width = rgb.shape[:2]
    letterbox = Letterbox((width, height), hw[::-1], "rgb24", scale=spec.scale, mean=spec.mean, pad=spec.pad)
    tensor = np.empty((3, *hw), np.float32)
    letterbox.apply([rgb.reshape(height, -1)], tensor)
    return tensor
