"""What breaks long jobs in practice, one function each: it breaks it, waits for the end and judges the results.

Each is given an empty folder, a seeded source of chance and how often to strike, and returns a remark for the table.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from orchestrator.broker.publish import publish, task_id
from orchestrator.job.claims import frames_kept
from orchestrator.job.jobdir import jobs_in
from orchestrator.settings import QUEUE, settings
from orchestrator.worker import steps as jobs
from tests.chaos import halted
from tests.chaos.farm import CONFIG, Farm, small_disk, times
from tests.e2e.runs import clip, fake_engine
from tests.waiting import until

Scenario = Callable[[Path, Random, int], str]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


@scenario
def kill_9_of_a_worker_that_counts(folder: Path, chance: Random, strikes: int) -> str:
    """The same of a job with a scene, crops and a heatmap: all is that of a run that nobody disturbed, to the byte."""
    asked = {"camera": "folder", "heatmap": True, "crops": True}
    with Farm(folder, CHAOS_DELAY_S="0.02") as farm:
        farm.clips(4, frames=200)
        scene = farm.videos / "scene.toml"
        scene.write_text(_SCENE)
        with fake_engine(**{**CONFIG, **asked, "scene": str(scene)}) as engine:
            summary = engine.run([farm.videos], folder / "run")
        assert summary["success"], summary
        job = farm.submit(**asked, scene=str(scene))
        struck = 0
        for _ in range(strikes):
            worker = farm.worker()
            time.sleep(chance.uniform(0.3, 8.0))
            farm.kill(worker)
            until(lambda: not farm.engines(), 2)
            if job.ended:
                break
            struck += 1
        farm.worker()
        record = farm.wait(job)
        ends = [job.done(index) for index in sorted(job.done_indices())]
        statuses = [end.status for end in ends if end is not None]
        assert (record.state, statuses) == ("completed", ["ok"] * 4)
        kept = ("*.tracks.jsonl", "*.mot.txt", "*.crops.zip", "*.csv", "heatmap.json")
        names = sorted(path.name for pattern in kept for path in (folder / "run").glob(pattern))
        assert len(names) == 4 * 3 + 5 + 1, names
        other = [name for name in names if (job.output / name).read_bytes() != (folder / "run" / name).read_bytes()]
        assert not other, f"these differ: {other}"
        return f"{struck} kills before its end, {len(names)} files are the same"


_SCENE = """
[[line]]
name = "mid"
points = [[0.4, 0], [0.4, 1]]
anchor = "centre"
[[zone]]
name = "left half"
polygon = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
"""


@scenario
def kill_9_of_a_worker(folder: Path, chance: Random, strikes: int) -> str:
    """The whole process group, at any moment of the job; a new worker starts each time."""
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        for _ in range(strikes):
            worker = farm.worker()
            time.sleep(chance.uniform(0.3, 6.0))
            farm.kill(worker)
            until(lambda: not farm.engines(), 2)
            if job.ended:
                break
        farm.worker()
        record = farm.wait(job)
        farm.judge(job, ok=3)
        return f"{record.result.end_log['attempts']} attempts at 3 videos"


@scenario
def kill_9_of_workers_that_share_a_video(folder: Path, chance: Random, strikes: int) -> str:
    """One of two, or both, at any moment: whoever tracks the video, whoever finds what is in its pieces."""
    with Farm(folder, CHAOS_DELAY_S="0.04") as farm:
        farm.clips(1, frames=500)
        job = farm.submit(workers=2, split_s=1.0)
        struck = 0
        for _ in range(strikes):
            while len(farm.workers) < 2:
                farm.worker()
            time.sleep(chance.uniform(3.0, 9.0))
            if job.ended:
                break
            for worker in chance.sample(farm.workers, chance.choice((1, 2))):
                farm.kill(worker)
            struck += 1
        while len(farm.workers) < 2:
            farm.worker()
        farm.wait(job)
        farm.judge(job, ok=1)
        known = sum(event["frames"] for event in farm.events(job, "known ahead"))
        pieces = len(farm.events(job, "piece ended"))
        return f"{struck} kills before its end, {pieces} pieces, {known} of 500 frames by helpers"


@scenario
def kill_9_of_the_engine(folder: Path, chance: Random, strikes: int) -> str:
    """As the kernel does when memory runs out: the engine's process alone."""
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        farm.worker()
        struck = 0
        for _ in range(strikes):
            farm.at_work(job)
            time.sleep(chance.uniform(0.1, 1.5))
            for pid in farm.engines():
                os.kill(pid, signal.SIGKILL)
                struck += 1
        farm.wait(job)
        farm.judge(job, ok=3)
        return f"struck {struck} times"


