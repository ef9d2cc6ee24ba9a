"""A stop that reaches a worker and its group at once, as `timeout` sends it, is one stop in good order."""

import os
import signal
import time

import pytest

from orchestrator.stop_signals import interrupting, spare_the_child, spare_the_worker
from tests.chaos.farm import Farm
from tests.waiting import until


@pytest.mark.usefixtures("_handlers_are_put_back")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_client(number):
    """What the first signal has begun is not broken off by the second."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with interrupting(number):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)


@pytest.mark.usefixtures("_handlers_are_put_back")
def test_what_is_ignored_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupting(signal.SIGINT):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.fixture
def _handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers_are_put_back")
@pytest.mark.parametrize(("ago_s", "dropped"), [(0.0, 0), (0.9, 0), (1.1, 1)])
def test_a_second_interrupt(ago_s, dropped):
    """What Celery has installed for it is reached a second later."""
    reached = []
    signal.signal(signal.SIGINT, lambda *_: reached.append(1))
    spare_the_worker(time.monotonic() - ago_s)
    signal.raise_signal(signal.SIGINT)
    assert len(reached) == dropped


@pytest.mark.parametrize(
    ("stopped_s_ago", "dies"),
    [(0.0, False), (0.5, False), (-0.3, False), (5.0, True), (None, True)],
    ids=["with it", "just before", "a little later", "long ago", "never"],
)
def test_a_child(stopped_s_ago, dies):
    began = time.time()

    def stopped_at():
        at = None if stopped_s_ago is None else began - stopped_s_ago
        return at if at is not None and at <= time.time() else None

    if (child := os.fork()) == 0:
        try:
            spare_the_child(stopped_at)
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    assert status == (signal.SIGTERM if dies else 7 << 8)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_gives_its_job_back_in_good_order(tmp_path, number):
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0.05") as farm:
        farm.clips(1, frames=2000)
        worker = farm.worker()
        job = farm.submit()
        farm.at_work(job)
        worker.send_signal(number)
        os.killpg(worker.pid, number)
        assert worker.wait(40) == 0
        farm.workers.remove(worker)
        log = farm.log.read_text()
        assert "Worker exited prematurely" not in log
        assert "Cold shutdown" not in log
        leases = list((job.folder / "videos").glob("0000.*.json"))
        until(lambda: any("handed back" in path.read_text() for path in leases), 5, farm.tail)
