"""The engine's process: it may die, hang or deafen at every stage, and never outlives whoever started it."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engine import EngineConfig
from engine.errors import LeaseLost
from orchestrator.engine_process import fence as fences
from orchestrator.engine_process import handle as engine_process
from orchestrator.engine_process.handle import EngineProcess
from orchestrator.engine_process.ipc import Sender, received
from orchestrator.engine_process.messages import (
    Fatal,
    Finished,
    LeftOut,
    Next,
    Opening,
    Ready,
    Stop,
    Work,
    event_of,
    order_of,
)
from orchestrator.errors import EngineFailed
from orchestrator.job.atomic_json import write_once
from orchestrator.job.claims import Claims
from orchestrator.job.jobdir import Job
from orchestrator.job.pieces import Pieces
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from orchestrator.worker.supervise import SupervisedRun, Watch
from tests.assets import ROOT
from tests.e2e.runs import clip
from tests.waiting import until

CONFIG = {"backend": "fake", "min_hits": 1, "visualize": False, "formats": ["tracks"], "streams": 2}
SLOW_S = 0.05  # a frame. 200 of them outlast whatever is done to their engine, on a busy machine as well


@pytest.fixture
def fault(tmp_path, monkeypatch):
    """Sets what goes wrong in engine processes from now on."""

    def set_up(what: str = "", *, once: bool = False, delay_s: float = 0.0) -> None:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "faults"))
        monkeypatch.setenv("FAULT", what)
        monkeypatch.setenv("FAULT_DELAY_S", str(delay_s))
        monkeypatch.delenv("FAULT_ONCE", raising=False)
        if once:
            (tmp_path / "once").touch()
            monkeypatch.setenv("FAULT_ONCE", str(tmp_path / "once"))

    return set_up


class Place:
    """A job over clips of these names, and the steps of a worker."""

    def __init__(self, folder: Path, *names: str, frames: int = 12, **settings) -> None:
        self.settings = Settings(state_dir=folder / "state", **settings)
        self.stop = False
        for number, name in enumerate(names):
            clip(folder / "videos" / name, frames, seed=number)
        self.job: Job = jobs.begin(str(folder / "videos"), CONFIG, self.settings, output=str(folder / "out"))
        self.context = jobs.Context("w@here", self.settings, lambda: self.stop)

    def start(self):
        return jobs.start(self.job, self.context)

    def process(self, key: str = "process-1"):
        return jobs.process(self.job, key, self.context)

    def statuses(self):
        done = [self.job.done(index) for index in sorted(self.job.done_indices())]
        return {Path(one.entry.path).stem: one.status for one in done}

    def endings(self, index: int):
        found = []
        number = 1
        base = self.job.video_base(index)
        while base.with_name(f"{base.name}.{number}.json").exists():
            found.append(end.how if (end := jobs.Lease(base, number).ending()) else None)
            number += 1
        return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def engines() -> list[int]:
    """Engine processes of this one."""
    paths = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    children = [int(child) for path in paths for child in path.read_text().split()]
    return [pid for pid in children if b"orchestrator.engine_process.main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert engines() == []


# -- the line ---------------------------------------------------------------------------------------------------------


def test_messages_arrive_and_half_a_one_does_not():
    reading, writing = os.pipe()
    sender = Sender(writing)
    sender.send(LeftOut(("é\n", "half a \udcff")))
    sender.send(Next())
    os.write(writing, b'{"kind": "next"')
    sender.close()
    with os.fdopen(reading, "rb") as file:
        assert list(received(file, event_of)) == [LeftOut(("é\n", "half a \udcff")), Next()]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "must be of type dict"),
        ({}, "kind is missing"),
        ({"kind": "stop"}, "hand_over is missing"),
        ({"kind": "stop", "hand_over": "no"}, "hand_over must be of type bool"),
        ({"kind": "ready"}, "is not a message"),
        ({"kind": "video", "index": 0, "path": None}, "path must be of type str"),
    ],
)
def test_what_is_no_message(value, said):
    with pytest.raises(ValueError, match=said):
        order_of(value)


def test_threads_do_not_mix_their_messages():
    reading, writing = os.pipe()
    sender = Sender(writing)
    threads = [threading.Thread(target=sender.send, args=(Opening("x" * 200_000),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    with os.fdopen(reading, "rb") as file:
        messages = received(file, event_of)
        assert [len(next(messages).path) for _ in threads] == [200_000] * 4
        for thread in threads:
            thread.join()
        sender.close()
        assert list(messages) == []


def test_a_reader_that_is_gone_is_told():
    reading, writing = os.pipe()
    os.close(reading)
    sender = Sender(writing)
    with pytest.raises(BrokenPipeError):
        sender.send(Next())
    sender.close()


# -- the process ------------------------------------------------------------------------------------------------------


def test_what_can_not_be_done_is_said(tmp_path):
    task = Work(config={"backend": "fake", "window": "x"}, output=str(tmp_path))
    with EngineProcess(task) as engine:
        (event,) = engine.events(20, 20)
        assert isinstance(event, Fatal)
        assert "window" in event.error
        assert engine.ended() == "ended with status 3"


def test_silence_is_a_timeout_and_meanwhile_is_called(tmp_path, fault):
    fault("halt@load")
    calls = 0

    def meanwhile():
        nonlocal calls
        calls += 1

    with EngineProcess(Work(config=CONFIG, output=str(tmp_path))) as engine:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            list(engine.events(1.5, 60, meanwhile))
        assert 1.4 < time.monotonic() - begun < 10
        assert calls >= 2
    assert not alive(engine.pid), "a halted process is ended with the block"


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSEGV, "SIGSEGV")])
def test_an_end_in_words(tmp_path, number, words):
    with EngineProcess(Work(config=CONFIG, output=str(tmp_path))) as engine:
        assert isinstance(engine.event(20), Ready)
        os.kill(engine.pid, number)
        list(engine.events(20, 20))
        assert words in engine.ended()
        engine.order(Stop(hand_over=False))  # nobody hears it


def test_what_means_the_worker_does_not_end_the_engine(tmp_path):
    with EngineProcess(Work(config=CONFIG, output=str(tmp_path))) as engine:
        assert isinstance(engine.event(20), Ready)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(engine.pid, number)
        assert engine.event(20) == Next()
        engine.order(Stop(hand_over=True))
        assert list(engine.events(20, 20))[-1] == Finished()
        assert engine.ended() == "ended with status 0"


SUPERVISOR = """
import sys, threading, time
from orchestrator.engine_process.handle import EngineProcess
from orchestrator.engine_process.messages import Ready, Work
task = Work(config={"backend": "fake"}, output=sys.argv[1])
def start():
    global engine
    engine = EngineProcess(task)
    assert isinstance(engine.event(30), Ready)
    print(engine.pid, flush=True)
    input()
