"""The seam between frames and heads: a runner over any backend."""

import numpy as np
import pytest

from engine.errors import BackendError
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.heads import HeadReader
from engine.inference.layouts import get_layout
from engine.records import FrameBatch
from engine.stages.infer import TensorRunner
from engine.stages.preprocess import Preprocess
from tests.engine.conftest import make_frame, make_image


def runner_over(backend):
    return TensorRunner(backend, Preprocess(fake_manifest().input, "float32"), HeadReader(get_layout("end2end"), 0.25))


def batch_of(*levels):
    frames = []
    for index, level in enumerate(levels):
        image = make_image(64, 32)
        image.planes[0].update(np.full((32, image.planes[0].line_size), level, np.uint8).tobytes())
        frames.append(make_frame(index, image=image))
    return FrameBatch(frames, (32, 64))


def test_a_runner_keeps_frames_and_letterboxes_and_tells_its_steps():
    batch, laps = batch_of(0, 255), []
    raw = runner_over(FakeBackend()).run(batch, lambda *lap: laps.append(lap))
    assert laps == [("preprocess", 2), ("infer", 2)]
    assert (raw.frames, raw.tensor_hw, [each.pad_xy for each in raw.letterboxes]) == (
        batch.frames,
        (32, 64),
        [(0, 0)] * 2,
    )
    dark, bright = (head() for head in raw.heads)
    assert len(dark.scores) == 0
    np.testing.assert_allclose(bright.boxes_xyxy, [[0, 0, 64, 32]])
    assert bright.class_ids.tolist() == [0]


def test_the_backend_s_error_passes():
    runner = runner_over(FakeBackend(fail_after=1))
    runner.run(batch_of(0))
    with pytest.raises(BackendError, match="told to fail"):
        runner.run(batch_of(0))
