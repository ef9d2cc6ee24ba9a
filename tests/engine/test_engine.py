"""The façade: what a Python caller sees."""

import subprocess
import sys

import numpy as np
import pytest

import engine as package
from engine import Engine, EngineConfig
from engine.errors import BackendMissing, ConfigError, InputError, ModelError, OutputError, VideoError
from engine.inference.backends.fake import FakeBackend
from engine.inference.model import load_model

FAKE = EngineConfig(backend="fake", visualize=False, workers=1, streams=1)


def fake_model(**backend):
    model = load_model(FAKE, 1)
    made = FakeBackend()
    for name, value in backend.items():
        setattr(made, name, value)
    return model._replace(backend=made)


def picture(height=128, width=128, box=None):
    image = np.zeros((height, width, 3), np.uint8)
    if box is not None:
        x1, y1, x2, y2 = box
        image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize(
    ("size_hw", "box"),
    [
        ((128, 128), (10, 20, 50, 60)),
        ((96, 128), (0, 0, 128, 96)),  # all of it
        ((256, 256), (64, 64, 128, 160)),
        ((720, 1280), (320, 160, 640, 480)),
        ((1280, 720), (160, 320, 480, 640)),
    ],
)
def test_detect(size_hw, box):
    with Engine(FAKE) as engine:
        found = engine.detect(picture(*size_hw, box))
    scale = max(*size_hw, 128) / 128
    np.testing.assert_allclose(found.boxes_xyxy, [box], atol=scale)  # a pixel of the model
    assert found.class_ids.tolist() == [0]
    np.testing.assert_allclose(found.scores, [0.9], rtol=1e-6)


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 500), (500, 1), (127, 129)])
def test_detect_takes_any_size_and_finds_nothing_in_the_dark(size_hw):
    found = Engine(FAKE).detect(picture(*size_hw))
    assert found.boxes_xyxy.shape == (0, 4)


def test_detect_takes_a_view():
    image = picture(128, 128, (10, 20, 50, 60))
    flipped = Engine(FAKE).detect(image[:, ::-1])
    np.testing.assert_allclose(flipped.boxes_xyxy, [(78, 20, 118, 60)], atol=1)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),  # gray
        np.zeros((64, 64, 4), np.uint8),  # with alpha
        np.zeros((3, 64, 64), np.uint8),  # channels first
        np.zeros((64, 64, 3), np.float32),
        np.zeros((1, 64, 64, 3), np.uint8),  # a batch
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_detect_refuses(image):
    with pytest.raises(ValueError, match=r"image_rgb must be \(H, W, 3\) uint8\. Got \("):
        Engine(FAKE).detect(image)


def test_unknown_class():
    with pytest.raises(ConfigError) as caught:
        Engine(FAKE.updated(classes="square,circel"))
    assert str(caught.value) == "classes must be names that the model fake knows: square. Got 'circel'."
    with pytest.raises(ConfigError, match="Did you mean 'square'"):
        Engine(FAKE.updated(classes=["sqare"]))


@pytest.mark.parametrize(
    ("wanted", "remedy"),
    [
        (
            "person,dog",
            "Got 'dog'. The model yolox-nano knows it, one of 80 classes: `yolo-engine models pull",
        ),
        ("cat", "Got 'cat'. The model yolox-nano knows it"),  # a name that is known elsewhere is no slip for car
        ("cra", "Got 'cra'. Did you mean 'car'?"),
        ("dragon", "Got 'dragon'."),
    ],
)
def test_a_class_that_the_default_model_does_not_know(wanted, remedy):
    with pytest.raises(ConfigError) as caught:
        Engine(EngineConfig(classes=wanted))
    assert remedy in str(caught.value)
    assert "the model street-nano knows: person, bicycle, car, motorcycle, bus, truck." in str(caught.value)


def test_class_mask():
    model = load_model(FAKE, 1)
    three = model._replace(manifest=model.manifest._replace(classes=("a", "b", "a")))
    assert three.class_mask(None) is None
    assert three.class_mask(("a",)).tolist() == [True, False, True]
    assert three.class_mask(("b", "a")).dtype == np.bool_


def test_a_model_that_mixes_a_batch_runs_at_batch_1():
    unsafe = fake_model(batch_safe=False)
    assert Engine(FAKE, model=unsafe).batch == 1
    assert Engine(FAKE.updated(batch=1), model=unsafe).batch == 1
    with pytest.raises(ConfigError, match=r"batch must be 1 for fake: .* Got 4\."):
        Engine(FAKE.updated(batch=4), model=unsafe)


@pytest.mark.parametrize(("on_gpu", "given", "batch"), [(False, None, 1), (True, None, 8), (True, 3, 3), (False, 5, 5)])
def test_batch_size(on_gpu, given, batch):
    assert Engine(FAKE.updated(batch=given), model=fake_model(on_gpu=on_gpu)).batch == batch


