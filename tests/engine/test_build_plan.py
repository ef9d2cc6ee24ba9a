"""`build_plan`: a run begins with what is there, and changes over to a plan that is built beside it."""

from __future__ import annotations

import json
import logging
import os
import sys
from fractions import Fraction
from pathlib import PurePosixPath

import click
import pytest

from engine import EngineConfig
from engine.cli.group import commands as engine_commands
from engine.cli.trt import build_trt
from engine.errors import PlanError
from engine.inference.backends.fake import FakeBackend
from engine.inference.trt import aside
from engine.inference.trt.aside import PlanAside
from engine.media.inputs import Video
from engine.pipeline.assignment import Assignment
from engine.records import Frame, FrameBatch, RawOutputs
from engine.stages.infer import ChangingRunner
from models.registry import DEFAULT_MODEL
from tests.e2e.runs import clip, fake_engine
from tests.engine.gpu.test_choose import GPU, engine_of, machine, write  # noqa: F401 - a fixture
from tests.waiting import until

FRAMES = 120


class Plan(FakeBackend):
    """Stands for the plan: finds the same, and says that it was it."""

    name, provider = "tensorrt", "a plan"

    def __init__(self, **facts):
        super().__init__(delay_s=0.002)
        self.closed = False
        for name, value in facts.items():
            setattr(self, name, value)

    def close(self) -> None:
        self.closed = True


def outputs(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos").mkdir()
    for number in range(2):
        clip(tmp_path / "videos" / f"{number}.mp4", FRAMES, seed=number)
    return tmp_path / "videos"


def test_each_video_changes_over_once_and_says_where(tmp_path, videos):
    plan = Plan()
    with fake_engine(build_plan=True, delay_s=0.02, workers=2, batch=2, streams=2) as engine:

        def change(streams):
            if not plan.calls and any(stream.frames > 20 for stream in streams):
                engine.change_over(plan)

        summary = engine.run([videos], tmp_path / "out", progress=change)
        assert not plan.closed
    assert plan.closed
    for video in summary["videos"]:
        first, second = video["inferred_by"]
        assert (first, second["provider"]) == ({"from_frame": 0, "provider": "fake"}, "a plan")
        assert 0 < second["from_frame"] < FRAMES
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [video["inferred_by"] for video in manifest["videos"]] == [v["inferred_by"] for v in summary["videos"]]
    with fake_engine() as engine:
        whole = engine.run([videos], tmp_path / "whole")
    assert "inferred_by" not in whole["videos"][0]
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


@pytest.mark.parametrize("stopped", ["before the change", "behind it"])
def test_a_run_goes_on_in_either_state(tmp_path, videos, stopped):
    """The next run finds the plan, or builds it once more."""
    video, out = videos / "0.mp4", tmp_path / "out"
    assignment = Assignment(Video(str(video), PurePosixPath("0")), job="job")
    with fake_engine(build_plan=True, delay_s=0.005, checkpoint_s=0.0) as engine:
        if stopped == "behind it":
            engine.change_over(Plan())

        def stop(streams):
            if any(stream.frames > 30 for stream in streams):
                engine.stop(hand_over=True)

        engine.work([assignment], out, done=lambda *_: None, progress=stop)
    entries = []
    with fake_engine(build_plan=True) as engine:
        if stopped == "before the change":
            engine.change_over(Plan())
        engine.work([assignment], out, done=lambda _, entry: entries.append(entry))
    (entry,) = entries
    assert entry["resumed_from"] > 0, entry
    names = ["fake", "a plan"] if stopped == "before the change" else ["a plan", "fake"]
    assert [each["provider"] for each in entry["inferred_by"]] == names
    assert [each["from_frame"] for each in entry["inferred_by"]] == [0, entry["resumed_from"]]
    with fake_engine() as engine:
        engine.run([video], tmp_path / "whole")
    assert outputs(out) == outputs(tmp_path / "whole")


@pytest.mark.parametrize(
    ("facts", "config", "why"),
    [({"fixed_hw": (64, 64)}, {}, "takes images of 64x64 only"), ({"batch_safe": False}, {"batch": 2}, "whole batch")],
)
def test_a_plan_that_does_not_fit_is_not_used(facts, config, why):
    plan = Plan(**facts)
    with fake_engine(build_plan=True, **config) as engine, pytest.raises(PlanError, match=why):
        engine.change_over(plan)
    assert plan.closed


class Echo:
    def __init__(self, name):
        self.name = name

    def run(self, batch, lap=None):
        heads = [(self.name, frame.index) for frame in batch.frames]
        return RawOutputs(batch.frames, heads, batch.tensor_hw, list(heads))


def frames(*numbers, stream=0):
    return [Frame(stream, number, number, 1, Fraction(1), None) for number in numbers]


def test_frames_that_come_late_are_still_the_first_ones():
    runner = ChangingRunner(Echo("one"), "one")
    runner.run(FrameBatch(frames(0, 1, 5), (1, 1)))
    runner.change(Echo("two"), "two")
    batch = FrameBatch([*frames(7, 3, 6, 5), *frames(0, stream=1)], (1, 1))
    raw = runner.run(batch)
    assert raw.frames == batch.frames
    assert raw.heads == raw.letterboxes == [("two", 7), ("one", 3), ("two", 6), ("one", 5), ("two", 0)]
    assert [frame.inferred_by for frame in raw.frames] == ["two", "one", "two", "one", "two"]
    runner.forget()
    assert runner.run(FrameBatch(frames(0), (1, 1))).heads == [("two", 0)]


# -- the build --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "config", "why"),
    [
        ("tensorrt", {}, "there is one"),
        ("native", {"device": "cpu"}, "--device is cpu"),
        ("native", {"precision": "bf16"}, "is that of CPUs"),
        ("onnxruntime", {}, None),
    ],
)
def test_when_a_plan_is_built(monkeypatch, backend, config, why):
    monkeypatch.setattr(aside, "find_gpu", lambda number: GPU)
    found = aside.why_not(EngineConfig(**config), backend)
    assert (found is None) if why is None else (why in found)
    monkeypatch.setattr(aside, "find_gpu", lambda number: None)
    assert aside.why_not(EngineConfig(), "native") == "no NVIDIA GPU was found"


