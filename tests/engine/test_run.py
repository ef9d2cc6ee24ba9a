"""A run is a thing of its own: it is stopped by itself, and knows by itself how it ended."""

import contextlib

import pytest

from engine import Engine, EngineConfig
from engine.errors import BackendError, ConfigError
from engine.inference.backends.fake import FakeBackend
from engine.inference.model import load_model
from engine.media.inputs import find_videos
from engine.pipeline.assignment import Assignment
from engine.run.run import RunState
from engine.sinks.memory import CallbackSink
from tests.engine.conftest import write_clip

FAKE = EngineConfig(backend="fake", visualize=False, workers=1, streams=1)


def model_of(backend):
    return load_model(FAKE, 1)._replace(backend=backend)


@pytest.fixture
def engine():
    with Engine(FAKE) as engine:
        yield engine


def run(engine, clip, folder):
    return engine.run([clip], folder)["totals"]["frames"]


def work(engine, clip, folder):
    entries = []
    assignments = [Assignment(video) for video in find_videos([str(clip)], folder)]
    engine.work(assignments, folder, done=lambda _, entry: entries.append(entry))
    return sum(entry["frames"] for entry in entries)


def process(engine, clip, folder):
    frames = []
    engine.process(find_videos([str(clip)], folder), lambda _: {"callback": (CallbackSink(frames.append), folder)})
    return len(frames)


def stream(engine, clip, folder):
    return len(list(engine.stream(clip)))


WAYS = pytest.mark.parametrize("way", [run, work, process, stream])


@WAYS
def test_a_stop_ahead_of_a_run_ends_that_run_and_no_other(engine, clip, tmp_path, way):
    engine.stop()
    assert not engine.interrupted
    assert way(engine, clip, tmp_path / "first") == 0
    assert engine.interrupted
    assert engine.last_run.state is RunState.STOPPED
    assert way(engine, clip, tmp_path / "second") == 12
    assert not engine.interrupted
    assert engine.last_run.state is RunState.DONE


@WAYS
def test_a_stop_between_two_runs_ends_the_second(engine, clip, tmp_path, way):
    assert way(engine, clip, tmp_path / "first") == 12
    engine.stop()
    assert not engine.interrupted  # the first has ended by itself
    assert way(engine, clip, tmp_path / "second") == 0
    assert engine.interrupted


def test_a_stop_ends_all_streams_that_are_open(tmp_path):
    clips = [write_clip(tmp_path / f"{name}.mp4", frames=200) for name in "ab"]
    with Engine(FAKE.updated(window=2)) as engine:
        streams = [engine.stream(clip) for clip in clips]
        for each in streams:
            assert next(each).frame.index == 0
        engine.stop()
        left = [len(list(each)) for each in streams]
        assert all(frames < 190 for frames in left), left
        assert engine.interrupted


def test_streams_that_are_open_together_are_each_a_run(tmp_path):
    clips = [write_clip(tmp_path / f"{name}.mp4", frames=frames) for name, frames in (("a", 12), ("b", 20))]
    with Engine(FAKE) as engine:
        first, second = (engine.stream(clip) for clip in clips)
        next(first)
        one = engine.last_run
        next(second)
        assert engine.last_run is not one
        assert (len(list(first)), len(list(second))) == (11, 19)
        assert (one.state, engine.last_run.state) == (RunState.DONE, RunState.DONE)


def test_leaving_a_stream_is_no_interruption(engine, clip):
    for _ in engine.stream(clip):
        break
    assert not engine.interrupted
    assert engine.last_run.state is RunState.DONE


def test_a_run_that_fails(clip, tmp_path):
    with Engine(FAKE, model=model_of(FakeBackend(fail_after=2))) as engine:
        engine.run([clip], tmp_path)
        assert engine.last_run.state is RunState.FAILED
        assert not engine.interrupted
        with pytest.raises(BackendError):
            engine.work(
                [Assignment(video) for video in find_videos([str(clip)], tmp_path)],
                tmp_path / "b",
                done=lambda *_: None,
            )


def test_a_run_that_is_broken_off_has_failed(engine, clip, tmp_path):
    def progress(_):
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        engine.run([clip], tmp_path, progress=progress)
    assert engine.last_run.state in (RunState.FAILED, RunState.DONE)  # done: it was over before it could be told


def test_a_stop_after_the_end_changes_nothing(engine, clip, tmp_path):
    engine.run([clip], tmp_path)
    ended = engine.last_run
    ended.stop()
    assert ended.state is RunState.DONE


class Closing(FakeBackend):
    closed = 0

    def close(self):
        self.closed += 1


@pytest.mark.parametrize(("values", "facts"), [({"classes": ("circle",)}, {}), ({"batch": 4}, {"batch_safe": False})])
def test_a_model_that_does_not_fit_the_configuration_is_freed(monkeypatch, values, facts):
    backend = Closing()
    for name, value in facts.items():
        setattr(backend, name, value)
    monkeypatch.setattr("engine.engine.load_model", lambda config, workers: model_of(backend))
    with pytest.raises(ConfigError):
        Engine(FAKE.updated(**values))
    assert backend.closed == 1


def test_a_model_that_was_handed_over_is_left_to_who_did(clip):
    backend = Closing()
    with pytest.raises(ConfigError):
        Engine(FAKE.updated(classes=("circle",)), model=model_of(backend))
    assert backend.closed == 0
