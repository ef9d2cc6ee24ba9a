"""A broker a quarter of a second away, and one whose answers are lost: nothing is said that is not known."""

from __future__ import annotations

import json

import pytest

from orchestrator.broker import preflight, publish
from orchestrator.client import submission
from orchestrator.errors import BrokerUnreachable
from orchestrator.job.jobdir import Job
from orchestrator.settings import Settings, settings
from orchestrator.worker import steps as jobs
from tests.orchestrator import handmade as made
from tests.orchestrator.conftest import Valkey
from tests.orchestrator.slow_proxy import SlowProxy, slow_proxy
from tests.orchestrator.test_submit_cli import SUBMIT, call, here  # noqa: F401 - fixtures

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def far(request: pytest.FixtureRequest, valkey: Valkey, here, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    valkey.client.flushall()
    with slow_proxy(str(valkey.broker.socket), getattr(request, "param", 0.0)) as proxy:
        monkeypatch.setenv("CELERY_BROKER_URL", proxy.url)
        settings.cache_clear()
        yield proxy
    valkey.client.flushall()


@pytest.mark.parametrize("far", [0.25], indirect=True)
def test_a_submit_to_a_far_broker_is_sent(call, far: SlowProxy, valkey: Valkey) -> None:  # noqa: F811
    code, out, err = call(*SUBMIT, "--json")
    assert code == 0, err
    sent = json.loads(out)["id"]
    assert [json.loads(raw)["headers"]["id"] for raw in valkey.client.lrange("yolo-log", 0, -1)] == [f"{sent}.start"]
    assert preflight.extra_s(far.url, 1) >= 0.25
    code, out, _ = call("--list-tasks", "--json")
    assert json.loads(out)["broker"] is None
    code, out, _ = call("--health-check", "--config", "fake.json", "--json")
    assert {check["name"]: check["state"] for check in json.loads(out)["checks"]}["broker"] == "ok"


def test_a_broker_that_answers_late_is_waited_for(monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> None:
    """From answer to answer, not for all of them together."""
    monkeypatch.setattr(preflight, "DEADLINE_S", 0.9)
    with slow_proxy(str(valkey.broker.socket), 0.3) as proxy:
        assert preflight.failure_of(proxy.url) is None
        proxy.mute.set()
        assert isinstance(preflight.failure_of(proxy.url), Exception)


def muted_at(proxy: SlowProxy, monkeypatch: pytest.MonkeyPatch, *, again: bool) -> None:
    """The message goes out and its answer is lost; with `again` the line is well afterwards."""
    real = publish.publish

    def lost(app, job: Job, key: str, **facts):
        proxy.mute.set()
        try:
            return real(app, job, key, **facts)
        finally:
            if again:
                proxy.mute.clear()

    monkeypatch.setattr(submission, "publish", lost)


def test_what_was_sent_is_never_called_unsent(far: SlowProxy, valkey: Valkey, here, monkeypatch) -> None:  # noqa: F811
    muted_at(far, monkeypatch, again=False)
    job = made.make_job(here, settings())
    with pytest.raises(BrokerUnreachable, match="is not known to have arrived") as said:
        submission.send(job, settings())
    assert "not sent" not in str(said.value)
    assert not job.cancelled
    assert not job.ended
    assert f"yolo-submit --cancel {job.id}" in str(said.value)


def test_whether_it_arrived_is_asked(far: SlowProxy, valkey: Valkey, here, monkeypatch) -> None:  # noqa: F811
    """A server that is silent while the message goes out, and answers when it is asked for it."""
    monkeypatch.setattr(submission, "PUBLISH_S", 1.0)
    job = made.make_job(here, settings())

    def arrives(app, job: Job, key: str, **facts):
        valkey.client.lpush("yolo-log", json.dumps({"headers": {"id": f"{job.id}.start"}, "body": "[]"}))
        raise OSError("the answer was lost")

    monkeypatch.setattr(submission, "publish", arrives)
    submission.send(job, settings())
    assert not job.cancelled
    valkey.client.flushall()
    monkeypatch.setattr(submission, "publish", lambda *_, **__: (_ for _ in ()).throw(OSError("the answer was lost")))
    with pytest.raises(BrokerUnreachable, match="not known to have arrived"):
        submission.send(job, settings())
    jobs.start(job, jobs.Context("here", settings()))
    submission.send(job, settings())  # somebody has begun it


def test_a_broker_that_can_not_be_asked_got_nothing(here) -> None:  # noqa: F811
    given = Settings(broker_url="redis://127.0.0.1:1/0", state_dir=here / "state")
    job = made.make_job(here, given)
    with pytest.raises(BrokerUnreachable, match="was not sent and is recorded as cancelled"):
        submission.send(job, given)
    assert job.cancelled
