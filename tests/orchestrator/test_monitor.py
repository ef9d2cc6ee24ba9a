"""The live view: it follows the directory, looks after the job at the broker, and says what is in the way."""

import dataclasses
import io
import itertools
import shutil
import time

import pytest
from rich.console import Console

from orchestrator.client import monitor
from orchestrator.client.snapshot import Reader, VideoRow
from orchestrator.errors import JobError
from orchestrator.job.records import JobState
from orchestrator.settings import Settings, settings
from tests.orchestrator import handmade as made
from tests.waiting import until

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(monitor, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(monitor, "LINE_EVERY_S", 0.1)
    monkeypatch.setattr(monitor, "ASK_EVERY_S", 0.1)


@pytest.fixture
def local(tmp_path, monkeypatch):
    """Settings with a broker that is away."""
    monkeypatch.setenv("CELERY_BROKER_URL", NOWHERE)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    yield settings()
    settings.cache_clear()


@pytest.fixture
def real(valkey, local, monkeypatch):
    """The same with one that is there."""
    monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
    settings.cache_clear()
    yield settings()
    valkey.client.flushall()


def follow(job, given: Settings, *, terminal: bool = False, within_s: float = 10.0, steps=()):
    """What is shown, and what was seen last; `steps` happen one after the other meanwhile, one at each sixth look."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, height=30)
    looks, left = 0, list(steps)

    def tick(say):
        nonlocal looks
        looks += 1
        if looks % 6 == 0 and left:
            left.pop(0)()

    shot = monitor.follow(job, given, console, tick=tick, until=time.monotonic() + within_s)
    return console.file.getvalue(), shot


@pytest.mark.parametrize("terminal", [False, True])
def test_from_queued_to_its_end(tmp_path, local, terminal):
    job = made.make_job(tmp_path, local)
    steps = [
        lambda: made.start(job, 2, warnings=["little room"]),
        lambda: (made.hold(job, job.task_base("process-1")), made.tell(job, (0, 30))),
        lambda: (made.finish(job, 0), made.tell(job, (1, 60))),
        lambda: (made.finish(job, 1), made.end(job, local)),
    ]
    shown, shot = follow(job, local, terminal=terminal, steps=steps)
    assert shot.state == "completed"
    assert "30/100" in shown
    assert "60/100" in shown
    assert "1 of 2 videos done" in shown
    if not terminal:
        assert "\x1b" not in shown
        states = [line.split()[1] for line in shown.splitlines() if line[:1].isdigit()]
        assert states[0] == "queued:"
        assert states[-1] == "completed:"
    else:
        assert "little room" in shown


def test_a_line_only_for_what_has_changed(tmp_path, local, monkeypatch):
    monkeypatch.setattr(monitor, "LINE_EVERY_S", 0.0)
    job = made.make_job(tmp_path, local)
    shot = Reader(job, 30.0).read()
    console = Console(file=io.StringIO(), width=120)
    lines = monitor.Lines(console)
    for _ in range(5):
        lines.show(shot)
    assert len(console.file.getvalue().splitlines()) == 1


def test_the_directory_is_gone(tmp_path, local, monkeypatch):
    monkeypatch.setattr(monitor, "AWAY_S", 1.0)
    job = made.make_job(tmp_path, local)
    with pytest.raises(JobError, match="is gone"):
        follow(job, local, steps=[lambda: shutil.rmtree(job.folder)])


def test_what_tick_says_and_raises(tmp_path, local):
    job = made.make_job(tmp_path, local)
    console = Console(file=io.StringIO(), width=120)

    def tick(say):
        say("hello [there]")
        raise JobError("enough")

    with pytest.raises(JobError, match="enough"):
        monitor.follow(job, local, console, tick=tick)
    assert "hello [there]" in console.file.getvalue()


def test_broker_away_is_said_once_and_the_view_goes_on(tmp_path, local):
    job = made.make_job(tmp_path, local)
    steps = [lambda: None] * 2 + [lambda: made.start(job, 1), lambda: made.finish(job, 0), lambda: made.end(job, local)]
    shown, shot = follow(job, local, steps=steps)
    assert shown.count("The broker does not answer") == 1
    assert shot.state == "completed"


def test_nobody_is_there(tmp_path, real, valkey, monkeypatch):
    monkeypatch.setattr(monitor, "NOBODY_AFTER_S", 0.3)
    job = made.make_job(tmp_path, real)
    shown, _ = follow(job, real, within_s=1.5)
    assert shown.count("No worker is alive for queue yolo. Start one: `yolo-server --worker`.") == 1
    made.heartbeat(valkey.client, "one")
    shown, _ = follow(job, real, within_s=0.8)
    assert "No worker" not in shown


@pytest.mark.parametrize(
    ("queues", "who", "alive"),
    [(("yolo",), None, True), (("other",), None, False), (("yolo",), made.dead_owner(), False)],
    ids=["serves it", "serves others", "was killed"],
)
def test_which_workers_count(tmp_path, real, valkey, queues, who, alive):
    made.heartbeat(valkey.client, "one", queues=queues, who=who)
    job = made.make_job(tmp_path, real)
    with monitor.Attendant(job, real) as attendant:
        until(lambda: attendant.workers is not None)
    assert attendant.workers == int(alive)


def test_a_lost_message_is_sent_again(tmp_path, real, valkey, monkeypatch):
    from orchestrator.worker import requeue as rescue

    monkeypatch.setattr(monitor, "REQUEUE_EVERY_S", 0.2)
    monkeypatch.setattr(rescue, "AGAIN_AFTER_S", -1.0)
    job = made.make_job(tmp_path, real)
    with monitor.Attendant(job, real):
        until(lambda: valkey.client.llen("yolo-log"))
    assert valkey.client.llen("yolo-log") == 1


@pytest.mark.parametrize(
    ("queue", "command"),
    [
        ("yolo", "`yolo-server --worker`"),
        ("yolo-log", "`yolo-server --worker`"),
        ("yolo-gpu", "`yolo-server --worker --queues yolo-gpu,yolo-log`"),
    ],
)
def test_the_command_for_each_queue(queue, command):
    assert monitor.no_worker(queue).endswith(command)


def test_lines_of_a_log_grow_rarer(tmp_path, local, monkeypatch):
    """Without a terminal: progress less and less often, a change of the state at once."""
    present = 1000.0
    monkeypatch.setattr(monitor.time, "monotonic", lambda: present)
    monkeypatch.setattr(monitor, "LINE_EVERY_S", 3.0)
    job = made.make_job(tmp_path, local)
    made.start(job, 1)
    made.hold(job, job.task_base("process-1"))
    console = Console(file=io.StringIO(), width=160)
    lines, shot, said_at = monitor.Lines(console), Reader(job, 30.0).read(), []
    for second in range(3600):
        present = 1000.0 + second
        before = console.file.tell()
        lines.show(dataclasses.replace(shot, working=[VideoRow(0, "v0.mp4", "processing", second, 9999)]))
        if console.file.tell() > before:
            said_at.append(second)
    assert 15 < len(said_at) < 40
    gaps = [later - earlier for earlier, later in itertools.pairwise(said_at)]
    assert gaps == sorted(gaps)
    assert gaps[0] <= 4
    assert gaps[-1] == 300
    present += 1
    before = console.file.tell()
    lines.show(dataclasses.replace(shot, state=JobState.ENDING))
    assert console.file.tell() > before
