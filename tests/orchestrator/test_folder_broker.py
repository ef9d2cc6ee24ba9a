"""A folder as the broker: queues of files, and a whole job on them."""

import json
import os
import time

import pytest

from orchestrator.broker import health, preflight, transport
from orchestrator.broker.board import Board
from orchestrator.broker.folder_broker import FolderBroker
from orchestrator.broker.folder_queues import FolderQueues, held_here, tag_of
from orchestrator.broker.opened import open_broker
from orchestrator.errors import BrokerUrlError, PathRefused
from orchestrator.job.paths import broker_is_local, video_folder
from orchestrator.settings import Settings, celery_settings, settings
from tests.chaos.farm import Farm
from tests.orchestrator.racers import race, take_messages
from tests.orchestrator.servers import client_app


@pytest.fixture
def queues(tmp_path):
    return FolderQueues(tmp_path / "not yet" / "queue")


@pytest.fixture
def given(tmp_path):
    transport.install()
    return Settings(broker_url=f"filesystem://{tmp_path}/queue", state_dir=tmp_path / "state")


# -- the queues -------------------------------------------------------------------------------------------------------


def test_levels_first_then_age(queues):
    for level, text in ((6, b"c"), (0, b"a"), (9, b"d"), (0, b"b")):
        queues.put("yolo", level, text)
    assert [(each.level, each.raw) for each in queues.waiting("yolo", 3)] == [(0, b"a"), (0, b"b"), (6, b"c")]
    assert [queues.take("yolo")[0] for _ in range(4)] == [b"a", b"b", b"c", b"d"]
    assert queues.take("yolo") is None
    assert queues.length("yolo") == 0


def test_an_empty_folder_holds_nothing_and_nothing_is_made_in_it(queues):
    assert (queues.length("yolo"), queues.take("yolo"), list(queues.waiting("yolo", 9))) == (0, None, [])
    assert queues.restore(1.0) == 0
    assert not queues.folder.exists()


def test_what_was_taken_is_done_or_given_back_to_its_place(queues):
    queues.put("yolo", 3, b"a")
    queues.put("yolo", 3, b"b")
    raw, held = queues.take("yolo")
    assert raw == b"a"
    queues.give_back(held)
    queues.give_back(held)  # another has put it back: it stays there
    assert [each.raw for each in queues.waiting("yolo", 9)] == [b"a", b"b"]
    _, held = queues.take("yolo")
    queues.done(held)
    queues.done(held)
    assert [each.raw for each in queues.take_away("yolo")] == [b"b"]
    assert os.listdir(queues.folder / "taken") == []


def test_what_nobody_renews_is_put_back(queues):
    queues.put("yolo", 0, b"a")
    queues.put("yolo", 0, b"b")
    (_, mine), (_, lost) = queues.take("yolo"), queues.take("yolo")
    for held in (mine, lost):
        os.utime(queues.folder / "taken" / held, (time.time() - 700,) * 2)
    queues.renew([mine, "gone~yolo~0"])
    assert queues.restore(600.0) == 1
    assert [each.raw for each in queues.waiting("yolo", 9)] == [b"b"]
    assert tag_of(mine) != tag_of(lost)


def test_names_of_queues_lead_nowhere(queues):
    queues.put("../out~side", 0, b"a")
    assert os.listdir(queues.folder.parent) == ["queue"]
    _, held = queues.take("../out~side")
    queues.give_back(held)
    assert queues.length("../out~side") == 1


def test_of_several_processes_one_takes_each_message(tmp_path):
    queues = FolderQueues(tmp_path)
    for number in range(150):
        queues.put("yolo", 0, str(number).encode())
    told = race(3, take_messages, tmp_path)
    assert sorted(told) == list(range(150))


def test_a_retried_rename_has_taken_it(queues, monkeypatch):
    # A share's server did it, its answer was lost, and the client was told that nothing is there any more.
    real = os.rename

    def renamed(one, other):
        real(one, other)
        raise FileNotFoundError(one)

    queues.put("yolo", 0, b"a")
    monkeypatch.setattr(os, "rename", renamed)
    assert queues.take("yolo")[0] == b"a"


# -- the view ---------------------------------------------------------------------------------------------------------