def test_the_command_is_one_of_build_trt():
    config = EngineConfig(
        model="a.onnx",
        layout="yolov8",
        class_names=("a", "b"),
        input_size=(320, 640),
        input_scale=0.5,
        input_mean=(1.0, 2.0, 3.0),
        channel_order="bgr",
        shape="square",
    )
    command = aside.command_of(config, 8)
    assert command[1:5] == ["-P", "-m", "engine.cli.main", "build-trt"]
    with click.Context(build_trt, **engine_commands.context_settings) as context:  # a command keeps its first help
        build_trt.parse_args(context, command[5:])
    given = context.params
    assert (given["model"], given["max_batch"], given["layout"]) == ("a.onnx", 8, "yolov8")
    assert (given["input_size"], given["shape"], given["channel_order"]) == ("320,640", "square", "bgr")


def test_a_build_that_fails_costs_the_run_nothing(caplog):
    called = []
    with caplog.at_level(logging.WARNING):
        code = "import sys; sys.exit('Error: out of memory')"
        build = PlanAside([sys.executable, "-c", code], 0, lambda: called.append(1))
        build.wait()
    build.close()
    assert not called
    assert "no TensorRT plan was built, and the run goes on without: Error: out of memory" in caplog.text


def test_a_run_that_ends_stops_the_build():
    build = PlanAside([sys.executable, "-c", "import signal; signal.pause()"], 0, lambda: pytest.fail("not built"))
    build.close()
    build.close()


def test_what_was_built_is_found_and_used(machine, monkeypatch, caplog, tmp_path):  # noqa: F811
    """An engine on a machine with a fake card, from the search for a GPU to the plan in the cache."""
    built = tmp_path / "built"
    os.mkfifo(built)
    code = f"open({str(built)!r}).read()"
    monkeypatch.setattr(aside, "find_gpu", lambda number: GPU)
    monkeypatch.setattr("engine.engine.command_of", lambda config, batch: [sys.executable, "-c", code, config.model])
    with caplog.at_level(logging.INFO), engine_of(build_plan=True, device="cuda") as engine:
        assert engine.model.backend.provider == "CUDA"
        write()
        built.write_text("")
        until(lambda: "a plan computes from now on" in caplog.text, 30)
    assert DEFAULT_MODEL in caplog.text


def test_what_was_built_and_can_t_be_used_is_told(machine, monkeypatch, caplog):  # noqa: F811
    monkeypatch.setattr(aside, "find_gpu", lambda number: GPU)
    monkeypatch.setattr("engine.engine.command_of", lambda config, batch: [sys.executable, "-c", ""])
    with caplog.at_level(logging.INFO), engine_of(build_plan=True, device="cuda"):
        until(lambda: "can't be used, and the run goes on without: there is no TensorRT plan" in caplog.text, 30)