@scenario
def sigterm_of_a_worker(folder: Path, chance: Random, strikes: int) -> str:
    """The worker hands its job back and ends with status 0; another continues."""
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        slowest = 0.0
        for _ in range(strikes):
            worker = farm.worker()
            farm.up(worker)
            time.sleep(chance.uniform(0.0, 3.0))
            begun = time.monotonic()
            assert farm.stop(worker) == 0, farm.tail()
            slowest = max(slowest, time.monotonic() - begun)
            assert not farm.engines()
        farm.worker()
        farm.wait(job)
        farm.judge(job, ok=3)
        return f"stopped in at most {slowest:.1f} s"


@scenario
def two_workers_and_one_dies(folder: Path, chance: Random, strikes: int) -> str:
    """The dead one's videos go to the other."""
    with Farm(folder) as farm:
        farm.clips(6)
        job = farm.submit(workers=2)
        doomed = farm.worker()
        farm.worker()
        farm.at_work(job)
        time.sleep(chance.uniform(0.2, 2.0))
        farm.kill(doomed)
        record = farm.wait(job)
        farm.judge(job, ok=6)
        return f"workers that gave results: {len(record.result.to_json()['processing_result']['workers'])}"


@scenario
def halted_at_every_step(folder: Path, chance: Random, strikes: int) -> str:
    """Two attempts at one video, the first halted between any two steps: the whole matrix of tests/chaos/halted.py."""
    folder.mkdir(parents=True)
    place, decided = halted.Place(folder), Counter[str]()
    for number, case in enumerate(halted.cases()):
        inner = folder / f"case-{number}"
        inner.mkdir()
        try:
            decided[halted.play(place, case, inner)] += 1
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error
        shutil.rmtree(inner)
    return f"{decided.total()} cases, {decided['the first']} decided by the first attempt"


@scenario
def halted_worker(folder: Path, chance: Random, strikes: int) -> str:
    """A whole worker, its engine at any step, is halted for longer than its lease; another one takes over, and the
    first wakes while that one works, or after the end of the job."""
    settings_file = folder.with_name(folder.name + ".toml")
    settings_file.write_text("lease_s = 3\n")
    struck = []
    for strike in range(strikes):
        step = chance.choice(HALTED_AT)
        late = bool(strike % 2)
        once = folder.with_name(f"{folder.name}-{strike}.halt")
        once.touch()
        with Farm(folder / str(strike), YOLO_SETTINGS=str(settings_file), CHAOS_HALT_ONCE=str(once)) as farm:
            farm.clips(2)
            job = farm.submit(workers=2)
            first = farm.worker(CHAOS_HALT_AT=step)
            until(lambda: not once.exists(), 60, farm.tail)  # noqa: B023 - called in this turn
            until(lambda: halted_group(first), 20, farm.tail)  # noqa: B023
            farm.worker()
            if late:
                farm.wait(job)
            else:
                time.sleep(chance.uniform(3.0, 6.0))
            published = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in farm.output.glob("v*.*")}
            os.killpg(first.pid, signal.SIGCONT)
            farm.wait(job)
            time.sleep(2.0)
            assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in published} == published
            farm.judge(job, ok=2)
            assert farm.stop(first) == 0, farm.tail()
            assert not list(farm.output.rglob("*.part")), "a dead attempt was not swept"
        struck.append(f"{step}{' (late)' if late else ''}")
    return ", ".join(struck)


HALTED_AT = ("claimed", "begun", "opened", "journal#3", "last frame", "fence passed again", "committed", "published")


def halted_group(worker: subprocess.Popen[bytes]) -> bool:
    """Whether a worker's process is stopped, and with it its group."""
    return Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@scenario
def broker_restart_with_its_data(folder: Path, chance: Random, strikes: int) -> str:
    """kill -9 of the server, which comes back with its append-only file."""
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        farm.worker()
        for _ in range(strikes):
            time.sleep(chance.uniform(0.5, 3.0))
            farm.broker.kill()
            time.sleep(chance.uniform(0.2, 2.0))
            farm.broker.revive()
        farm.wait(job)
        farm.judge(job, ok=3)
        return f"{strikes} restarts"


@scenario
def broker_loses_everything(folder: Path, chance: Random, strikes: int) -> str:
    """A restart without persistence: queue, unacknowledged messages and results are gone."""
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        worker = None
        for _ in range(strikes):
            farm.broker.forget()
            worker = worker or farm.worker()
            time.sleep(chance.uniform(0.5, 4.0))
        farm.broker.forget()
        farm.wait(job)
        farm.judge(job, ok=3)
        return f"{strikes + 1} times"


