"""The way of frames over the GPU: planes up, letterbox, plan, filter of heads, candidates down. Against the CPU's way.

The kernels are the CUDA source compiled for the CPU (emulator), which gives the CPU's bits.
"""

import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.errors import BackendError, DecodeError
from engine.inference.backends.base import frame_backend
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.gpu.filters import Filters
from engine.inference.gpu.frames import PlaneBatch, frame_planes
from engine.inference.layouts import get_layout
from engine.inference.letterbox import LetterboxSpec
from engine.inference.model import LoadedModel
from engine.inference.tensor_shape import TensorShape
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar import Tensor
from engine.records import FrameBatch
from engine.stages.preprocess import Preprocess
from engine.stages.preprocess_gpu import PreprocessOnGpu
from models.manifest import InputSpec
from tests.engine.conftest import make_frame, make_image, write_clip
from tests.engine.gpu.fakecuda import LaunchError, MemoryError
from tests.engine.gpu.fakemachine import FakeMachine

SPEC = InputSpec(height=64, width=96, scale=1 / 255, pad_value=114.0)
HW = (64, 96)


@pytest.fixture
def machine(tmp_path):
    machine = FakeMachine(tmp_path, kernels=True)
    yield machine
    machine.check()


def frames(count, seed=0, size=(100, 75), pixel_format="yuv420p"):
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        image = make_image(*size, pixel_format)
        for plane in image.planes:
            plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
        found.append(make_frame(index, image=image))
    return found


def on_cpu(batch, backend):
    return backend.run(Preprocess(SPEC, "float32").process(batch).tensor)


def on_gpu(batch, backend, filters=None):
    return backend.run_frames(PreprocessOnGpu(SPEC, "float32").process(batch).tensor, filters)


def some_frames():
    """Of several sizes and formats in one batch."""
    return [
        *frames(2, 1),
        *frames(1, 2, (64, 64), "nv12"),
        *frames(1, 3, (33, 77), "rgb24"),
        *frames(1, 4, (97, 31), "gray"),
        *frames(1, 5, (101, 75), "yuvj420p"),
    ]


@pytest.mark.parametrize("batch", [4, 8])
def test_outputs_are_the_cpus(machine, batch):
    backend = machine.make(batch=batch, lanes=1)
    assert frame_backend(backend) is backend
    record = FrameBatch(some_frames(), HW)
    answers = on_gpu(record, backend)
    np.testing.assert_array_equal(np.stack(answers), on_cpu(record, backend))
    backend.close()


def test_planes_grow_and_are_used_again(machine):
    backend = machine.make(batch=4, lanes=1)
    for size in [(64, 48), (640, 480), (64, 48), (800, 600)]:
        record = FrameBatch(frames(3, size[0], size), HW)
        np.testing.assert_array_equal(np.stack(on_gpu(record, backend)), on_cpu(record, backend))
    backend.close()


@pytest.mark.parametrize("conf", [0.0, 0.055, 0.0625, 0.9])
@pytest.mark.parametrize("mask", [None, [True, False], [False, False]])
def test_candidates_are_what_the_layout_decodes(machine, conf, mask):
    mask = None if mask is None else np.array(mask)
    backend = machine.make(batch=4, lanes=1)
    filters = backend.head_filters(conf, mask)
    record = FrameBatch(some_frames(), HW)
    outputs = on_cpu(record, backend)
    for output, found in zip(outputs, on_gpu(record, backend, filters), strict=True):
        assert isinstance(found, tuple)
        for got, expected in zip(found, get_layout("yolov5").decode(output, HW, conf, mask), strict=True):
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == expected.dtype
    backend.close()


