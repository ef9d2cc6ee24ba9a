"""A thread's time is divided without a gap, and threads are added up."""

import hashlib
import threading
import time

import pytest

from engine.profiling import metrics as module
from engine.profiling.metrics import DRAIN, IDLE, INPUT, ROOM, Metrics


def usage(metrics, **counts):
    return metrics.usage(**{"streams": 1, "workers": 1, "videos": 1, **counts})


def stages(metrics):
    return {stage.stage: stage for threads in usage(metrics).threads for stage in threads.stages}


def test_nothing_yet():
    metrics = Metrics()
    metrics.start()
    assert usage(metrics).threads == ()
    assert usage(metrics).frames == 0


@pytest.mark.alone
def test_laps_follow_each_other_without_a_gap():
    metrics = Metrics()
    metrics.start()
    begun = time.perf_counter()
    with metrics.clock("sink") as clock:
        for _ in range(3):
            time.sleep(0.01)
            clock.lap(INPUT)
            time.sleep(0.005)
            clock.lap("sink mot", 2)
        clock.lap("finish")
    lasted_s = time.perf_counter() - begun
    (sink,) = usage(metrics, streams=4).threads
    assert (sink.role, sink.count) == ("sink", 4)
    assert (stages(metrics)["sink mot"].frames, stages(metrics)["finish"].frames) == (6, 0)
    assert sink.input_s >= 0.03
    assert sink.busy_s >= 0.015
    assert lasted_s - 0.01 < sink.alive_s <= lasted_s


@pytest.mark.alone
def test_what_computes_and_what_sleeps():
    metrics = Metrics()
    metrics.start()
    with metrics.clock("worker") as clock:
        end = time.thread_time() + 0.03
        while time.thread_time() < end:
            hashlib.sha256(bytes(10_000)).digest()
        clock.lap("infer", 1)
        time.sleep(0.03)
        clock.lap("preprocess", 1)
    infer, preprocess = stages(metrics)["infer"], stages(metrics)["preprocess"]
    wall_s = infer.wall_s + 1e-4  # two clocks of the system: they need not agree to the last microsecond
    assert 0.03 <= infer.cpu_s <= wall_s
    assert infer.cpu_s <= infer.own_s <= wall_s
    assert preprocess.cpu_s < 0.02
    assert preprocess.own_s >= 0.025


@pytest.mark.alone
def test_no_video_is_no_time():
    """A thread that has none is left out; one that waits for room, or for the end of its video, is not."""
    metrics = Metrics()
    with metrics.clock("decode") as clock:
        time.sleep(0.02)
        clock.lap(IDLE)
        time.sleep(0.001)
        clock.lap(ROOM)
        time.sleep(0.001)
        clock.lap(DRAIN)
    (decode,) = usage(metrics).threads
    assert 0.002 <= decode.alive_s < 0.02
    assert (decode.room_s > 0, decode.drain_s > 0, decode.stages) == (True, True, ())


@pytest.mark.parametrize(
    ("queued_s", "cpu_s", "shared"),
    [
        (0.3, (1.0, 0.5), (0.2, 0.1)),  # as they computed
        (0.0, (1.0, 0.5), (0.0, 0.0)),
        (9.0, (1.0, 0.5), (1.0, 0.5)),  # never more than what was not computed: 2 and 1 seconds in all
        (0.3, (0.0, 0.0), (0.0, 0.0)),
    ],
)
def test_waiting_for_a_core_is_shared_out(queued_s, cpu_s, shared):
    laps = {"a": [2.0, cpu_s[0], 1, 0.0], "b": [1.0, cpu_s[1], 1, 0.0]}
    module.share_out(laps, queued_s)
    assert [entry[3] for entry in laps.values()] == pytest.approx(shared)


def test_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(module, "queued_s", lambda: None)
    metrics = Metrics()
    with metrics.clock("sink") as clock:
        clock.lap("track", 1)
    assert usage(metrics).queues_known is False
    assert stages(metrics)["track"].queued_s == 0


def test_threads_are_added_up_and_those_that_ended_are_not_kept():
    metrics = Metrics()

    def live():
        with metrics.clock("sink") as clock:
            clock.lap("sink mot", 2)

    for _ in range(50):
        thread = threading.Thread(target=live)
        thread.start()
        thread.join()
    with metrics.clock("sink") as clock:
        clock.lap("sink mot", 2)
        assert stages(metrics)["sink mot"].frames == 102  # of one that lives, too
        assert len(metrics._alive) == 1
    assert (stages(metrics)["sink mot"].frames, metrics._alive) == (102, [])  # memory does not grow with the videos


def test_a_thread_that_fails_counts_all_the_same():
    metrics = Metrics()

    def fail():
        with metrics.clock("sink") as clock:
            clock.lap("track", 1)
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert usage(metrics).frames == 1


def test_threads_at_the_same_time():
    metrics = Metrics()
    barrier = threading.Barrier(4)

    def work():
        with metrics.clock("worker") as clock:
            barrier.wait(5)
            for _ in range(1000):
                clock.lap("infer", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert stages(metrics)["infer"].frames == 4000


def test_the_run_as_a_whole_ends_with_stop():
    metrics = Metrics()
    metrics.start()
    time.sleep(0.01)
    metrics.stop()
    first = usage(metrics)
    time.sleep(0.01)
    assert usage(metrics) == first
    assert 0.01 <= first.elapsed_s < 5
    assert 0 <= first.others <= first.cores.machine