if sys.argv[2] == "main":
    start()
else:
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    print("the thread has ended", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("thread", ["main", "pool"])
def test_it_ends_with_whoever_started_it(tmp_path, thread):
    """However that ends: by SIGKILL, or only the thread of a pool."""
    command = [sys.executable, "-c", SUPERVISOR, tmp_path, thread]
    supervisor = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        pid = int(supervisor.stdout.readline())
        assert alive(pid)
        if thread == "main":
            supervisor.kill()
        else:
            supervisor.stdin.write("\n")
            supervisor.stdin.flush()
            assert supervisor.stdout.readline() == "the thread has ended\n"
        until(lambda: not alive(pid), 1.0)
    finally:
        supervisor.kill()
        supervisor.communicate()


# -- a step around it -------------------------------------------------------------------------------------------------


def test_one_bad_file_harms_nobody(tmp_path, fault):
    place = Place(tmp_path, "bad.mp4", "good.mp4", "well.mp4", max_attempts=2)
    place.start()
    fault("segv@open")
    assert place.process().how == "exhausted"
    assert place.statuses() == {"bad": "failed", "good": "ok", "well": "ok"}
    assert place.job.done(0).entry.error.startswith("gave up after 2 attempts: the engine ")
    assert place.endings(0) == ["crashed", "crashed"]
    assert jobs.end(place.job, place.context).success is False


@pytest.mark.parametrize("what", ["segv@frame", "exit@done"])
def test_it_dies_once_and_the_work_goes_on(tmp_path, fault, what):
    place = Place(tmp_path, "a.mp4", "b.mp4")
    place.start()
    fault(what, once=True)
    assert place.process().how == "exhausted"
    assert place.statuses() == {"a": "ok", "b": "ok"}
    assert sum(how == "crashed" for index in range(2) for how in place.endings(index)) >= 1
    result = jobs.end(place.job, place.context)
    assert result.summary.totals.frames == 24


@pytest.mark.parametrize("what", ["segv@import", "exit@load"])
def test_an_engine_that_never_loads_is_no_fault_of_the_videos(tmp_path, fault, what):
    place = Place(tmp_path, "a.mp4", "b.mp4", max_attempts=2)
    place.start()
    fault(what)
    with pytest.raises(EngineFailed, match="2 times while it loaded the model"):
        place.process()
    assert place.statuses() == {}
    assert set(place.endings(0) + place.endings(1)) == {"handed back"}
    assert jobs.next_step(place.job, 30) == ["end"]
    assert "while it loaded the model" in jobs.end(place.job, place.context).message


def test_an_engine_that_says_it_can_not(tmp_path, fault):
    place = Place(tmp_path, "a.mp4")
    place.start()
    fault("raise@load")
    with pytest.raises(EngineFailed, match="RuntimeError: struck"):
        place.process()
    assert place.endings(0) == ["handed back"]
    assert jobs.next_step(place.job, 30) == ["end"]


def test_an_engine_of_which_a_thread_hangs_has_stalled(tmp_path, fault):
    """Its other threads still tell of it."""
    place = Place(tmp_path, "a.mp4", "b.mp4", stall_s=10.0)  # what it may take to load on a busy machine
    place.start()
    fault("hang@frame", once=True)
    assert place.process().how == "exhausted"
    assert place.statuses() == {"a": "ok", "b": "ok"}
    assert "stalled" in place.endings(0) + place.endings(1)


def in_background(step):
    """Runs a step in a thread: the value, once `join` is called."""
    found = []
    thread = threading.Thread(target=lambda: found.append(step()))
    thread.start()

    def join():
        thread.join(60)
        return found[0]

    return join


def at_work(place) -> None:
    until(lambda: any(video.frames for told in place.job.progress() for video in told.videos), 20)


def test_cameras_are_shared_by_workers_whose_files_follow_each_other(tmp_path, fault, monkeypatch):
    """One worker has a file of each camera when the other begins: that one waits, and gets what follows."""
    place = Place(tmp_path, *(f"{camera}/{part}.mp4" for camera in ("north", "south") for part in "abcd"), frames=40)
    config, output = {**CONFIG, "camera": "folder"}, tmp_path / "shared"
    place.job = jobs.begin(str(tmp_path / "videos"), config, place.settings, output=str(output), workers=2)
    place.start()
    fault(delay_s=0.02)
    held = tmp_path / "held"
    held.touch()
    monkeypatch.setenv("FAULT_HOLD", str(held))
    first = in_background(place.process)
    until(lambda: sum(len(told.videos) for told in place.job.progress()) == 2)
    other = jobs.Context("other@here", place.settings, lambda: place.stop)
    second = in_background(lambda: jobs.process(place.job, "process-2", other))
    until(lambda: any("waiting" in told.stage for told in place.job.progress()))
    held.unlink()
    assert {first().how, second().how} == {"exhausted"}
    done = [place.job.done(index) for index in place.job.done_indices()]
    assert {one.status for one in done} == {"ok"}
    assert len(done) == 8
    assert {one.worker for one in done} == {"w@here", "other@here"}


def test_one_that_waits_hears_of_a_cancel_and_of_its_stop(tmp_path, fault):
    place = Place(tmp_path, "north/a.mp4", "north/b.mp4", frames=200)
    config, output = {**CONFIG, "camera": "folder"}, tmp_path / "shared"
    place.job = jobs.begin(str(tmp_path / "videos"), config, place.settings, output=str(output), workers=2)
    place.start()
    fault(delay_s=SLOW_S)
    first = in_background(place.process)
    at_work(place)
    stop = threading.Event()
    other = jobs.Context("other@here", place.settings, stop.is_set)
    second = in_background(lambda: jobs.process(place.job, "process-2", other))
    until(lambda: any("waiting" in told.stage for told in place.job.progress()), 20)
    stop.set()
    assert second().how == "handed back"
    place.job.cancel("me")
    assert first().how == "cancelled"


def test_a_stop_hands_the_videos_back_with_their_checkpoints(tmp_path, fault):
    place = Place(tmp_path, "a.mp4", "b.mp4", frames=200)
    place.start()
    fault(delay_s=SLOW_S)
    how = in_background(place.process)
    at_work(place)
    place.stop = True
    begun = time.monotonic()
    assert how().how == "handed back"
    assert time.monotonic() - begun < 10
    assert place.statuses() == {}
    assert (place.endings(0), place.endings(1)) == (["handed back"], ["handed back"])
    assert jobs.next_step(place.job, 30) == ["process-1"]
    place.stop = False
    fault()
    assert place.process().how == "exhausted"
    entries = [place.job.done(index).entry for index in range(2)]
    assert [entry.frames for entry in entries] == [200, 200]
    assert all(entry.told["resumed_from"] > 0 for entry in entries)


def test_a_video_that_is_lost_is_told_by_nobody(tmp_path, fault):
    """Another worker has taken it over: this one ends as the loser, and keeps no result."""
    place = Place(tmp_path, "a.mp4", frames=200)
    place.start()
    fault(delay_s=SLOW_S)
    how = in_background(place.process)
    at_work(place)
    write_once(place.job.folder / "videos" / "0000.2.json", {"owner": jobs.Owner.this_process("other@here").to_json()})
    assert how().how == "exhausted"
    assert place.statuses() == {}
    assert place.endings(0) == ["lost", None]
    assert sorted(path.name for path in place.job.output.glob("*.*") if path.is_file()) == []


def test_a_fence_that_can_not_be_seen(tmp_path, monkeypatch):
    """A share that is away for a moment is no reason to give up; one that stays away is no licence to go on."""
    fence, real, failures = fences.Fence(tmp_path / "0000.2.json", tmp_path / "end.json"), os.stat, [3]

    def fails(path, *arguments, **options):
        if failures[0] and str(path).startswith(str(tmp_path)):
            failures[0] -= 1
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *arguments, **options)

    monkeypatch.setattr(fences, "UNREADABLE_S", 0.4)
    monkeypatch.setattr(os, "stat", fails)
    fence()
    failures[0] = 1000
    with pytest.raises(LeaseLost, match="can't be read"):
        fence()
    failures[0] = 0
    (tmp_path / "end.json").touch()
    with pytest.raises(LeaseLost, match="taken over this video"):
        fence()


