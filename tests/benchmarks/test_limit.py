"""The limit of the hardware: its arithmetic, its layouts, and its two works on a backend that needs no model."""

import threading
import time

import numpy as np
import pytest

from benchmarks import limit
from benchmarks.limit import Inference, Layout, Limit, decode_all, layouts, limit_fps, tensors_of
from benchmarks.rounds import Samples
from benchmarks.soak import make_clip
from engine import Engine, EngineConfig


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("limit") / "square.mp4"
    make_clip(path, frames=6)
    return path


@pytest.fixture
def engine():
    with Engine(EngineConfig(backend="fake", visualize=False)) as engine:
        yield engine


@pytest.mark.parametrize(
    ("cores", "infer_s", "decode_s", "fps"),
    [
        (1, 0.010, 0.0, 100.0),
        (2, 0.008, 0.002, 200.0),
        (4, 0.015, 0.005, 200.0),
    ],
)
def test_the_limit_is_the_cores_over_what_a_frame_costs(cores, infer_s, decode_s, fps):
    assert limit_fps(cores, infer_s, decode_s) == pytest.approx(fps)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (1, [(1, 1)]),
        (2, [(2, 1), (1, 2)]),
        (3, [(3, 1), (1, 3)]),
        (4, [(4, 1), (2, 2), (1, 4)]),
    ],
)
def test_layouts_use_every_core(cores, expected):
    assert layouts(cores) == expected


def test_each_round_has_its_own_limit(engine, video):
    made = Limit(engine, video, frames=6)
    made.cores = 2
    made.inferences = 10
    # Ten inferences; the video's six frames on each of two cores.
    infer, decode = (
        Samples(wall_s=[0.05, 0.20], cpu_s=[0.08, 0.08]),
        Samples(wall_s=[0.012, 0.012], cpu_s=[0.024, 0.024]),
    )
    assert made.cpu_s_a_frame(infer, decode) == [pytest.approx((0.008, 0.002))] * 2
    assert made.fps(infer, decode) == pytest.approx([200.0, 200.0])
    # The second round had to share the cores with others: the clock says so, the CPU time does not.
    assert made.fps_on_the_clock(infer, decode) == pytest.approx([1 / 0.006, 1 / 0.021])
    made.close()


def test_its_works_run_on_the_engines_own_tensors_and_video(engine, video):
    made = Limit(engine, video, frames=6, most_inferences=4)
    calls = engine.model.backend.calls
    made.infer()
    made.decode()
    made.close()
    assert engine.model.backend.calls == calls + made.inferences == calls + 4
    assert made.tensor_hw == tensors_of(engine, video)[0].shape[2:] == (96, 128)


def test_tensors_are_of_different_frames(engine, video):
    first, second = tensors_of(engine, video, most=2)
    assert first.shape == second.shape == (1, 3, 96, 128)
    assert not np.array_equal(first, second)


def test_inference_runs_every_tensor_and_on_all_its_workers():
    seen, together, lock = [], threading.Barrier(2, timeout=10), threading.Lock()

    def run(tensor):
        together.wait()  # passes only where two run at the same time
        with lock:
            seen.append(int(tensor[0]))

    inference = Inference(run, Layout(2, 1))
    inference([np.array([0]), np.array([1]), np.array([2])], count=6)
    inference.close()
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]


def test_the_fastest_layout_is_taken(monkeypatch):
    def sleeping(seconds, layout):
        return Inference(lambda tensor: time.sleep(seconds), layout)

    quick, slow = sleeping(0.0, Layout(1, 2)), sleeping(0.01, Layout(2, 1))
    monkeypatch.setattr(limit, "candidates", lambda engine: [slow, quick])
    monkeypatch.setattr(limit, "PROBES", 4)
    assert limit.best_inference(None, [np.zeros(1)]) is quick
    quick.close()


def test_decoding_counts_every_frame(video):
    assert decode_all(video) == 6