def test_more_candidates_than_there_is_room_for(machine, monkeypatch):
    """Nothing is dropped: that image's whole output comes back, the others as they were."""
    monkeypatch.setattr(Filters, "capacity", 4)
    backend = machine.make(batch=4, lanes=1)
    filters = backend.head_filters(0.055, None)
    record = FrameBatch(some_frames(), HW)
    outputs, answers = on_cpu(record, backend), on_gpu(record, backend, filters)
    passed = [len(get_layout("yolov5").decode(output, HW, 0.055)[1]) for output in outputs]
    assert min(passed) <= 4 < max(passed)
    for output, count, found in zip(outputs, passed, answers, strict=True):
        if count > 4:
            np.testing.assert_array_equal(found, output)
        else:
            assert len(found[1]) == count
    backend.close()


def test_a_class_mask_that_does_not_fit(machine):
    """The CPU says what is wrong with it, as ever."""
    backend = machine.make()
    answers = on_gpu(FrameBatch(frames(1), HW), backend, backend.head_filters(0.1, np.ones(5, bool)))
    assert isinstance(answers[0], np.ndarray)
    backend.close()


def test_no_memory_for_planes(machine):
    backend = machine.make(batch=4, lanes=1)
    machine.driver.fail("mem_alloc", MemoryError("cuMemAlloc failed: out of memory"))
    record = FrameBatch(frames(2), HW)
    with pytest.raises(BackendError, match=r"batches of 2 at 64x96 \(.* wanted, .* free\)\. Try --batch 1"):
        on_gpu(record, backend)
    assert len(on_gpu(record, backend)) == 2  # when there is room again
    backend.close()


def test_a_kernel_that_fails(machine):
    backend = machine.make(lanes=1)
    machine.driver.fail("launch", LaunchError("cuLaunchKernel failed: launch failed"))
    with pytest.raises(BackendError, match="CUDA failed while inferring: cuLaunchKernel failed"):
        on_gpu(FrameBatch(frames(2), HW), backend)
    backend.close()


def test_no_memory_for_kernels(machine):
    machine.load_kernels = lambda driver, capability: (_ for _ in ()).throw(MemoryError("out of memory"))
    with pytest.raises(BackendError, match="Fake 3080 has too little memory for the kernels"):
        machine.make()


def test_without_a_compiler(tmp_path, caplog):
    machine = FakeMachine(tmp_path)
    backend = machine.make()
    assert frame_backend(backend) is None
    assert "Frames are prepared on the CPU: no compiler here" in caplog.text
    assert backend.head_filters(0.5, None) is None  # nothing to filter with
    backend.close()
    machine.check()


SHAPED = LetterboxSpec((64, 48), (64, 96), "yuv420p", "float32")


@pytest.mark.parametrize(
    ("shapes", "part"),
    [
        ([(48, 64), (24, 32)], "yuv420p has 3 planes. Got 2."),
        (
            [(48, 63), (24, 32), (24, 32)],
            "plane 0 of a 64x48 yuv420p frame must be 48 rows of at least 64 bytes. Got 48",
        ),
        (
            [(48, 64), (24, 32), (23, 32)],
            "plane 2 of a 64x48 yuv420p frame must be 24 rows of at least 32 bytes. Got 23",
        ),
    ],
)
def test_planes_that_are_none(shapes, part):
    with pytest.raises(ValueError, match="plane") as caught:
        frame_planes(SHAPED, [np.zeros(shape, np.uint8) for shape in shapes])
    assert part in str(caught.value)


def test_a_frame_that_can_not_be_read():
    with pytest.raises(DecodeError, match="gives frames that can't be read"):
        PreprocessOnGpu(SPEC, "float32").process(FrameBatch(frames(1, pixel_format="yuv422p"), HW))


def test_lines_may_be_longer_than_the_picture():
    """Decoders pad lines. What lies beyond is not sent."""
    plane = np.arange(48 * 80, dtype=np.uint32).astype(np.uint8).reshape(48, 80)
    chroma = np.zeros((24, 40), np.uint8)
    frame = frame_planes(SHAPED, [plane, chroma, chroma])
    assert frame.pitches == [64, 32, 32]
    out = np.zeros(sum(frame.sizes), np.uint8)
    frame.copy_to(out)
    np.testing.assert_array_equal(out[: 48 * 64].reshape(48, 64), plane[:, :64])
    assert PlaneBatch([frame] * 2, HW).shape == (2, 3, 64, 96)