@scenario
def broker_pauses(folder: Path, chance: Random, strikes: int) -> str:
    """SIGSTOP: connections stay open and nothing answers, also while the job ends."""
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        farm.worker()
        farm.at_work(job)
        farm.broker.pause(True)
        try:
            until(lambda: len(job.done_indices()) == 3, 60, farm.tail)
            time.sleep(5.0)
        finally:
            farm.broker.pause(False)
        farm.wait(job)
        farm.judge(job, ok=3)
        return "all videos were done while it slept"


@scenario
def message_delivered_twice(folder: Path, chance: Random, strikes: int) -> str:
    """Two workers get the same step at once, with the same id."""
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        farm.worker()
        farm.at_work(job)
        publish(farm.app, job, "process-1")
        farm.worker()
        farm.wait(job)
        farm.judge(job, ok=3)
        until(lambda: farm.waiting(QUEUE) == 0, 30)
        return "the second one waited"


@scenario
def a_pool_child_hangs(folder: Path, chance: Random, strikes: int) -> str:
    """The child and its engine halt, as in a read from a dead share; their worker's parent lives and beats. Another
    worker takes the work, and who wakes finds that it was replaced."""
    settings_file = folder.with_name(folder.name + ".toml")
    settings_file.write_text("lease_s = 3\n")
    with Farm(folder, YOLO_SETTINGS=str(settings_file)) as farm:
        farm.clips(3, frames=200)
        job = farm.submit()
        workers = [farm.worker(), farm.worker()]
        for _ in range(strikes):
            farm.at_work(job)
            halted = [pid for worker in workers for pid in farm.below(worker.pid) if pid in farm.at_it()]
            for pid in halted:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(6.0, 12.0))
            for pid in halted:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        farm.wait(job)
        farm.judge(job, ok=3)
        return f"halted {strikes} times"


@scenario
def many_jobs_for_one_folder(folder: Path, chance: Random, strikes: int) -> str:
    """They go one after the other, and a job of another folder passes them."""
    count = 12 * strikes
    with Farm(folder, CHAOS_DELAY_S="0") as farm:
        clip(farm.videos / "a.mp4", 5)
        farm.worker()
        farm.wait(farm.submit(visualize=False))
        began = time.monotonic()
        farm.wait(farm.submit(visualize=False))
        alone_s = time.monotonic() - began
        many = [farm.submit(visualize=False) for _ in range(count)]
        other = farm.submit(output=farm.folder / "other", visualize=False)
        began = time.monotonic()
        farm.wait(other)
        passed_s = time.monotonic() - began
        for job in many:
            assert farm.wait(job, 60 + 10 * count).state == "completed"
        took = time.monotonic() - began
        assert took < 10 + 3 * alone_s * count, f"{count} jobs took {took:.0f} s, one alone {alone_s:.1f} s"
        assert passed_s < took, "an unrelated job waited for all of them"
        return f"{count} jobs in {took:.0f} s (one alone {alone_s:.1f} s), the other one after {passed_s:.0f} s"


@scenario
def short_visibility_timeout(folder: Path, chance: Random, strikes: int) -> str:
    """Messages time out after 4 s, the job takes longer: the worker's parent keeps its message alive."""
    settings_file = folder.with_name(folder.name + ".toml")
    settings_file.write_text("visibility_timeout_s = 4\n")
    with Farm(folder, YOLO_SETTINGS=str(settings_file)) as farm:
        farm.clips(3, frames=400)
        job = farm.submit()
        for _ in range(2):
            farm.worker()
        farm.wait(job)
        farm.judge(job, ok=3)
        steps = sorted(path.name for path in (job.folder / "tasks").glob("process-1.*.json"))
        assert "process-1.2.json" not in steps, "the message was delivered twice"
        return "delivered once"


@scenario
def client_with_foreign_settings(folder: Path, chance: Random, strikes: int) -> str:
    """A stock Celery client with a visibility timeout of a second sweeps the broker: messages come twice."""
    foreign = (
        "import sys, time; from celery import Celery; app = Celery(broker=sys.argv[1]);"
        "app.conf.broker_transport_options = {'visibility_timeout': 1, 'unacked_restore_throttle': 1};"
        "[app.control.inspect(timeout=0.5).ping() for _ in range(8)]"
    )
    with Farm(folder) as farm:
        farm.clips(3)
        job = farm.submit()
        farm.worker()
        farm.worker()
        farm.at_work(job)
        subprocess.run([sys.executable, "-c", foreign, farm.broker.url], check=True, timeout=60)
        farm.wait(job)
        farm.judge(job, ok=3)
        return "its sweeps did no harm"