def test_a_cancelled_video_that_was_done_is_told_as_done(tmp_path, fault):
    """Its engine died after the commit, before the worker knew: a cancel finds it whole."""
    place = Place(tmp_path, "a.mp4", frames=20)
    place.start()
    fault("exit@done", once=True)
    claims = Claims(place.job, place.job.start_record().videos, place.context.owner(), place.settings)
    watch = Watch(place.job, "process-1", "w@here", place.settings, lambda: False, lambda: None)
    pieces = Pieces(place.job, (), EngineConfig(), place.context.owner(), place.settings)
    run = SupervisedRun(watch, claims, pieces, claims.next(suspect=False), alone=True)
    assert run.go() == "exhausted"
    assert (place.endings(0), place.statuses()) == (["crashed"], {})
    assert jobs.cancel(place.job, "me", place.context) == "completed"
    entry = place.job.done(0).entry
    assert (entry.status, entry.frames, entry.attempts) == ("ok", 20, 2)
    assert Path(entry.outputs["tracks"]).name == "a.tracks.jsonl"
    assert Path(entry.outputs["tracks"]).exists()


@pytest.mark.parametrize(("told", "how"), [("stop", "handed back"), ("cancel", "cancelled")])
def test_an_engine_that_hears_nothing_is_killed_in_time(tmp_path, fault, told, how):
    place = Place(tmp_path, "a.mp4", frames=200, grace_s=1.0, cancel_s=1.0)
    place.start()
    fault(delay_s=SLOW_S)
    result = in_background(place.process)
    at_work(place)
    until(lambda: any(video.checkpoint_frames for t in place.job.progress() for video in t.videos), 20)
    for pid in engines():
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    if told == "stop":
        place.stop = True
    else:
        place.job.cancel("me")
    assert result().how == how
    assert time.monotonic() - begun < 8
    if told == "stop":
        assert place.endings(0) == ["handed back"]
    else:
        entry = place.job.done(0).entry
        assert entry.status == "partial"
        assert entry.error == f"cancelled after {entry.frames} frames"
        assert Path(entry.outputs["tracks"]).name == "a.partial.tracks.jsonl"
        assert jobs.end(place.job, place.context).end_log["state"] == "cancelled"