def test_a_whole_run_gives_the_cpus_files(tmp_path):
    """Decoding to tracks, with several workers and streams: byte for byte."""
    clips = [write_clip(tmp_path / f"{name}.mp4", frames=20 + 5 * number) for number, name in enumerate("abc")]
    profile = Profile((1, 3, 32, 32), (4, 3, 128, 128), (4, 3, 128, 128))
    machine = FakeMachine(
        tmp_path,
        compute=FakeBackend().run,
        kernels=True,
        profile=profile,
        layout="end2end",
        outputs=(Tensor("output", "float32", (-1, 1, 6)),),
    )
    config = EngineConfig(backend="fake", visualize=False, workers=3, batch=4, streams=3, formats="tracks,detections")
    with Engine(config) as engine:
        expected = engine.run(clips, output=tmp_path / "cpu")
    backend = machine.make(batch=4, lanes=2)
    manifest = fake_manifest()
    shape = TensorShape((128, 128), 32, rect=True)
    model = LoadedModel(manifest, backend, get_layout("end2end"), shape, "", None, "cuda:0", "a test")
    with Engine(config, model=model) as engine:
        summary = engine.run(clips, output=tmp_path / "gpu")
    assert summary["success"] is True
    assert summary["totals"]["detections"] == expected["totals"]["detections"] > 0
    backend_said = summary["backend"]
    assert backend_said["gpu_s"].keys() == {"upload", "compute", "download"}
    assert {key: backend_said[key] for key in ("name", "device", "why")} == {
        "name": "tensorrt", "device": "cuda:0", "why": "a test",
    }  # fmt: skip
    names = sorted(path.name for path in (tmp_path / "cpu").glob("*.jsonl"))
    assert len(names) == 6
    for name in names:
        assert (tmp_path / "gpu" / name).read_bytes() == (tmp_path / "cpu" / name).read_bytes()
    machine.check()


def test_engines_that_share_a_model_filter_each_by_its_own_configuration(tmp_path):
    """Making the second one changes nothing of the first."""
    machine = FakeMachine(tmp_path, kernels=True, layout="yolov5")
    backend = machine.make()
    manifest = fake_manifest(64, 96)._replace(layout="yolov5", classes=("a", "b"))
    model = LoadedModel(manifest, backend, get_layout("yolov5"), TensorShape(HW, 32, rect=True), "")
    image = frames(1, size=(96, 64), pixel_format="rgb24")[0].image.to_ndarray()
    config = EngineConfig(backend="fake", visualize=False, nms_iou=1.0)
    lenient = Engine(config.updated(conf=0.055), model=model)
    found = len(lenient.detect(image))
    strict = Engine(config.updated(conf=1.0), model=model)
    assert len(strict.detect(image)) == 0
    assert len(lenient.detect(image)) == found > 0
    backend.close()
    machine.check()


def test_a_run_ends_when_the_gpu_fails(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", frames=30)
    profile = Profile((1, 3, 32, 32), (4, 3, 128, 128), (4, 3, 128, 128))
    machine = FakeMachine(tmp_path, compute=FakeBackend().run, kernels=True, profile=profile, layout="end2end")
    machine.driver.fail("execute_async_v3", LaunchError("cuLaunchKernel failed: launch timeout"), after=3)
    shape = TensorShape((128, 128), 32, rect=True)
    model = LoadedModel(fake_manifest(), machine.make(batch=4), get_layout("end2end"), shape, "")
    # One worker: of two, the other may be the first to tell, in other words, that the GPU failed before.
    config = EngineConfig(backend="fake", visualize=False, batch=4, workers=1)
    with Engine(config, model=model) as engine:
        summary = engine.run([clip], output=tmp_path / "out")
    (video,) = summary["videos"]
    assert video["status"] in ("failed", "partial")
    # Which call meets it first is a matter of time: it may be one behind the launch.
    assert "CUDA failed while inferring: " in video["error"]
    assert "cuLaunchKernel failed: launch timeout" in video["error"]
    machine.check()
