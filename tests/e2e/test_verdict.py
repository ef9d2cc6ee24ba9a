"""The verdict on real runs that are made slow on purpose: it names the stage, and the frames a second that it predicts
for the repair are those that are measured after it.

What is slow sleeps, so that a busy machine matters little; where it computes instead, one skips the test. A
prediction that fails is tried again: a disturbance passes, a fault fails each time.
"""

import hashlib
import json
import os
import time

import pytest

from engine.inference.backends.fake import FakeBackend
from engine.sinks.jsonl import TracksJsonl
from engine.sinks.mot import MotText
from engine.stages.decode import Decoder
from tests.e2e.runs import clip, fake_engine

pytestmark = pytest.mark.alone

ATTEMPTS = 6
BUSY_CORES = 0.3

# In every run inference sleeps so long: it is what binds once the slow stage is repaired.
INFER_S = 0.006


def idle(seconds):
    return lambda: time.sleep(seconds)


def burn(seconds):
    """Computes for so long, without Python's lock most of the time, as a codec does."""
    data = bytes(100_000)

    def work():
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            hashlib.sha256(data).digest()

    return work


def slowed(monkeypatch, owner, name, work):
    """A method that does `work` first."""
    plain = getattr(owner, name)

    def slow(self, *arguments):
        work()
        return plain(self, *arguments)

    monkeypatch.setattr(owner, name, slow)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [clip(folder / f"{seed}.mp4", 50, seed=seed) for seed in range(2)]


def verdict(videos, output, *, delay_s=INFER_S, **settings):
    with fake_engine(delay_s=delay_s, **{"workers": 1, "resume": False, **settings}) as engine:
        summary = engine.run(videos, output)
        assert summary["success"]
        return engine.verdict()


def compared(slow_run, repaired_run, stage):
    """The slow run's verdict once its prediction was right: within 10 % of what the repaired run does."""
    for _ in range(ATTEMPTS):
        slow, repaired = slow_run(), repaired_run()
        predicted = slow.predict(stage)
        if predicted == pytest.approx(repaired.fps, rel=0.1):
            return slow
        busy = max(slow.usage.others, repaired.usage.others)
    if busy > BUSY_CORES:
        pytest.skip(f"other programs take {busy:.1f} cores")
    pytest.fail(f"{predicted:.1f} fps predicted without {stage}, {repaired.fps:.1f} measured")


SLOW = {
    "decode": (Decoder, "decode"),
    "infer": (FakeBackend, "run"),
    "sink mot": (MotText, "write"),
}


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("stage", ["decode", "sink mot"])
def test_a_stage_that_sleeps(videos, tmp_path, monkeypatch, stage, streams):
    def slow_run():
        with monkeypatch.context() as patch:
            slowed(patch, *SLOW[stage], idle(0.008 + 0.006 * streams))
            return verdict(videos[:streams], tmp_path / "slow", streams=streams)

    def repaired_run():
        return verdict(videos[:streams], tmp_path / "repaired", streams=streams)

    slow = compared(slow_run, repaired_run, stage)
    assert (slow.binding, slow.stage, slow.next.of) == (stage, stage, stage)
    assert slow.next.then == "infer"


def test_inference_that_sleeps(videos, tmp_path, monkeypatch):
    """Repaired, a sink of 7 ms binds."""
    slowed(monkeypatch, TracksJsonl, "write", idle(0.007))
    slow = compared(
        lambda: verdict(videos[:1], tmp_path / "slow", delay_s=0.022),
        lambda: verdict(videos[:1], tmp_path / "repaired", delay_s=0.0),
        "infer",
    )
    assert (slow.binding, slow.stage, slow.next.then) == ("infer", "infer", "sink tracks")
    told = {change.of: change for change in slow.changes if change.change == "doubled"}
    assert told["worker"].fps == pytest.approx(2 * slow.fps, rel=0.1)  # the cores have nothing to do
    assert "cores" not in told


def test_frames_that_are_skipped_cost_nothing(videos, tmp_path):
    """With two frames in three left out, inference binds at three times its own pace."""
    found = verdict(videos[:1], tmp_path, delay_s=0.030, skip_frames=2)
    stages = {stage.stage: stage for threads in found.usage.threads for stage in threads.stages}
    assert [stages[name].frames for name in ("decode", "infer", "track", "sink mot")] == [50, 17, 50, 50]
    assert found.binding == "infer"
    # Three times the pace of a run in which all are inferred, less the time to open and finish so short a video.
    assert 1.5 / 0.030 < found.ceiling_fps < 3 / 0.030


def test_a_batch_counts_its_frames(videos, tmp_path):
    found = verdict(videos, tmp_path, delay_s=0.040, batch=4, streams=2)
    (infer,) = [s for threads in found.usage.threads for s in threads.stages if s.stage == "infer"]
    assert infer.frames == found.usage.frames == 100
    assert found.binding == "infer"
    assert found.fps < found.ceiling_fps < 4 / 0.040


def test_inference_that_computes(videos, tmp_path, monkeypatch):
    """Two workers and two sinks share one core: it binds, and inference is what to repair."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])  # threads that begin now have it from this one
    try:
        for _ in range(ATTEMPTS):
            with monkeypatch.context() as patch:
                slowed(patch, FakeBackend, "run", burn(0.010))
                slowed(patch, MotText, "write", burn(0.005))
                slow = verdict(videos, tmp_path / "slow", delay_s=0.0, workers=2, streams=2)
            with monkeypatch.context() as patch:
                slowed(patch, MotText, "write", burn(0.005))
                repaired = verdict(videos, tmp_path / "repaired", delay_s=0.0, workers=2, streams=2)
            named = (slow.binding, slow.stage, slow.next and slow.next.of) == ("cores", "infer", "infer")
            if named and slow.predict("infer") == pytest.approx(repaired.fps, rel=0.1):
                return
            busy = max(slow.usage.others, repaired.usage.others)
            if busy > BUSY_CORES:
                break
        told = f"{slow.predict('infer'):.0f} fps predicted, {repaired.fps:.0f} measured"
        pytest.skip(f"{told}; other programs take {busy:.1f} of the core")
    finally:
        os.sched_setaffinity(0, cores)


def test_a_run_without_a_frame_has_none(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    with fake_engine(stats=True) as engine:
        assert engine.verdict() is None
        summary = engine.run([tmp_path / "empty.mp4"], tmp_path / "out")
        assert engine.verdict() is None
    assert summary["verdict"] is None


def test_it_is_in_summary_and_manifest(videos, tmp_path):
    with fake_engine(stats=True) as engine:
        summary = engine.run(videos, tmp_path)
        assert summary["verdict"] == engine.verdict().to_json()
    assert json.loads((tmp_path / "manifest.json").read_text())["verdict"] == summary["verdict"]
    assert summary["verdict"]["frames"] == summary["totals"]["frames"] == 100
    with fake_engine() as engine:
        assert "verdict" not in engine.run(videos, tmp_path)
