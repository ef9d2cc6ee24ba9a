import numpy as np
import pytest

from engine.errors import BackendError, LinkError
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.layouts import get_layout
from engine.records import TensorBatch
from engine.stage import link
from engine.stages.infer import Infer
from engine.stages.postprocess import Postprocess
from engine.stages.preprocess import Preprocess


def postprocess(layout):
    return Postprocess(get_layout(layout), conf=0.25, nms_iou=0.5, max_detections=10)


def test_specs_follow_the_backend():
    backend = FakeBackend()
    backend.input_dtype, backend.fixed_hw = "float16", (416, 416)
    stage = Infer(backend, "yolov8")
    assert (stage.accepts.record, stage.accepts.dtype, stage.accepts.channels) == ("TensorBatch", "float16", 3)
    assert stage.accepts.tensor_hw == (416, 416)
    assert (stage.produces.record, stage.produces.layout) == ("RawOutputs", "yolov8")


def test_a_line_that_fits_links_and_others_don_t():
    spec = fake_manifest().input
    infer = Infer(FakeBackend(), "end2end")
    link([Preprocess(spec, "float32"), infer, postprocess("end2end")])
    with pytest.raises(LinkError, match=r"preprocess can't feed infer: dtype float16 against float32\."):
        link([Preprocess(spec, "float16"), infer])
    with pytest.raises(LinkError, match=r"infer can't feed postprocess: layout end2end against yolox\."):
        link([infer, postprocess("yolox")])


def test_process_keeps_frames_and_letterboxes():
    batch = TensorBatch(["a", "b"], np.zeros((2, 3, 32, 64), np.float32), ["x", "y"])
    batch.tensor[1, :, 4:8, 10:30] = 1.0
    raw = Infer(FakeBackend(), "end2end").process(batch)
    assert (raw.frames, raw.letterboxes, raw.tensor_hw) == (["a", "b"], ["x", "y"], (32, 64))
    np.testing.assert_allclose(raw.output, [[[0] * 6], [[10, 4, 30, 8, 0.9, 0]]], rtol=1e-6)


def test_the_backend_s_error_passes():
    stage = Infer(FakeBackend(fail_after=1), "end2end")
    batch = TensorBatch([], np.zeros((1, 3, 32, 32), np.float32), [])
    stage.process(batch)
    with pytest.raises(BackendError, match="told to fail"):
        stage.process(batch)
