"""RabbitMQ's side of a broker's view, without a RabbitMQ: URLs, settings, checks, what is known from directories."""

import json
import os
import re
import time
from types import SimpleNamespace

import pytest
from amqp import exceptions

from orchestrator.application import Loader
from orchestrator.broker import amqp_preflight, amqp_transport, folder_backend, folder_results, health, preflight
from orchestrator.broker.amqp_broker import Address, AmqpBroker
from orchestrator.broker.heartbeats import Heartbeat
from orchestrator.broker.inbound import MAX_BYTES, Refused
from orchestrator.broker.messages import level_of, priority_of
from orchestrator.broker.opened import open_broker
from orchestrator.broker.publish import publish
from orchestrator.broker.redis_broker import RedisBroker
from orchestrator.errors import BrokerUrlError, SettingsError
from orchestrator.job import turns
from orchestrator.job.paths import broker_is_local
from orchestrator.job.records import How
from orchestrator.settings import Settings, celery_settings, settings
from orchestrator.worker import requeue
from orchestrator.worker.requeue import requeue_lost
from tests.orchestrator import handmade as made
from tests.orchestrator.servers import client_app

URL = "amqp://guest:guest@127.0.0.1:1//"


class App:
    """Notes what is sent."""

    def __init__(self, given):
        self.conf = SimpleNamespace(broker_url=given.broker_url, task_queues=dict.fromkeys(given.known_queues))
        self.sent = []

    def send_task(self, name, **options):
        self.sent.append({"name": name, **options})


@pytest.fixture
def given(tmp_path):
    return Settings(broker_url=URL, state_dir=tmp_path / "state")


# -- URLs and settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "vhost"),
    [
        ("amqp://", "localhost", 5672, "guest", "/"),
        ("amqp://rabbit//", "rabbit", 5672, "guest", "/"),
        ("amqp://rabbit/", "rabbit", 5672, "guest", "/"),
        ("amqp://me%40x:p%2Fw@rabbit:5673/night", "rabbit", 5673, "me@x", "night"),
        ("amqps://rabbit/a%2Fb", "rabbit", 5671, "guest", "a/b"),
    ],
)
def test_the_parts_of_a_url(url, host, port, user, vhost):
    address = Address.of(url)
    assert (address.host, address.port, address.user, address.vhost) == (host, port, user, vhost)
    assert (address.tls is not None) == url.startswith("amqps")


@pytest.mark.parametrize("scheme", ["memory", "sqla+sqlite", "sqlalchemy"])
def test_what_can_not_carry_jobs_is_refused_with_the_reason(scheme, tmp_path):
    with pytest.raises(BrokerUrlError, match=r"(?s)can't carry jobs.*amqp://localhost//.*--embedded"):
        open_broker(Settings(broker_url=f"{scheme}://x:secret@host/", state_dir=tmp_path))


@pytest.mark.parametrize("url", ["amqp://a:b@host:port//", "amqp://a:b@one//;amqp://a:b@two//"])
def test_a_bad_url_tells_no_password(url, given):
    with pytest.raises(BrokerUrlError) as raised:
        open_broker(given.model_copy(update={"broker_url": url}))
    assert "a:b" not in str(raised.value)


@pytest.mark.parametrize("url", ["rpc://", "amqp://host//"])
def test_results_need_a_place_that_keeps_them(url, monkeypatch):
    monkeypatch.setenv("CELERY_RESULT_BACKEND", url)
    settings.cache_clear()
    with pytest.raises(SettingsError, match="a later message than the one that was sent"):
        settings()
    settings.cache_clear()


def test_the_view_follows_the_url(given, tmp_path):
    assert isinstance(open_broker(given), AmqpBroker)
    assert isinstance(open_broker(Settings(state_dir=tmp_path)), RedisBroker)


def test_results_and_the_board_are_in_files(given, tmp_path):
    assert given.results_url == f"file://{tmp_path}/state/board/results"
    shared = given.model_copy(update={"output_roots": (tmp_path / "out", tmp_path / "b")})
    assert shared.board_folder == tmp_path / "out" / ".yolo-board"
    assert given.model_copy(update={"board": tmp_path}).board_folder == tmp_path
    assert Settings(broker_url=URL, result_backend="redis://h/1").results_url == "redis://h/1"