def test_a_file_that_ends_the_one_who_looks_at_it(tmp_path, fault):
    place = Place(tmp_path, "a.mp4", "bad.mp4", "c.mp4")
    fault("segv@open")
    record = place.start()
    assert record.refused is None
    assert [video.error for video in record.videos] == [
        None,
        "ended or stopped the program that looked at it",
        None,
    ]
    assert record.total_frames == 24


def test_a_lease_is_renewed_while_files_are_looked_at(tmp_path, fault, monkeypatch):
    """A probe may take long: nobody else shall start it again meanwhile."""
    place = Place(tmp_path, "bad.mp4", lease_s=1.5)
    monkeypatch.setattr(jobs, "PROBE_SILENCE_S", 2.0)
    fault("halt@open", once=True)
    record = in_background(place.start)
    until(lambda: "start" in place.job.leases("tasks"))
    lease = place.job.leases("tasks")["start"]
    held = []
    until(lambda: held.append(lease.held(1.5)) or place.job.start_path.exists())
    assert len(held) > 10
    assert sum(held) >= 0.9 * len(held), "a busy machine may be late once"
    assert record().videos[0].error == "ended or stopped the program that looked at it"


def test_a_process_that_hangs_in_the_kernel_is_left_behind(monkeypatch, caplog):
    """A read from a dead share can't be killed before it returns: the step must go on without it."""
    monkeypatch.setattr(engine_process, "KILLED_S", 0.2)
    engine = EngineProcess(Work(config={"backend": "fake"}, output="/nowhere"))
    os.kill(engine.pid, signal.SIGSTOP)
    begun = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(engine.process, "kill", lambda: None)
        engine.__exit__(None, None, None)
    assert "hangs in the kernel" in caplog.text
    assert engine.process.poll() is None
    assert time.monotonic() - begun < 5
    engine.__exit__(None, None, None)
    assert engine.process.poll() is not None
