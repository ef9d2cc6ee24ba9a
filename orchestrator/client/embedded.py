"""`yolo-submit --embedded`: a broker and a worker for one job, which never outlive it.

If `yolo-server --worker --embedded` runs a broker on this machine, that one is used instead. The worker has its own
session, so that Ctrl-C only reaches it through us. If this program is killed, a reaper (broker/reaper.py) ends the
worker, cancels the job and removes the broker's folder. The broker ends with this program by itself.

This worker must ignore jobs that wait at other brokers, so it has a separate registry of jobs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from orchestrator.broker import reaper
from orchestrator.broker.local_server import EmbeddedBroker, find_embedded
from orchestrator.errors import EmbeddedBrokerError, JobError
from orchestrator.job.jobdir import Job
from orchestrator.settings import LOG_QUEUE, settings

MAX_RESTARTS = 5

_VARIABLES = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")
_AT_START_S = 15.0
RESTART_PAUSE_S = 1.0
_STOP_S = 15.0
_TAIL_LINES = 12
# -P: the current folder may contain files that shadow our modules.
_PYTHON = (sys.executable, "-P", "-m")
_ROOT = Path(__file__).resolve().parents[2]

Say = Callable[[str], None]


class Embedded:
    """The broker, and later the worker. A context manager; `own` is False if a running broker is used."""

    def __init__(self) -> None:
        self.own = False
        self._broker: EmbeddedBroker | None = None
        self._reaper: subprocess.Popen[str] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._before: dict[str, str | None] = {}
        self._job: Job | None = None
        self._queue = ""
        self._started_at = 0.0
        self._restarts = 0
        self._told = False

    def __enter__(self) -> Embedded:
        """Start or find the broker. Raises EmbeddedBrokerError."""
        url = find_embedded(settings().broker_state)
        if url is None:
            self.own = True
            self._broker = EmbeddedBroker.temporary()
            try:
                self._broker.start()
                self._reaper = _start_reaper(self._broker)
            except BaseException:
                self._stop()
                raise
            url = self._broker.url
        self._before = {name: os.environ.get(name) for name in _VARIABLES}
        os.environ.update(dict.fromkeys(_VARIABLES, url))
        settings.cache_clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stop()
        finally:
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            settings.cache_clear()

    def start_worker(self, job: Job, queue: str) -> None:
        """Start a worker for this job, from the main thread. Its log is `worker.log` in the job's directory."""
        self._job, self._queue = job, queue
        cancel = [*_PYTHON, "orchestrator.client.submit_cli", "--cancel", job.id, "--output", job.results]
        self._tell_reaper(f"then {json.dumps(cancel)}")
        self._start()

    def look(self, say: Say) -> None:
        """Restart what has died; call this about every second. Raises JobError if the worker keeps dying."""
        if self._broker is None or self._worker is None or self._job is None:
            return
        try:
            if self._broker.watch():
                say("The embedded broker died and was restarted.")
            self._told = False
        except EmbeddedBrokerError as error:  # the next call tries again
            if not self._told:
                say(str(error))
            self._told = True
        status = self._worker.poll()
        if status is None or self._job.ended:
            return
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        early = time.monotonic() - self._started_at < _AT_START_S
        reaper.end_group(self._worker.pid, 0.0)
        over = self._restarts >= MAX_RESTARTS
        if over or early:
            say(f"The worker {how}. Its log is {self._log}; it ends with:")
            for line in self._tail():
                say(f"  {line}")
        if over:
            raise JobError(f"The worker {how}, after {self._restarts} restarts. Its log is {self._log}.")
        self._restarts += 1
        say(f"The worker {how} and is restarted ({self._restarts} of {MAX_RESTARTS})")
        time.sleep(RESTART_PAUSE_S)
        self._start()

    def kill_worker(self) -> None:
        """Kill the worker immediately."""
        if self._worker is not None:
            reaper.end_group(self._worker.pid, 0.0)
            self._worker.wait()

    @property
    def memory(self) -> Path:
        """Return the worker's registry of jobs."""
        return self._scratch / "state"

    @property
    def _scratch(self) -> Path:
        assert self._broker is not None
        return self._broker.directory / "tmp"

    @property
    def _log(self) -> str:
        assert self._job is not None
        folder = self._job.folder
        return str(folder / "worker.log" if isinstance(folder, Path) else self._scratch / "worker.log")

    def _start(self) -> None:
        assert self._job is not None
        scratch = self._scratch
        scratch.mkdir(exist_ok=True)
        with open(self._log, "ab") as log:
            self._worker = subprocess.Popen(
                worker_command(self._job.workers, self._queue),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(TMPDIR=str(scratch), YOLO_STATE_DIR=str(self.memory)),
            )
        self._started_at = time.monotonic()
        self._tell_reaper(f"worker {self._worker.pid}")

    def _tail(self) -> list[str]:
        """Return the last lines of the worker's log."""
        try:
            with open(self._log, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 8192))
                return log.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        except OSError:
            return []

    def _tell_reaper(self, line: str) -> None:
        if self._reaper is not None and self._reaper.stdin is not None:
            with contextlib.suppress(OSError):
                self._reaper.stdin.write(line + "\n")
                self._reaper.stdin.flush()

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._worker.wait(_STOP_S)
            reaper.end_group(self._worker.pid, 0.0)  # children of a killed worker
            self._worker.wait()
            self._worker = None
        if self._broker is not None:
            self._broker.stop()
        if self._reaper is not None:
            self._tell_reaper("done")
            _close(self._reaper.stdin)
            self._reaper.wait()
            self._reaper = None


def worker_command(concurrency: int, queue: str) -> list[str]:
    """Return the command of a worker for the queue of a job's process steps, and for its other steps."""
    queues = ",".join(dict.fromkeys((queue, LOG_QUEUE)))
    program = [*_PYTHON, "orchestrator.worker.server_cli", "--worker"]
    return [*program, "--concurrency", str(concurrency), "--queues", queues]


def _start_reaper(broker: EmbeddedBroker) -> subprocess.Popen[str]:
    lock = broker.state / "server.lock"
    return subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, str(broker.directory), str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
        env=_environment(),
    )


def _environment(**values: str) -> dict[str, str]:
    """Return an environment in which our modules are importable, even from a checkout that is not installed."""
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **values}


def _close(stream: IO[str] | None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()