@scenario
def bad_videos_among_good(folder: Path, chance: Random, strikes: int) -> str:
    """Corrupt files, and one that ends the engine in native code each time: they fail, the others don't notice."""
    with Farm(folder) as farm:
        farm.clips(4)
        good = (farm.videos / "v0.mp4").read_bytes()
        (farm.videos / "crash.mp4").write_bytes(good)
        (farm.videos / "empty.mp4").write_bytes(b"")
        (farm.videos / "noise.mp4").write_bytes(chance.randbytes(50_000))
        job = farm.submit()
        farm.worker()
        record = farm.wait(job)
        farm.judge(job, ok=4, failed=3)
        videos = record.result.to_json()["processing_result"]["videos"]
        crash = next(video for video in videos if video["path"].endswith("crash.mp4"))
        assert crash["error"].startswith("gave up after 3 attempts"), crash["error"]
        return str(crash["error"])


@scenario
def full_disk(folder: Path, chance: Random, strikes: int) -> str:
    """The output disk fills up in the middle: what can't be written fails with that reason; with room, all is well."""
    with Farm(folder) as farm, small_disk(folder / "small", "3m") as small:
        farm.clips(3)
        hog = small / "hog"
        job = farm.submit(output=small / "out")
        farm.worker()
        farm.at_work(job)
        # Unbuffered: what does not fit must not be written once more as the file is closed.
        with open(hog, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 65536)
        time.sleep(chance.uniform(3.0, 6.0))
        assert farm.workers[0].poll() is None, farm.tail()
        hog.unlink()
        record = farm.wait(job)
        errors = {video["error"] for video in record.result.to_json()["processing_result"]["videos"] if video["error"]}
        assert all("no space left" in error for error in errors), errors
        again = farm.submit(output=small / "out")
        farm.wait(again)
        farm.judge(again, ok=3)
        return f"first: {'; '.join(sorted(errors)) or 'waited for room'}; then all done"


@scenario
def two_pipelines_on_one_folder(folder: Path, chance: Random, strikes: int) -> str:
    """Both end well, one after the other."""
    with Farm(folder) as farm:
        farm.clips(3)
        first, second = farm.submit(), farm.submit()
        farm.worker()
        farm.worker()
        farm.wait(first)
        farm.judge(first, ok=3)
        farm.wait(second)
        farm.judge(second, ok=3)
        return "one waited for the other"


@scenario
def cancel_while_running(folder: Path, chance: Random, strikes: int) -> str:
    """On every pool: from the command to the engine's end."""
    took = {}
    for pool in ("prefork", "threads", "solo"):
        with Farm(folder / pool) as farm:
            farm.clips(3, frames=600)
            job = farm.submit()
            farm.worker("--pool", pool)
            farm.at_work(job)
            begun = time.monotonic()
            jobs.cancel(job, "chaos", jobs.Context("chaos", settings()))
            until(lambda: not farm.engines(), 10)
            took[pool] = time.monotonic() - begun
            record = farm.wait(job, 20)
            assert record.state == "cancelled", record
            assert took[pool] < 2.0, took
    return ", ".join(f"{pool} {seconds:.2f} s" for pool, seconds in took.items())


@scenario
def cancel_with_no_worker(folder: Path, chance: Random, strikes: int) -> str:
    """The job ends at once; a worker that starts later does not run it."""
    with Farm(folder) as farm:
        farm.clips(1)
        job = farm.submit()
        assert jobs.cancel(job, "chaos", jobs.Context("chaos", settings())) == "cancelled"
        farm.worker()
        until(lambda: farm.waiting("yolo-log") == 0, 30)
        time.sleep(1.0)
        assert job.start_record() is None
        assert not list((job.folder / "videos").iterdir())
        return "ended at once"


