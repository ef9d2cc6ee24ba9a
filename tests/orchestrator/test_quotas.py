"""Quotas: how many slots the jobs of one queue, or of one user, use at once."""

from __future__ import annotations

import pytest

from orchestrator.broker.redis_broker import RedisBroker
from orchestrator.client import views
from orchestrator.client.snapshot import Reader
from orchestrator.errors import QuotaFull, SettingsError
from orchestrator.job import turns
from orchestrator.job.jobdir import Job
from orchestrator.settings import Settings, settings
from orchestrator.worker import quotas
from orchestrator.worker import steps as jobs
from orchestrator.worker.requeue import requeue_lost
from tests.chaos.farm import Farm
from tests.orchestrator import handmade as made
from tests.orchestrator.test_rescue import App, Server
from tests.orchestrator.test_turns_between_jobs import happened, job_over
from tests.waiting import until


@pytest.fixture
def given(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state", queues=("night",), quotas={"night": 1})


@pytest.fixture
def made_jobs(tmp_path, given):
    """Makes jobs that have begun, each with an output folder of its own; and says which it has made."""
    found: list[Job] = []

    def make(queue: str | None = "night", **spec) -> Job:
        job = made.make_job(tmp_path, given, output=f"out-{len(found)}", queue=queue, **spec)
        made.start(job)
        found.append(job)
        return job

    make.all = found
    return make


def held(job: Job, key: str = "process-1"):
    return made.hold(job, job.task_base(key))


def full(made_jobs, given: Settings, job: Job, key: str = "process-1") -> str | None:
    group = quotas.Quotas(made_jobs.all, given).full(job, key)
    return None if group is None else group.name


def test_a_queue_has_no_more_at_work_than_its_quota(made_jobs, given):
    one, two = made_jobs(workers=2), made_jobs()
    assert full(made_jobs, given, one) is None
    lease = held(one)
    assert full(made_jobs, given, two) == "queue night"
    assert full(made_jobs, given, one, "process-2") == "queue night", "a job's own steps count as well"
    assert full(made_jobs, given, made_jobs(queue=None)) is None, "another queue"
    lease.release(jobs.How.EXHAUSTED)
    assert full(made_jobs, given, two) is None


def test_a_user_has_no_more_at_work_than_the_quota(made_jobs, given):
    given = given.model_copy(update={"quotas": {}, "user_quota": 2})
    jobs_of_one = [made_jobs(queue=None), made_jobs(), made_jobs()]
    user = jobs_of_one[0].spec.client["user"]
    for job in jobs_of_one[:2]:
        assert full(made_jobs, given, job) is None
        held(job)
    assert full(made_jobs, given, jobs_of_one[2]) == f"user {user}"


def test_of_two_that_begin_at_once_one_goes_on(made_jobs, given):
    one, two = made_jobs(), made_jobs()
    held(one), held(two)
    assert sorted([full(made_jobs, given, one), full(made_jobs, given, two)], key=str) == [None, "queue night"]


def test_a_step_without_room_is_set_aside_and_says_why(made_jobs, given, tmp_path):
    one, two = made_jobs(), made_jobs()
    held(one)
    context = jobs.Context(
        "yolo@here", given, crowded=lambda job, key: quotas.Quotas(made_jobs.all, given).full(job, key)
    )
    with pytest.raises(QuotaFull, match="waits: queue night uses its quota of 1"):
        jobs.process(two, "process-1", context)
    assert turns.quota_of(two, "process-1") == "queue night"
    assert "process-1" not in two.leases("tasks")
    assert "for room in the quota of queue night" in views.line(Reader(two, given.lease_s).read())


def test_who_has_waited_longest_is_sent_when_there_is_room_a_new_job_before_all(made_jobs, given):
    server = Server()
    app, broker = App(server, given), RedisBroker(server)
    running, later, first, new = (made_jobs() for _ in range(4))
    lease = held(running)
    group = quotas.Group("queue night", 1)
    for job, at in ((later, "2026-01-02"), (first, "2026-01-01"), (new, "2026-01-03")):
        if job is not new:
            held(job).release(jobs.How.GAVE_WAY)  # it has had a turn
        quotas.set_aside(job, "process-1", group)
        path = job.folder / "tasks" / "process-1.waits.json"
        path.write_text(path.read_text().replace(turns.waits_since(job, "process-1"), at))
    assert requeue_lost(app, broker, given) == []
    assert quotas.gives_way(running, "process-1", 6, worked_s=5.0, turn_s=60.0), "it is asked, for the new one"
    lease.release(jobs.How.GAVE_WAY)
    quotas.set_aside(running, "process-1", group)
    for expected in (new, first, later, running):
        sent = requeue_lost(app, broker, given)
        assert [each.split(".")[0] for each in sent] == [expected.id]
        held(expected).release(jobs.How.EXHAUSTED)
        server.lists.clear()


def test_nobody_is_asked_where_nobody_waits(made_jobs, given):
    job = made_jobs()
    held(job)
    quotas.Quotas(made_jobs.all, given).ask_for_way()
    assert not quotas.gives_way(job, "process-1", 6, worked_s=1e6, turn_s=60.0)


@pytest.mark.parametrize("quota", [0, -1, "many"])
def test_a_quota_is_a_whole_number_from_one_on(monkeypatch, tmp_path, quota):
    file = tmp_path / "settings.toml"
    file.write_text(f"[quotas]\nnight = {quota!r}\n")
    monkeypatch.setenv("YOLO_SETTINGS", str(file))
    settings.cache_clear()
    with pytest.raises(SettingsError, match=r"Setting quotas\.night"):
        settings()


@pytest.mark.timeout(180)
def test_two_workers_and_a_quota_of_one(tmp_path):
    """Real workers at an embedded broker: never two jobs of the queue at once, and the small one has its turn."""
    file = tmp_path / "settings.toml"
    file.write_text("[quotas]\nyolo = 1\n")
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0.03", YOLO_SETTINGS=str(file)) as farm:
        farm.worker(), farm.worker()
        long = job_over(farm, "long", 300)
        farm.at_work(long)
        small = job_over(farm, "small", 5)
        both = 0

        def ended() -> bool:
            nonlocal both
            both += all(any(key.startswith("process") for key in _at_work(job)) for job in (long, small))
            return small.ended

        until(ended, 90, farm.tail)
        assert not long.ended, "it made way"
        assert both == 0
        assert farm.wait(long, 120).state == "completed"
        assert "gave way" in [what for what, _ in happened(long)]


def _at_work(job: Job) -> list[str]:
    return [key for key, lease in job.leases("tasks").items() if lease.held(30.0)]
