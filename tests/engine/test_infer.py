import numpy as np
import pytest

from engine.errors import BackendError
from engine.inference.backends.fake import FakeBackend
from engine.records import TensorBatch
from engine.stages.infer import Infer


def test_process_keeps_frames_and_letterboxes():
    batch = TensorBatch(["a", "b"], np.zeros((2, 3, 32, 64), np.float32), ["x", "y"])
    batch.tensor[1, :, 4:8, 10:30] = 1.0
    raw = Infer(FakeBackend()).process(batch)
    assert (raw.frames, raw.letterboxes, raw.tensor_hw) == (["a", "b"], ["x", "y"], (32, 64))
    np.testing.assert_allclose(raw.output, [[[0] * 6], [[10, 4, 30, 8, 0.9, 0]]], rtol=1e-6)


def test_the_backend_s_error_passes():
    stage = Infer(FakeBackend(fail_after=1))
    batch = TensorBatch([], np.zeros((1, 3, 32, 32), np.float32), [])
    stage.process(batch)
    with pytest.raises(BackendError, match="told to fail"):
        stage.process(batch)