@scenario
def cancel_after_its_worker_died(folder: Path, chance: Random, strikes: int) -> str:
    """Nobody is left to stop: what the dead worker had reached is kept as valid partial files."""
    with Farm(folder) as farm:
        farm.clips(2, frames=300)
        job = farm.submit()
        worker = farm.worker()
        farm.at_work(job)
        start = job.start_record()
        assert start is not None
        until(lambda: all(frames_kept(job, video) for video in start.videos), 30, farm.tail)
        farm.kill(worker)
        until(lambda: not job.live(settings().lease_s), 10)  # a child of the worker's may die a moment after it
        assert jobs.cancel(job, "chaos", jobs.Context("chaos", settings())) == "cancelled"
        record = job.end_record()
        assert record is not None
        reached = []
        for video in record.result.to_json()["processing_result"]["videos"]:
            assert video["status"] == "partial", video
            assert len(times(Path(video["outputs"]["video"]))) == video["frames"] > 0
            reached.append(video["frames"])
        return f"partial files of {reached} frames"


@scenario
def broker_out_of_memory(folder: Path, chance: Random, strikes: int) -> str:
    """Redis refuses every write for a while, over the end of the job: the worker neither dies nor forgets."""
    with Farm(folder) as farm:
        farm.clips(2)
        job = farm.submit()
        farm.worker()
        farm.at_work(job)
        farm.broker.fill(True)
        until(lambda: len(job.done_indices()) == 2, 60, farm.tail)
        time.sleep(3.0)
        farm.broker.fill(False)
        farm.wait(job)
        farm.judge(job, ok=2)
        assert farm.workers[0].poll() is None, farm.tail()
        return "writes were refused until after the last video"


@scenario
def deaf_worker(folder: Path, chance: Random, strikes: int) -> str:
    """Connected, alive, and never asking for a message: the worker notices and starts itself again."""
    settings_file, once = folder.with_name("deaf.toml"), folder.with_name("deaf")
    settings_file.write_text("deaf_s = 3\n")
    once.touch()
    with Farm(folder, YOLO_SETTINGS=str(settings_file), CHAOS_DEAF=str(once)) as farm:
        farm.clips(1)
        job = farm.submit()
        worker = farm.worker()
        farm.wait(job)
        farm.judge(job, ok=1)
        assert worker.poll() is None, "it is the same process"
        assert "gone deaf" in farm.log.read_text()
        return "heard again after its restart"


@scenario
def beat_sweeps_a_folder(folder: Path, chance: Random, strikes: int) -> str:
    """New and complete files become a job, once each, however often the folder is swept."""
    settings_file = folder.with_name("beat.toml")
    watch = f'[[watch]]\nfolder = "{folder}/videos"\noutput = "{folder}/out"\nevery_minutes = 0.03\nquiet_s = 1.0\n'
    config = "\n".join(f"{key} = {json.dumps(value)}" for key, value in CONFIG.items())
    settings_file.write_text(f"{watch}[watch.config]\n{config}\n")
    with Farm(folder, YOLO_SETTINGS=str(settings_file)) as farm:
        farm.clips(2, frames=30)
        farm.worker()
        with growing(farm.videos / "growing.mp4"):
            farm.launch("--beat")
            until(lambda: any(job.ended for job in jobs_in(farm.output)), 40, farm.tail)
            time.sleep(3.0)
            (first,) = jobs_in(farm.output)
            farm.judge(first, ok=2)
            clip(farm.videos / "late.mp4", 20, seed=9)
            late = str(farm.videos / "late.mp4")
            until(lambda: any(late in job.spec.only and job.ended for job in jobs_in(farm.output)), 40, farm.tail)
        swept = [path for job in jobs_in(farm.output) for path in job.spec.only]
        assert sorted(map(os.path.basename, swept)) == ["late.mp4", "v0.mp4", "v1.mp4"]
        return f"{len(swept)} files in {len(jobs_in(farm.output))} jobs"


@contextlib.contextmanager
def growing(path: Path) -> Iterator[None]:
    """A file that a camera is still writing."""
    ended = threading.Event()

    def grow() -> None:
        while not ended.wait(0.1):
            with open(path, "ab") as file:
                file.write(b"\0" * 100)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@scenario
def revoked_through_celery(folder: Path, chance: Random, strikes: int) -> str:
    """`celery control revoke`, as Flower does it, with and without terminate: the job is cancelled, durably."""
    for terminate in (False, True):
        with Farm(folder / str(terminate)) as farm:
            farm.clips(2, frames=400)
            job = farm.submit()
            farm.worker()
            farm.at_work(job)
            farm.app.control.revoke(task_id(job, "process-1"), terminate=terminate)
            if not terminate:  # it is at work: only a cancel ends it, a revoke is for what still waits
                jobs.cancel(job, "chaos", jobs.Context("chaos", settings()))
            record = farm.wait(job, 60)
            assert record.state == "cancelled", record.state
            until(lambda: not farm.engines(), 5)
    return "the job ended as cancelled"
