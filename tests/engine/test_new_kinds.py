"""What is added: a sink, a layout, a backend, a tracker, each a file of its own and one line of a registry."""

import dataclasses

import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.choices.backends import BACKENDS, BackendKind
from engine.choices.formats import FORMATS, RowFormat
from engine.errors import BackendMissing, ConfigError
from engine.inference import layouts, select
from engine.inference.backends.base import CpuModel, OnGpu
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.backends.onnxruntime import OnnxRuntimeBackend
from engine.inference.model import LoadedModel, load_model
from engine.inference.tensor_shape import TensorShape
from engine.inference.trt.gpu import Gpu
from engine.sinks.rows import RowSink
from engine.trackers.registry import TRACKERS, TrackerKind

FAKE = EngineConfig(backend="fake", visualize=False, workers=1, streams=1)


class Counts(RowSink):
    """A sink: how many tracks each frame has."""

    kind = "counts"

    def rows(self, tracks):
        return b"%d %d\n" % (tracks.frame.index, len(tracks)), 1


def test_a_sink(monkeypatch, clip, tmp_path):
    monkeypatch.setitem(FORMATS, "counts", RowFormat(".counts.txt", f"{__name__}:Counts"))
    with Engine(FAKE.updated(formats="counts")) as engine:
        (video,) = engine.run([clip], tmp_path)["videos"]
    assert set(video["outputs"]) == {"counts"}
    rows = (tmp_path / "square.counts.txt").read_text().splitlines()
    assert [row.split()[0] for row in rows] == [str(index) for index in range(12)]


def test_a_sink_that_there_is_not():
    with pytest.raises(ConfigError, match=r"^formats must be one of 'tracks', 'mot' or 'detections'. Got 'counts'.$"):
        EngineConfig(formats="counts")


@dataclasses.dataclass(frozen=True)
class Corners:
    """A layout: (batch, 5, detections), x1 y1 x2 y2 score in columns."""

    name: str = "corners"
    needs_nms: bool = False

    def decode(self, output, input_hw, conf, class_mask=None):
        kept = output[4] >= conf
        boxes = np.ascontiguousarray(output[:4, kept].T)
        return boxes, output[4, kept], np.zeros(len(boxes), np.int32)


class Turned(FakeBackend):
    """The fake backend's rows, as columns."""

    def run(self, tensor):
        return np.ascontiguousarray(super().run(tensor)[:, :, :5].transpose(0, 2, 1))


def test_a_layout(monkeypatch, clip, tmp_path):
    monkeypatch.setattr(layouts, "LAYOUTS", {**layouts.LAYOUTS, "corners": Corners()})
    shape = TensorShape((128, 128), 32, rect=True)
    manifest = fake_manifest()._replace(layout="corners")
    model = LoadedModel(manifest, Turned(), layouts.get_layout("corners"), shape, "")
    for name, each in (("a", load_model(FAKE, 1)), ("b", model)):
        with Engine(FAKE, model=each) as engine:
            assert engine.run([clip], tmp_path / name)["totals"]["detections"] == 12
    assert (tmp_path / "a" / "square.tracks.jsonl").read_bytes() == (
        tmp_path / "b" / "square.tracks.jsonl"
    ).read_bytes()


class Counting:
    """A backend: ONNX Runtime on a CPU, and how often it was asked."""

    name, provider, on_gpu = "counting", "fingers", False
    calls = 0

    def __init__(self, model):
        self._inner = OnnxRuntimeBackend(model.path, "cpu", batch_safe=model.batch_safe)
        self.input_dtype, self.batch_safe, self.fixed_hw = (
            self._inner.input_dtype,
            self._inner.batch_safe,
            self._inner.fixed_hw,
        )

    def run(self, tensor):
        type(self).calls += 1
        return self._inner.run(tensor)

    def close(self):
        self._inner.close()


def test_a_backend(monkeypatch, clip, tmp_path):
    monkeypatch.setitem(BACKENDS, "counting", BackendKind(f"{__name__}:Counting"))
    found = {}
    for name in ("counting", "onnxruntime"):
        with Engine(EngineConfig(backend=name, visualize=False, workers=1, streams=1)) as engine:
            summary = engine.run([clip], tmp_path / name)
        assert summary["backend"]["name"] == name
        found[name] = (tmp_path / name / "square.tracks.jsonl").read_bytes()
    assert found["counting"] == found["onnxruntime"]
    assert summary["videos"][0]["frames"] == 12
    assert Counting.calls == 12
    with pytest.raises(BackendMissing, match=r"--device cuda was requested, but --backend counting runs on the CPU"):
        Engine(EngineConfig(backend="counting", device="cuda"))


class Card(Counting):
    """A backend: the same on a card, which there is none of."""

    name, provider = "card", "thumbs"


def on_card(model):
    if model.gpu is None:
        raise BackendMissing("no card answers")
    card = Card(CpuModel(model.freed.path, model.config.model, (128, 128), model.workers, model.freed.batch_safe))
    return OnGpu(card, f"{model.gpu.name} is a good one" + (", and was named" if model.named else ""))


def test_a_backend_on_a_gpu(monkeypatch):
    """It has its turn before those that there are, and is told of like them."""
    monkeypatch.setitem(BACKENDS, "card", BackendKind(gpu=f"{__name__}:on_card", turn=0, title="a card"))
    monkeypatch.setattr(select, "find_gpu", lambda number: Gpu("Fake 3080", "8.6") if number < 2 else None)
    settings = {"visualize": False, "workers": 1, "streams": 1}
    for backend, device, why in (
        ("auto", "auto", "Fake 3080 is a good one"),
        ("auto", "cuda:1", "Fake 3080 is a good one"),
        ("card", "auto", "Fake 3080 is a good one, and was named"),
    ):
        with Engine(EngineConfig(backend=backend, device=device, **settings)) as engine:
            number = device.partition(":")[2] or "0"
            assert (engine.model.backend.name, engine.model.device) == ("card", f"cuda:{number}")
            assert engine.model.why == why
    with pytest.raises(BackendMissing, match=r"^no card answers$"):
        Engine(EngineConfig(backend="card", device="cuda:2", **settings))
    with pytest.raises(BackendMissing, match=r"--backend card was requested, but it needs a GPU, and --device is cpu"):
        Engine(EngineConfig(backend="card", device="cpu", **settings))
    monkeypatch.setitem(BACKENDS, "card", BackendKind(gpu=f"{__name__}:on_card", title="a card"))
    with Engine(EngineConfig(**settings)) as engine:
        assert engine.model.backend.name != "card", "without a turn it is to be named"


def test_a_backend_that_there_is_not():
    with pytest.raises(ConfigError, match=r"^backend must be one of 'auto', 'native', .* or 'fake'. Got 'counting'.$"):
        EngineConfig(backend="counting")


def test_a_tracker(monkeypatch, clip, tmp_path):
    """Its kernel is a file in engine_ext; this one is there already."""
    patient = {"max_age": 100, "min_hits": 1, "iou_threshold": 0.3}
    kind = TrackerKind("patient", "Patient", "sort.SortTracker", patient, lambda _: False, "Waits for long.")
    monkeypatch.setitem(TRACKERS, "patient", kind)
    config = FAKE.updated(tracker="patient")
    assert (config.max_age, config.min_hits) == (100, 1)
    with Engine(config) as engine:
        (video,) = engine.run([clip], tmp_path)["videos"]
    assert video["tracks"] == 1