def test_what_is_sent_waits_by_its_level_and_is_taken_away(given):
    with client_app(given, result_backend=None) as app, open_broker(given) as broker:
        assert isinstance(broker, FolderBroker)
        for level in (9, 6, 0, 3):
            app.send_task(
                "process_videos_yolo", task_id=f"j{level}.process-1", queue="yolo", priority=level, kwargs={"job": "/o"}
            )
        names = ["yolo", "yolo-log"]
        assert broker.lengths(names) == {"yolo": 4, "yolo-log": 0}
        assert broker.message_ids(names) == {f"j{level}.process-1" for level in (0, 3, 6, 9)}
        waits = broker.waiting(names)
        assert [(each.job, each.step, each.level, str(each.folder)) for each in waits] == [
            (f"j{level}", "process-1", level, "/o") for level in (0, 3, 6, 9)
        ]
        assert broker.take_away(names) == waits
        assert broker.waiting(names) == []


def test_a_worker_gets_what_passed_and_sets_the_rest_aside(given, monkeypatch, tmp_path):
    monkeypatch.setenv("CELERY_BROKER_URL", given.broker_url)
    settings.cache_clear()
    queues = FolderQueues(tmp_path / "queue")
    queues.put("yolo", 0, b"garbage")
    queues.put("yolo", 0, b"x" * (2 << 20))
    with client_app(given, result_backend=None) as app:
        app.send_task("process_videos_yolo", args=("/v",), task_id="a.process-1", queue="yolo")
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            message = channel.basic_get("yolo")
            assert message.headers["id"] == "a.process-1"
            assert Board(given.board_folder).dead() == 2
            open_broker(given).renew([message.delivery_tag])
            assert message.delivery_tag in held_here
            message.reject(requeue=True)
            assert queues.length("yolo") == 1
            channel.basic_get("yolo").ack()
            assert channel.basic_get("yolo") is None
            assert os.listdir(tmp_path / "queue" / "taken") == []
            app.send_task("process_videos_yolo", args=("/v",), task_id="b.process-1", queue="yolo")
            assert channel.basic_get("yolo") is not None
        assert queues.length("yolo") == 1, "a worker that ends gives back what it has"
    settings.cache_clear()


def test_it_serves_us_or_says_why_not(given, tmp_path):
    assert preflight.failure_of(given.broker_url) is None
    found = health.check_health(
        given.broker_url, given.results_url, queues=["yolo"], model=None, output=tmp_path, given=given
    )
    checks = {check.name: check for check in found}
    assert checks["broker"].detail.startswith(f"A folder at {given.broker_url} answers")
    assert checks["results"].state == "ok"
    (tmp_path / "file").touch()
    url = f"filesystem://{tmp_path}/file/queue"
    failure = preflight.failure_of(url)
    assert preflight.explain(failure, url)[0].startswith("can't be written: not a directory")
    with pytest.raises(BrokerUrlError, match="whole path"):
        open_broker(Settings(broker_url="filesystem://queue"))


def test_a_folder_that_others_may_write_to_needs_roots(given, tmp_path):
    assert broker_is_local(given.broker_url)
    assert preflight.failure_of(given.broker_url) is None
    assert (tmp_path / "queue").stat().st_mode & 0o777 == 0o700
    assert broker_is_local(given.broker_url)
    (tmp_path / "queue").chmod(0o777)
    assert not broker_is_local(given.broker_url)
    with pytest.raises(PathRefused, match="_ROOTS is not set, and other users can write to the broker's"):
        video_folder(str(tmp_path), given)


def test_celery_is_told_what_a_folder_knows(given):
    told = celery_settings(given, "worker")
    assert told["broker_transport_options"] == {"folder": given.broker_url.removeprefix("filesystem://")}
    assert told["worker_enable_remote_control"] is False
    assert json.dumps(told["task_queues"])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_worker_does_a_job_from_a_folder(tmp_path, monkeypatch):
    """The one test with a worker of this kind: Celery takes another loop for a transport without an event loop."""
    monkeypatch.setenv("CHAOS_BROKER", "folder")
    with Farm(tmp_path / "f") as farm:
        farm.clips(2, frames=20)
        job = farm.submit()
        worker = farm.worker()
        farm.wait(job)
        farm.judge(job, ok=2)
        assert farm.waiting("yolo") == farm.waiting("yolo-log") == 0
        assert farm.stop(worker) == 0
        assert os.listdir(tmp_path / "f" / "queue" / "taken") == []
