"""The queue between two threads: its bound, its order, and that no failure hangs."""

import threading
import time

import pytest

from engine.pipeline.channel import Closed, Handoff

LIMIT_S = 5


class Aside:
    """Runs a call on a thread and keeps what came of it."""

    def __init__(self, call, *args):
        self.result = None
        self._call = lambda: call(*args)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self.result = self._call()
        except Exception as error:  # noqa: BLE001 - whatever it is, a test looks at it
            self.result = error

    @property
    def waits(self) -> bool:
        self._thread.join(0.05)
        return self._thread.is_alive()

    def end(self):
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), "it hangs"
        return self.result


def filled(capacity, *items):
    queue = Handoff("test", capacity)
    for item in items:
        queue.put(item)
    return queue


@pytest.mark.parametrize("capacity", [0, -1])
def test_capacity(capacity):
    with pytest.raises(ValueError, match=rf"frames: capacity must be at least 1\. Got {capacity}\."):
        Handoff("frames", capacity)


def test_first_in_first_out():
    queue = filled(3, 1, 2, 3)
    assert [queue.get(), queue.get(), queue.get()] == [1, 2, 3]
    assert len(queue) == 0


def test_none_is_a_record():
    assert filled(1, None).get() is None


def test_put_waits_for_room():
    queue = filled(2, 1, 2)
    producer = Aside(queue.put, 3)
    assert producer.waits
    assert len(queue) == 2
    assert queue.get() == 1
    producer.end()
    assert len(queue) == 2
    assert [queue.get(), queue.get()] == [2, 3]


def test_get_waits_for_a_record():
    queue = filled(1)
    consumer = Aside(queue.get)
    assert consumer.waits
    queue.put("x")
    assert consumer.end() == "x"


def test_get_gives_up_after_its_time():
    queue = filled(1)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="test"):
        queue.get(0.05)
    assert 0.04 < time.monotonic() - start < LIMIT_S
    queue.put(1)
    assert queue.get(0) == 1  # no time at all is enough for what is there
    with pytest.raises(TimeoutError):
        queue.get(0)


def test_close_wakes_every_consumer():
    queue = filled(1)
    consumers = [Aside(queue.get) for _ in range(3)]
    assert all(consumer.waits for consumer in consumers)
    queue.close()
    assert all(isinstance(consumer.end(), Closed) for consumer in consumers)


def test_close_wakes_every_producer_and_takes_nothing_more():
    queue = filled(1, "in")
    producers = [Aside(queue.put, name) for name in "abc"]
    assert all(producer.waits for producer in producers)
    queue.close()
    assert all(isinstance(producer.end(), Closed) for producer in producers)
    with pytest.raises(Closed):
        queue.put("late")
    assert queue.get() == "in"  # what was in it comes out
    with pytest.raises(Closed):
        queue.get()
    with pytest.raises(Closed):
        queue.get(0.01)


def test_close_with_discard_leaves_nothing():
    queue = filled(2, 1, 2)
    producer = Aside(queue.put, 3)
    assert producer.waits
    queue.close(discard=True)
    assert isinstance(producer.end(), Closed)
    with pytest.raises(Closed):
        queue.get()


def test_close_twice():
    queue = filled(1, 1)
    queue.close()
    queue.close(discard=True)
    with pytest.raises(Closed):
        queue.get()


@pytest.mark.parametrize(
    ("items", "dropped", "left"),
    [
        ([1, 2, 3], 1, [2, 3]),
        (["end", 2, 3], 2, ["end", 3]),  # the end of a stream is never dropped
        (["end"], None, ["end"]),
        ([], None, []),
    ],
)
def test_drop_oldest(items, dropped, left):
    queue = filled(3, *items)
    assert queue.drop_oldest(lambda item: isinstance(item, int)) == dropped
    assert len(queue) == len(left)
    assert [queue.get() for _ in left] == left


def test_drop_oldest_lets_a_producer_in():
    queue = filled(1, 1)
    producer = Aside(queue.put, 2)
    assert producer.waits
    assert queue.drop_oldest(lambda item: True) == 1
    producer.end()
    assert queue.get() == 2


def test_many_threads_lose_and_double_nothing():
    queue = Handoff("test", 3)
    producers = [Aside(lambda k=k: [queue.put((k, i)) for i in range(200)]) for k in range(4)]

    def drain():
        got = []
        while True:
            assert len(queue) <= 3
            try:
                got.append(queue.get())
            except Closed:
                return got

    consumers = [Aside(drain) for _ in range(3)]
    for producer in producers:
        producer.end()
    queue.close()
    each = [consumer.end() for consumer in consumers]
    assert sorted(record for got in each for record in got) == [(k, i) for k in range(4) for i in range(200)]
    for got in each:  # a consumer sees each producer's records in order
        for k in range(4):
            own = [i for producer, i in got if producer == k]
            assert own == sorted(own)


def test_what_is_first_waits_for_no_room():
    queue = filled(2, "a", "b")
    queue.put_first("now")
    assert [queue.get() for _ in range(3)] == ["now", "a", "b"]
    queue.close()
    with pytest.raises(Closed):
        queue.put_first("late")
