"""A job system in a box: a broker, workers, videos and the results that an undisturbed run gives."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.application import make_app
from orchestrator.broker import exec_with_parent
from orchestrator.broker.opened import open_broker
from orchestrator.broker.publish import publish
from orchestrator.job import outcomes
from orchestrator.job.jobdir import Job
from orchestrator.job.records import EndRecord
from orchestrator.settings import settings
from orchestrator.worker import steps as jobs
from tests.assets import ROOT
from tests.chaos import brokers
from tests.e2e.runs import clip, fake_engine
from tests.waiting import until

HOOKS = Path(__file__).parent / "hooks"
CONFIG: dict[str, Any] = {
    "backend": "fake", "min_hits": 1, "video_preset": "ultrafast", "streams": 2, "report": False,
}  # fmt: skip


class Farm:
    """Everything of one scenario, below `folder`. Use it as a context manager: nothing survives the block."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.videos = folder / "videos"
        self.output = folder / "out"
        self.log = folder / "workers.log"
        self.broker = brokers.made(folder)
        self.workers: list[subprocess.Popen[bytes]] = []
        self._environment = {
            "YOLO_STATE_DIR": str(folder / "state"),
            "PYTHONPATH": os.pathsep.join([str(HOOKS), str(ROOT)]),
            **environment,
        }
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> Farm:
        self.videos.mkdir(parents=True)
        self.broker.start()
        self._environment["CELERY_BROKER_URL"] = self.broker.url
        for name, value in self._environment.items():
            self._before[name] = os.environ.get(name)
            os.environ[name] = value
        settings.cache_clear()
        self.app = make_app("client")
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self.workers):
            self.kill(worker)
        self.app.close()
        self.broker.stop()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        settings.cache_clear()

    # -- what there is to do ------------------------------------------------------------------------------------------

    def clips(self, count: int, frames: int = 150) -> None:
        for number in range(count):
            clip(self.videos / f"v{number}.mp4", frames + 10 * number, seed=number)

    def submit(self, output: Path | None = None, workers: int = 1, **config: Any) -> Job:
        """A job over all videos, on the queue."""
        given = {**CONFIG, **config}
        job = jobs.begin(str(self.videos), given, settings(), output=str(output or self.output), workers=workers)
        publish(self.app, job, "start")
        return job

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        with open_broker(settings()) as broker:
            return broker.lengths([queue])[queue]

    # -- workers ------------------------------------------------------------------------------------------------------

    def worker(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """A worker with a process group of its own."""
        return self.launch("--worker", *arguments, **environment)

    def launch(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Any part of `yolo-server`."""
        server = [sys.executable, "-m", "orchestrator.worker.server_cli", *arguments]
        command = [sys.executable, exec_with_parent.__file__, str(os.getpid()), *server]
        with open(self.log, "ab") as log:
            worker = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **environment}, cwd=ROOT
            )
        self.workers.append(worker)
        return worker

    def up(self, worker: subprocess.Popen[bytes], within_s: float = 60) -> None:
        """Waits until a worker has told that it is there: from then on it ends as it should."""
        with open_broker(settings()) as broker:
            until(lambda: any(beat.pid == worker.pid for beat in broker.live()), within_s, self.tail)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9 of its whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        if worker in self.workers:
            self.workers.remove(worker)

    def stop(self, worker: subprocess.Popen[bytes], within_s: float = 40) -> int:
        """SIGTERM; the exit status."""
        worker.send_signal(signal.SIGTERM)
        status = worker.wait(within_s)
        self.workers.remove(worker)
        return status

    # -- waiting and judging ------------------------------------------------------------------------------------------

    def wait(self, job: Job, within_s: float = 120) -> EndRecord:
        """The job's end record. Fails when it does not come in time."""
        until(lambda: job.ended, within_s, lambda: f"{outcomes.state_of(job, 30)}; {self.tail()}")
        record = job.end_record()
        assert record is not None
        return record

    def at_work(self, job: Job, within_s: float = 60) -> None:
        """Waits until frames are being processed."""
        until(lambda: any(told.videos for told in job.progress()), within_s, self.tail)

    def judge(self, job: Job, *, ok: int, failed: int = 0) -> None:
        """The job's results are those of an undisturbed run, each made once."""
        record = job.end_record()
        assert record is not None
        summary = record.result.to_json()["processing_result"]
        statuses = {Path(video["path"]).name: video for video in summary["videos"]}
        assert sum(video["status"] == "ok" for video in statuses.values()) == ok, statuses
        assert sum(video["status"] == "failed" for video in statuses.values()) == failed, statuses
        expected = self.undisturbed([name for name, video in statuses.items() if video["status"] == "ok"])
        for name, video in statuses.items():
            if video["status"] != "ok":
                continue
            for kind in ("tracks", "mot"):
                made, right = Path(video["outputs"][kind]), expected / Path(video["outputs"][kind]).name
                assert made.read_bytes() == right.read_bytes(), f"{made} differs from an undisturbed run"
            assert times(Path(video["outputs"]["video"])) == times(expected / f"{Path(name).stem}.mp4")
        log = job.folder / "events.jsonl"
        until(lambda: '"event": "ended"' in log.read_text(), 10, log.read_text)  # a moment after the end record
        ended = [event["video"] for event in self.events(job, "video ended")]
        assert sorted(ended) == sorted(set(ended)), "a video was done twice"
        assert len(self.events(job, "ended")) == 1, "the end was recorded more than once"
        result = job.output / f"celery_result_{job.id}.json"
        until(result.exists, 10, lambda: f"{result} is missing")  # it is made a moment after the end record

    def events(self, job: Job, name: str) -> list[dict[str, Any]]:
        """The job's events of this name."""
        events = [json.loads(line) for line in (job.folder / "events.jsonl").read_text().splitlines()]
        return [event for event in events if event["event"] == name]

    def undisturbed(self, names: list[str]) -> Path:
        """The folder of an undisturbed run over these videos."""
        folder = self.folder / "undisturbed"
        if not folder.exists():
            engine = fake_engine(**{key: value for key, value in CONFIG.items() if key != "backend"}, visualize=True)
            with engine:
                engine.run([self.videos / name for name in names], folder)
        return folder

    def engines(self) -> list[int]:
        """Engine processes of this farm's workers that are alive."""
        mine, found = f"YOLO_STATE_DIR={self._environment['YOLO_STATE_DIR']}\0".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (
                    b"orchestrator.engine_process.main" in (path / "cmdline").read_bytes()
                    and mine in (path / "environ").read_bytes()
                ):
                    found.append(int(path.name))
        return found

    def below(self, pid: int) -> list[int]:
        """The processes below one: a worker's pool child, and that one's engine."""
        found = []
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                found += [child, *self.below(child)]
        return found

    def at_it(self) -> set[int]:
        """Engines, and the pool children that they belong to."""
        engines = set(self.engines())
        return engines | {_parent(pid) for pid in engines}

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


def _parent(pid: int) -> int:
    """0 where the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def times(path: Path) -> list[tuple[int, int]]:
    """pts and duration of every frame."""
    import av

    with av.open(str(path)) as container:
        return [(frame.pts, frame.duration) for frame in container.decode(video=0)]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of `size`, e.g. "3m". Raises PermissionError if this user may not mount one."""
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        raise PermissionError(done.stderr.decode().strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)
