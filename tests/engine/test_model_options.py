"""What a configuration decides about a model is told once, at the start, with status 2; garbage stops the video."""

import itertools
import json
import os
import shlex
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.cli.commands.build_trt import scale_and_mean
from engine.config import EngineConfig
from engine.inference.model import load_model, resolved_model
from engine.inference.trt.build import BuildOptions, command_for
from engine.inference.trt.fed import Fed
from engine.inference.trt.find import fed_of
from engine.inference.trt.sidecar import write_plan
from engine.resume import fingerprint
from orchestrator.engine_process.probe import model_facts as model_of_a_job
from tests.assets import require_asset
from tests.engine.trt.conftest import RECORD
from tests.models import builders
from tests.models.builders import save

FED = ["--channel-order", "rgb", "--input-scale", "0.00392157"]


def uint8_model():
    graph = builders.Graph(dtype=TensorProto.UINT8)
    flat = graph.op("Reshape", "images", graph.const(np.array([1, 6, -1])))
    return graph.model(flat, (1, 6, 2048))


@pytest.mark.parametrize(
    ("model", "options", "part"),
    [
        (uint8_model, ["--layout", "yolov8"], "Pass `--input-scale 1`"),
        (builders.end2end, ["--layout", "end2end", *FED], "Name them with `--class-names"),
        (builders.yolox, ["--layout", "yolox"], "Say it with --channel-order rgb|bgr and --input-scale"),
        (builders.yolox, ["--layout", "yolox", *FED[:2], "--input-scale", "1,2,3"], "Say it with --input-mean,"),
        (builders.yolox, ["--layout", "yolox", "--input-scale", "1,2"], "input_scale must be a number, or three"),
        (builders.yolox, ["--layout", "yolox", "--input-mean", "a"], "input_mean must be a number, or three"),
        (builders.classifier, ["--layout", "yolov5"], "this is a classifier"),
    ],
)
def test_it_is_said_once_before_any_video(run, clip, tmp_path, model, options, part):
    path = save(model(), tmp_path / "m.onnx")
    (tmp_path / "videos").mkdir()
    for name in ("a", "b"):
        os.link(clip, tmp_path / "videos" / f"{name}.mp4")
    done = run("run", tmp_path / "videos", "-o", tmp_path / "out", "--model", path, *options)
    assert done.status == 2
    assert done.err.count("Error: ") == 1
    assert part in done.err
    assert not list((tmp_path).glob("out/*"))


def test_an_endless_device_for_a_model(run, clip, tmp_path):
    (tmp_path / "m.onnx").symlink_to("/dev/zero")
    done = run("run", clip, "-o", tmp_path / "out", "--model", tmp_path / "m.onnx")
    assert (done.status, done.err) == (
        2, f"Error: {tmp_path}/m.onnx: is not a regular file, but a device. Name the file itself.\n")  # fmt: skip


def test_a_model_with_three_scales_and_means_runs(run, clip, tmp_path):
    path = save(builders.yolov8(), tmp_path / "m.onnx")
    options = ["--input-scale", "0.0171,0.0175,0.0174", "--input-mean", "123.675,116.28,103.53"]
    done = run("run", clip, "-o", tmp_path / "out", "--model", path, "--layout", "yolov8", "--channel-order", "rgb",
               "--no-visualize", "--conf", "1", *options, "--json")  # fmt: skip
    assert done.status == 0, done.err
    config = json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]
    assert (config["input_scale"], config["input_mean"]) == ([0.0171, 0.0175, 0.0174], [123.675, 116.28, 103.53])