@pytest.mark.parametrize(
    ("values", "error", "part"),
    [
        ({"backend": "fake", "device": "cuda"}, BackendMissing, "fake runs on the CPU"),
        ({"model": "yolox-nan"}, ModelError, "did you mean yolox-nano"),
        ({"model": "none.onnx"}, ModelError, "there is no such file"),
        ({"model": "yolox-nano"}, ModelError, "yolo-engine models pull yolox-nano"),  # the cache is empty
    ],
)
def test_what_can_t_be_loaded(values, error, part):
    with pytest.raises(error) as caught:
        Engine(EngineConfig(**values))
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "device", "part"),
    [
        ("tensorrt", "cpu", "--backend tensorrt was requested, but it needs a GPU, and --device is cpu"),
        ("openvino", "cuda:1", "--device cuda:1 was requested, but --backend openvino runs on the CPU"),
        ("native", "cuda", "--device cuda was requested, but --backend native runs on the CPU"),
    ],
)
def test_a_backend_that_is_not_there(name, device, part):
    with pytest.raises(BackendMissing, match=part):
        Engine(EngineConfig(backend=name, device=device))


def test_run(clip, tmp_path):
    with Engine(FAKE.updated(formats="tracks,mot,detections")) as engine:
        summary = engine.run([clip], output=tmp_path / "out")
    assert summary["success"] is True
    (video,) = summary["videos"]
    assert (video["status"], video["frames"], video["inferred_frames"], video["tracks"]) == ("ok", 12, 12, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "manifest.json", "square.detections.jsonl", "square.mot.txt", "square.tracks.jsonl",
    ]  # fmt: skip
    assert set(video["outputs"]) == {"tracks", "mot", "detections"}


def test_run_takes_one_path_alone(clip, tmp_path):
    for given in (str(clip), clip):
        assert Engine(FAKE).run(given, output=tmp_path / "out")["totals"]["frames"] == 12


def test_run_refuses(clip, tmp_path):
    engine = Engine(FAKE)
    with pytest.raises(InputError, match=r"none\.mp4 does not exist"):
        engine.run([tmp_path / "none.mp4"], output=tmp_path / "out")
    with pytest.raises(InputError, match="No video in no inputs"):
        engine.run([], output=tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written: "):
        engine.run([clip], output=tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="is an input and would be overwritten"):
        Engine(FAKE.updated(visualize=True)).run([clip], output=clip.parent)


def test_stream_gives_each_frame_and_may_be_left(clip):
    engine = Engine(FAKE.updated(skip_frames=True))
    tracks = list(engine.stream(clip))
    assert [each.frame.index for each in tracks] == list(range(12))
    assert [each.detections is not None for each in tracks] == [True, False] * 6
    for each in engine.stream(clip):
        assert each.frame.index == 0
        break
    assert [each.frame.index for each in engine.stream(clip)] == list(range(12))


def test_stream_of_nothing(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        next(Engine(FAKE).stream(tmp_path / "none.mp4"))
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    with pytest.raises(VideoError, match=r"bad\.mp4 can't be opened: "):
        next(Engine(FAKE).stream(tmp_path / "bad.mp4"))


@pytest.mark.parametrize(
    ("imports", "absent"),
    [
        ("engine", "celery redis av numpy onnx onnxruntime pydantic rich click"),
        ("engine.cli.main", "click logging"),
        (
            "engine.cli.group",
            "celery redis av numpy onnx onnxruntime pydantic rich ssl urllib.request logging engine.cli.run",
        ),
        (
            "engine.cli.run",
            "celery redis av numpy onnx pydantic rich logging dataclasses engine.cli.group engine.cli.find",
        ),
        ("engine.engine", "celery redis onnx onnxruntime rich http.client"),
        (
            "engine.cli.commands.run",
            "celery redis onnx onnxruntime http.client engine.alarms engine.analytics.scene engine.pipeline.recording "
            "engine.profiling.bottleneck engine.sinks.blur engine.sinks.crops engine.sinks.store engine.sinks.video "
            "engine.inference.gpu.frames engine.verification.verify",
        ),
    ],
)
def test_imports_stay_light(imports, absent):
    """--help answers at once, the engine needs no Celery, and a plain run starts without what it does not do."""
    code = f"import {imports}, sys; print([name for name in {absent.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_options_are_read_before_anything_is_loaded():
    """What a command loads, it loads with the garbage collector off, and NumPy first."""
    read = "from engine.cli.run import run; run.make_context('run', ['a.mp4'])"
    code = f"import sys; {read}; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"


def test_names_of_the_package():
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'engine' has no attribute 'nothing'"):
        _ = package.nothing
