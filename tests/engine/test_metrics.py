import threading

import pytest

from engine.metrics import Metrics, StageTime


def test_nothing_yet():
    assert Metrics().totals() == {}


def test_adds_up():
    metrics = Metrics()
    metrics.add("infer", 0.5, 4)
    metrics.add("infer", 0.25)
    metrics.add("track", 1.0, 0)  # an end is no record
    assert metrics.totals() == {"infer": StageTime("infer", 5, 0.75), "track": StageTime("track", 0, 1.0)}


def test_busy_measures_also_what_fails():
    metrics = Metrics()

    def fail():
        with metrics.busy("decode", 2):
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    decode = metrics.totals()["decode"]
    assert decode.records == 2
    assert 0 < decode.busy_s < 1


def test_threads_are_added_up_and_those_that_ended_are_not_kept():
    metrics = Metrics()
    metrics.add("sink", 1.0)
    for _ in range(50):
        thread = threading.Thread(target=metrics.add, args=("sink", 0.5, 2))
        thread.start()
        thread.join()
    assert metrics.totals() == {"sink": StageTime("sink", 101, 26.0)}
    assert len(metrics._all) <= 2  # memory does not grow with the number of videos


def test_threads_at_the_same_time():
    metrics = Metrics()
    barrier = threading.Barrier(4)

    def work():
        barrier.wait(5)
        for _ in range(1000):
            metrics.add("infer", 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert metrics.totals() == {"infer": StageTime("infer", 4000, 4000.0)}