def test_only_a_broker_of_this_machine_is_local():
    assert broker_is_local("amqp://guest:guest@localhost//")
    assert not broker_is_local("amqps://u:p@rabbit.example//")


@pytest.mark.parametrize("role", ["worker", "client"])
def test_celery_is_told_what_a_rabbitmq_knows(given, role):
    told = celery_settings(given, role)
    assert told["broker_transport_options"]["confirm_publish"] is True
    assert "visibility_timeout" not in told["broker_transport_options"], "py-amqp refuses what it does not know"
    queues = told["task_queues"]
    assert queues["yolo"]["queue_arguments"] == {"x-max-priority": 9}
    assert "queue_arguments" not in queues["celery"], "any program declares it in its own way"


def test_the_highest_number_is_served_first_there():
    assert [priority_of(level) for level in (0, 3, 6, 9)] == [9, 6, 3, 0]
    assert [level_of(each) for each in (9, 6, 3, 0, None, 77)] == [0, 3, 6, 9, 9, 9]


# -- why it does not serve us -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (exceptions.AccessRefused("ACCESS_REFUSED"), "wrong user or password"),
        (exceptions.NotAllowed("vhost"), "no such virtual host"),
        (exceptions.PreconditionFailed("inequivalent arg"), "declared in another way"),
        (ConnectionRefusedError(111, "refused"), "nothing listens there"),
        (TimeoutError("timed out"), "no answer in time"),
        (OSError("Server unexpectedly closed connection"), "It is not a RabbitMQ|the connection broke"),
    ],
)
def test_each_failure_has_words_and_a_remedy(error, what):
    told, remedy = preflight.explain(error, URL)
    assert re.search(what, f"{told} {remedy}")
    assert "redis" not in remedy.lower()


def test_one_that_is_full_takes_nothing(monkeypatch):
    class Channel:
        def basic_publish(self, *_, **__):
            raise TimeoutError("timed out")

    connection = SimpleNamespace(channel=Channel, close=lambda: None, collect=lambda: None)
    monkeypatch.setattr(Address, "connect", lambda *_: connection)
    failure = preflight.failure_of(URL)
    assert preflight.explain(failure, URL)[0].startswith("it takes no messages")
    assert preflight.failure_of(URL, write=False) is None
    assert amqp_preflight.explain([TimeoutError()], "X") is None


def test_the_health_check_says_what_is_not_told(monkeypatch, given, tmp_path):
    monkeypatch.setattr(health, "failure_of", lambda *_, **__: None)
    monkeypatch.setattr(AmqpBroker, "ping", lambda self: None)
    monkeypatch.setattr(AmqpBroker, "lengths", lambda self, names: dict.fromkeys(names, 0))
    open_broker(given).tell_alive(Heartbeat("w@here", "here", ("yolo",), 1, 0, 1.0))
    found = health.check_health(URL, given.results_url, queues=["yolo"], model=None, output=tmp_path, given=given)
    checks = {check.name: check for check in found}
    assert checks["broker"].detail.startswith("RabbitMQ at amqp://***@127.0.0.1:1// answers")
    assert checks["memory"].detail.startswith("not reported: ")
    assert checks["queue yolo"].detail == "nothing waits, 1 worker"
    assert health.exit_status(found) == 0


# -- messages ---------------------------------------------------------------------------------------------------------

HEADERS = {"id": "a.start", "task": "log_start_yolo", "root_id": "a.start", "lang": "py", "evil": {"x": 1}}


def message(body=None, **properties):
    given = {
        "application_headers": HEADERS,
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "correlation_id": "a.start",
        "priority": 9,
        **properties,
    }
    text = json.dumps([["/v"], {"job": "/o"}, {}]) if body is None else body
    return SimpleNamespace(
        body=text,
        properties=given,
        delivery_tag=3,
        delivery_info={"exchange": "stolen", "routing_key": "celery", "delivery_tag": 3, "redelivered": True},
    )


def test_a_message_is_rebuilt_from_what_passed():
    taken = message()
    amqp_transport.check(taken, "yolo-log")
    assert json.loads(taken.body) == [["/v"], {"job": "/o"}, {}]
    headers = taken.properties["application_headers"]
    assert (headers["id"], headers["task"], headers["redelivered"]) == ("a.start", "log_start_yolo", False)
    assert "evil" not in headers
    assert taken.delivery_info["routing_key"] == "yolo-log"
    assert taken.delivery_info["exchange"] == ""
    assert taken.properties["priority"] == 9


