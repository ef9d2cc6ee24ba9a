"""verify --precision: what it measures and keeps, and the one line that a later run says of it."""

import json

import click
import numpy as np
import pytest

from engine import EngineConfig
from engine.choices.precision import Processor
from engine.cli.group import commands
from engine.errors import ConfigError, InputError
from engine.inference import model as loading
from engine.inference.backends.fake import FakeBackend
from engine.verification.faster import Measured, remember, worth_telling
from engine.verification.verify_precision import verify_precision
from tests.e2e.runs import clip

HERE = Processor("Test 3000", "AuthenticAMD", frozenset({"avx512_bf16", "avx512_vnni"}))
KNOWN = Measured("ab" * 32, "bf16", "", "Test 3000", "a.mp4", 1200, 0.9876, 1.84)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("engine.verification.faster.processor", lambda: HERE)
    monkeypatch.setattr("engine.verification.verify_precision.processor", lambda: HERE)
    return tmp_path / "cache" / "yolo-engine" / "precision"


def test_it_is_told_once():
    remember(KNOWN)
    assert worth_telling(KNOWN.sha256) == (
        "Measured here: bf16 infers 1.8 times as fast as f32, and agreed with it by 0.988 (F1 at IoU 0.8) on 1,200 "
        "frames of a.mp4. Use it with --precision bf16"
    )
    assert worth_telling(KNOWN.sha256) is None
    remember(KNOWN)  # measured anew
    assert worth_telling(KNOWN.sha256) is not None


def test_the_fastest_is_told_and_its_file_named():
    remember(KNOWN)
    remember(KNOWN._replace(precision="int8", model="m.int8.onnx", times=2.5))
    assert worth_telling(KNOWN.sha256).endswith("Use it with --model m.int8.onnx --precision int8")
    assert worth_telling(KNOWN.sha256) is None


@pytest.mark.parametrize(
    "change", [{"processor": "Other"}, {"times": 1.05}, {"told": True}, {"sha256": "cd" * 32}, {"f1": float("nan")}]
)
def test_what_is_not_worth_telling(change):
    remember(KNOWN._replace(**change))
    assert worth_telling(KNOWN.sha256) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": 1}', "[" * 20_000, "\x00" * 20_000])
def test_a_damaged_record_is_none(cache, text):
    cache.mkdir(parents=True)
    (cache / f"{KNOWN.sha256}-bf16.json").write_text(text)
    assert worth_telling(KNOWN.sha256) is None


def test_a_cache_that_can_t_be_written_is_no_failure(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    remember(KNOWN)
    assert worth_telling(KNOWN.sha256) is None


class Shifted(FakeBackend):
    """The fake, with every box one pixel larger: another precision's answer."""

    name = "openvino"
    provider = "OpenVINO bf16"

    def run(self, tensor):
        output = super().run(tensor)
        output[..., 2] += 1 * (output[..., 4] > 0)
        return output


@pytest.fixture
def two(monkeypatch):
    """Engines of the fake backend, of which the one in bf16 gives boxes that are a pixel wider."""
    plain = loading.fake_model

    def fake(config):
        made = plain(config)
        if config.precision == "f32":
            return made._replace(sha256="ab" * 32)
        return made._replace(backend=Shifted(), precision=config.precision, sha256="ab" * 32)

    monkeypatch.setattr(loading, "fake_model", fake)


def test_what_is_measured_is_said_and_kept(tmp_path, two, cache):
    said = []
    video = clip(tmp_path / "a.mp4", 20, (128, 96))
    compared = verify_precision(EngineConfig(backend="fake", precision="bf16"), str(video), None, said.append)
    assert compared.frames == 20
    assert compared.tracks == (1, 1)
    assert compared.boxes_f1 == compared.tracks_f1 == 1.0  # one pixel of twenty: IoU 0.95
    assert said[0] == "20 frames in f32 and in bf16, on Test 3000:"
    assert said[1] == "  boxes   agree by 1.0000 (F1 at IoU 0.8, same class)"
    kept = json.loads((cache / f"{'ab' * 32}-bf16.json").read_text())
    assert (kept["frames"], kept["f1"], kept["told"], kept["model"]) == (20, 1.0, False, "")
    assert np.isclose(kept["times"], compared.times[0])


def test_frames_without_a_box_agree(tmp_path, two):
    config = EngineConfig(backend="fake", precision="bf16", conf=0.95)  # above what the fake scores
    compared = verify_precision(config, str(clip(tmp_path / "a.mp4", 5)), None, print)
    assert (compared.frames, compared.boxes_f1, compared.tracks) == (5, 1.0, (0, 0))


def test_int8_needs_the_float_model(tmp_path):
    video = clip(tmp_path / "a.mp4", 2)
    with pytest.raises(ConfigError, match="needs the float model to compare with: --against MODEL"):
        verify_precision(EngineConfig(backend="fake", precision="int8"), str(video), None, print)


def test_it_takes_one_file(tmp_path):
    config = EngineConfig(backend="fake", precision="bf16")
    with pytest.raises(InputError, match="takes a file"):
        verify_precision(config, "rtsp://camera/1", None, print)
    for name in ("a.mp4", "b.mp4"):
        clip(tmp_path / name, 2)
    with pytest.raises(InputError, match="takes one video"):
        verify_precision(config, str(tmp_path), None, print)


def test_against_is_for_a_precision(tmp_path):
    video = clip(tmp_path / "a.mp4", 2)
    with pytest.raises(click.UsageError, match="--against does nothing here: it is for --precision bf16 or int8"):
        commands(["verify", str(video), "--backend", "fake", "--against", "m.onnx"], standalone_mode=False)