@pytest.mark.parametrize(
    ("options", "looked_at"),
    [
        ([], 10),
        (["--skip-frames", "3"], 10),
        (["--workers", "2", "--no-visualize"], 10),
        (["--skip-frames", "39"], 3),  # of 120 frames three are inferred: all there are
    ],
)
def test_an_output_that_is_not_decoded_stops(run, tmp_path, options, looked_at):
    """Looks like YOLOv5 and is not: its boxes are numbers from 0 to 1."""
    model, video = require_asset("models2/v5Lite-e-sim-320.onnx"), require_asset("videos/carphone_pristine.mp4")
    done = run("run", video, "-o", tmp_path / "out", "--model", model, "--layout", "yolov5", *FED, *options, "--json")
    (entry,) = json.loads(done.out)["videos"]
    assert (done.status, entry["status"], entry["outputs"]) == (1, "failed", {})
    assert f"does not look like layout yolov5: in the first {looked_at} frames with boxes all" in entry["error"]
    assert not list((tmp_path / "out").glob("carphone*"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Crowds, one person, an empty street: a frame in some seconds of each video, as it is decoded there."""
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("videos/people.mp4", "videos/one-by-one-person-detection.mp4", "videos2/street_brightness.avi"):
        path = require_asset(name)
        with av.open(str(path)) as source, av.open(str(folder / f"{path.stem}.mkv"), "w") as made:
            stream, shown = made.add_stream("ffv1", rate=25), source.streams.video[0]
            stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, shown.pix_fmt
            for number, frame in enumerate(itertools.islice(source.decode(shown), 0, None, 120)):
                frame.pts, frame.time_base = number, Fraction(1, 25)
                made.mux(stream.encode(frame))
            made.mux(stream.encode(None))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("model", [
    "models/yolox_nano.onnx", "models/yolov8n_int8.onnx", "models/yolov5n_fp16.onnx", "models2/yolo11n_int8.onnx",
    "models2/yolo26n_int8.onnx", "street-nano",
])  # fmt: skip
def test_models_that_are_read_rightly_raise_no_alarm(run, tmp_path, scenes, model):
    model = model if model == "street-nano" else require_asset(model)
    done = run("run", scenes, "-o", tmp_path / "out", "--model", model, "--no-visualize", "--json")
    assert [video["status"] for video in json.loads(done.out)["videos"]] == ["ok"] * 3, done.out


def test_boxes_without_area_are_counted(run, clip, tmp_path):
    """A box beside the picture in each frame, and none in it."""
    graph = builders.Graph()
    empty = graph.op("Mul", graph.op("ReduceMean", "images", axes=[1, 2, 3], keepdims=0), graph.const(np.float32(0)))
    rows = graph.const(np.array([[[-30, -30, -10, -10, 0.9, 0]] * 4], np.float32))
    path = save(graph.model(graph.op("Add", rows, empty), (1, 4, 6)), tmp_path / "m.onnx")
    done = run("run", clip, "-o", tmp_path / "out", "--model", path, "--layout", "end2end", "--class-names", "a", *FED,
               "--no-visualize", "--json")  # fmt: skip
    (entry,) = json.loads(done.out)["videos"]
    assert (entry["status"], entry["detections"], entry["boxes_without_area"]) == ("ok", 0, 4 * entry["frames"])


def test_other_weights_beside_a_model_are_another_model(tmp_path):
    """To a run that goes on, to a job and to `models info`."""
    path = tmp_path / "m.onnx"
    onnx.save(builders.yolox(), str(path), save_as_external_data=True, location="m.onnx.data", size_threshold=100)
    values = {"model": str(path), "layout": "yolox", "channel_order": "bgr", "input_scale": 1, "device": "cpu"}
    seen = []
    for _ in range(2):
        model = load_model(EngineConfig(**values), 1)
        model.backend.close()
        job = model_of_a_job(EngineConfig(**values))
        seen.append((fingerprint.of_run(EngineConfig(**values), model), job.sha256))
        assert model.sha256 == job.sha256
        content = bytearray((tmp_path / "m.onnx.data").read_bytes())
        content[7] ^= 1
        (tmp_path / "m.onnx.data").write_bytes(content)
    assert fingerprint.difference(seen[0][0], seen[1][0]) == "the model has"
    assert seen[0][1] != seen[1][1]


def test_a_plan_remembers_what_was_said_of_its_input(tmp_path):
    path = save(builders.yolox(), tmp_path / "m.onnx")
    plan = tmp_path / "m.plan"
    said = Fed((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), "rgb")
    write_plan(plan, b"a plan", replace(RECORD, model=str(path), layout="yolox", fed=said))
    assert fed_of(str(plan)) == said
    spec = resolved_model(EngineConfig(model=str(plan))).manifest.input
    assert (spec.scale, spec.mean, spec.channel_order) == (said.scale, said.mean, said.channel_order)
    spec = resolved_model(EngineConfig(model=str(plan), channel_order="bgr")).manifest.input
    assert (spec.scale, spec.channel_order) == (said.scale, "bgr")  # what is said now wins
    assert fed_of("street-nano") == Fed()


def test_coco80_names_the_classes(tmp_path):
    path = save(builders.dense(64, 80, 84), tmp_path / "m.onnx")
    values = {"model": str(path), "layout": "yolox", "channel_order": "bgr", "input_scale": 1, "class_names": "coco80"}
    assert len(resolved_model(EngineConfig(**values)).manifest.classes) == 80


def test_the_command_of_a_plan_says_what_was_said():
    options = BuildOptions("m.onnx", input_scale=(0.5, 0.25, 1e-07), input_mean=(1.0, 1.0, 1.0), channel_order="bgr")
    words = shlex.split(command_for(options, Path("m.plan"), SimpleNamespace(name="rtx"), "8.6", None))
    said = dict(zip(words[3::2], words[4::2], strict=True))
    assert (said["--input-scale"], said["--input-mean"]) == ("0.5,0.25,1e-07", "1.0,1.0,1.0")
    assert said["--channel-order"] == "bgr"
    again = scale_and_mean(said["--input-scale"], "1")  # one mean stands for all channels
    assert again == (options.input_scale, options.input_mean)