@pytest.mark.parametrize(
    "bad",
    [
        message(body="not json"),
        message(body="x" * (MAX_BYTES + 1)),
        message(application_headers=None),
        message(application_headers={"id": "a", "task": "celery.backend_cleanup"}),
        message(application_headers={**HEADERS, "when": time.gmtime, "b": b"\xff"}),
        message(content_type="application/x-python-serialize"),
        message(content_encoding="binary"),
        message(application_headers={**HEADERS, "compression": "application/x-bz2"}),
        message(priority=77),
    ],
)
def test_what_must_not_be_worked_on_is_refused(bad):
    with pytest.raises(Refused):
        amqp_transport.check(bad, "yolo")


# -- what waits, by the directories -----------------------------------------------------------------------------------


@pytest.fixture
def broker(given, monkeypatch):
    """A view whose RabbitMQ says of each queue what `lengths` holds."""
    view = open_broker(given)
    view.counts = {}
    monkeypatch.setattr(view, "lengths", lambda names: {name: view.counts.get(name, 0) for name in names})
    return view


def test_what_was_sent_waits_until_somebody_begins_it(given, broker, tmp_path):
    job = made.make_job(tmp_path, given)
    app = App(given)
    publish(app, job, "start")
    assert broker.waiting(["yolo-log", "yolo"]) == [], "the queue is empty"
    broker.counts["yolo-log"] = 2
    (waits,) = broker.waiting(["yolo-log", "yolo"])
    assert (waits.job, waits.step, waits.queue, waits.folder) == (job.id, "start", "yolo-log", job.folder)
    lease = made.hold(job, job.task_base("start"))
    assert broker.waiting(["yolo-log"]) == []
    lease.release(How.HANDED_BACK)
    assert len(broker.waiting(["yolo-log"])) == 1, "it was given back"


@pytest.mark.parametrize(
    ("crowded", "sent_s", "sends"),
    [
        (False, 20, 1),  # the queue is empty, and nobody has it
        (False, 3, 0),  # it was sent a moment ago
        (True, 20, 0),  # it may be among those that wait
        (True, 700, 1),  # a queue that is never empty must not hide a loss
    ],
)
def test_a_message_may_be_among_those_that_wait(given, broker, tmp_path, crowded, sent_s, sends):
    job = made.make_job(tmp_path, given)
    app = App(given)
    publish(app, job, "start")
    sent = job.folder / "tasks" / "start.sent.json"
    os.utime(sent, (time.time() - sent_s,) * 2)
    os.utime(job.folder / "job.json", (time.time() - sent_s,) * 2)
    broker.counts["yolo-log"] = int(crowded)
    assert len(requeue_lost(app, broker, given)) == sends


def test_a_step_that_waits_for_a_folder_is_on_no_queue(given, broker, tmp_path):
    job = made.make_job(tmp_path, given)
    publish(App(given), job, "process-1")
    (job.folder / "tasks" / "process-1.waits.json").write_text("{}")
    assert turns.waits(job, "process-1")
    broker.counts["yolo"] = 1
    assert broker.waiting(["yolo"]) == []


def test_the_level_becomes_a_priority(given, tmp_path):
    app = App(given)
    publish(app, made.make_job(tmp_path, given), "start")
    assert app.sent[-1]["priority"] == 9
    assert given.visibility_timeout_s > requeue.AGAIN_AFTER_S


def test_old_results_are_removed(given):
    folder = folder_results.folder_of(given.results_url)
    folder.mkdir(parents=True)
    for name, age_s in (("old", 8 * 86_400), ("new", 60)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age_s,) * 2)
    with client_app(given, loader=Loader) as app:
        app.backend.cleanup()
    assert os.listdir(folder) == ["new"]


# -- results in files -------------------------------------------------------------------------------------------------


def test_a_result_is_whole_or_not_there(tmp_path):
    store = folder_backend.Backend.__new__(folder_backend.Backend)
    store.path, store.sep, store.open = os.fsencode(tmp_path), b"/", open
    for value in (b"one", "two"):
        store.set(b"celery-task-meta-a", value)
    assert store.get(b"celery-task-meta-a") == b"two"
    assert os.listdir(tmp_path) == ["celery-task-meta-a"]
