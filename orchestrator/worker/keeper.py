"""The worker's duties besides Celery's, on a thread of its parent process, so that no task can delay them.

* It renews the worker's messages at the broker, so that they are not delivered twice while their tasks run, and return
  soon after the worker dies. It does not renew those of a task without signs of life (alive.py): its process hangs, and
  another worker takes over.
* It announces that it is alive, in a key that expires (`yolo:worker:<node>`).
* It searches for jobs that nobody continues (requeue.py), on another thread, so that a hanging disk does not delay it.
* It notices when it has gone deaf: messages wait, slots are free, nothing arrives. The worker then restarts itself.

Tasks learn of a stop from a file, because they run in processes that Celery owns.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from celery import Celery, bootsteps, signals
from celery.worker import state

from engine.versions import own_version
from orchestrator.broker.connection import without_password
from orchestrator.broker.heartbeats import Heartbeat
from orchestrator.broker.messages import Message, step_of
from orchestrator.broker.opened import open_broker
from orchestrator.broker.refusals import one_line
from orchestrator.broker.resolve import resolved_settings
from orchestrator.errors import JobError
from orchestrator.job.leases import Owner
from orchestrator.settings import GPU_QUEUE, Settings
from orchestrator.stop_signals import spare_the_child, spare_the_worker
from orchestrator.worker import alive, ways
from orchestrator.worker import steps as jobs
from orchestrator.worker.alive import RUNTIME as _RUNTIME
from orchestrator.worker.exposed import KeepersLook, exposed
from orchestrator.worker.logs import set_up_worker_logging
from orchestrator.worker.requeue import requeue_lost

log = logging.getLogger(__name__)

_PARENT = "YOLO_WORKER_PID"
_CORES = "YOLO_WORKER_CORES"

_TICK_S = 2.0
_REQUEUE_EVERY_S = 5.0
_TIDY_EVERY_S = 3600.0
_LAST_WORDS_S = 10.0
_LOOKED_AT = 20  # messages of each list
_WAY_S = 15.0


class Pool(Protocol):
    """The processes or threads of a worker."""

    num_processes: int


class Worker(Protocol):
    """The parts that we use of Celery's WorkController, which has no type hints."""

    hostname: str
    app: Celery
    concurrency: int | None
    pool: Pool
    pool_cls: type
    consumer: object


class Request(Protocol):
    """The parts that we use of Celery's request, a message that a worker holds."""

    id: str
    message: object
    kwargs: Mapping[str, object] | None


def stopping() -> bool:
    """Return whether the worker around this task was told to stop."""
    runtime = os.environ.get(_RUNTIME)
    return bool(runtime) and os.path.exists(os.path.join(str(runtime), "stopping"))


def cores_for_a_task() -> int | None:
    """Return how many cores one task may use; None outside a worker."""
    given = os.environ.get(_CORES)
    return int(given) if given else None


@signals.celeryd_init.connect
def _install(instance: Worker, **_: object) -> None:
    """Attach the keeper to one of our workers; a worker imports this module with our tasks, before anything else."""
    instance.app.steps["worker"].add(Keeper)


@signals.celeryd_init.connect
def prepare(**_: object) -> None:
    """Set up the environment before the pool, whose children inherit it, and remove the remains of killed workers."""
    # Containers may share the folder: a pid means something in its own namespace only.
    prefix = ways.prefix()
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if not Path("/proc", left.name.removeprefix(prefix).partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    os.environ[_PARENT] = str(os.getpid())
    os.environ[_RUNTIME] = tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-")
    # What the pool puts into a temporary folder goes into ours, which is cleared away after a kill as well.
    multiprocessing.current_process()._config["tempdir"] = os.environ[_RUNTIME]  # type: ignore[attr-defined]


@signals.setup_logging.connect
def _logging(loglevel: int | str | None = None, **_: object) -> None:
    set_up_worker_logging(loglevel)


_told_to_stop = threading.Event()


def told_to_stop() -> bool:
    """Return whether this worker, the parent itself, was ended by a signal."""
    return _told_to_stop.is_set()


@signals.task_prerun.connect
def _begin_task(**_: object) -> None:
    """Set a pool child's signal handler; not when the child starts, because its pool sets its own after that."""
    if (
        os.environ.get(_PARENT) not in (None, str(os.getpid()))
        and threading.current_thread() is threading.main_thread()
    ):
        spare_the_child(_stopped_at)


def _stopped_at() -> float | None:
    with contextlib.suppress(OSError, KeyError):
        return os.stat(os.path.join(os.environ[_RUNTIME], "stopping")).st_mtime
    return None


@signals.worker_shutting_down.connect
def tell_tasks(**_: object) -> None:
    """Tell the tasks, which run in other processes, that the worker stops; end it if Celery does not."""
    if not _told_to_stop.is_set() and threading.current_thread() is threading.main_thread():
        spare_the_worker(time.monotonic())
    _told_to_stop.set()
    # A broker that is silent would keep Celery waiting for minutes. What it was not told by then, it finds out.
    last = threading.Timer(resolved_settings().grace_s + _LAST_WORDS_S, os._exit, (0,))
    last.daemon = True
    last.start()
    with contextlib.suppress(OSError, KeyError):
        told = Path(os.environ[_RUNTIME], "stopping")
        told.parent.mkdir(mode=0o700, exist_ok=True)  # whoever tidies /tmp takes an old folder for a forgotten one
        if not told.exists():  # its time is that of the first signal
            told.touch()


@signals.worker_shutdown.connect
def clean(**_: object) -> None:
    """Remove the folder of this worker."""
    shutil.rmtree(os.environ.get(_RUNTIME, ""), ignore_errors=True)


@signals.task_prerun.connect
def _begins(task_id: str = "", **_: object) -> None:
    alive.show(task_id)


@signals.task_postrun.connect
def _is_over(task_id: str = "", **_: object) -> None:
    alive.forget(task_id)


@signals.task_revoked.connect
def cancel_revoked(request: Request | None = None, expired: bool = False, **_: object) -> None:
    """Cancel the job of a step that Flower or `celery control revoke` has ended, because that means the job. An expired
    message means nothing. The job's path is untrusted, here as everywhere."""
    folder = (getattr(request, "kwargs", None) or {}).get("job")
    if folder and not expired:
        with contextlib.suppress(JobError, OSError):
            jobs.open_job(folder, resolved_settings()).cancel("revoked through Celery")


class Keeper(bootsteps.StartStopStep):
    """Starts and ends the thread with the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Worker, **options: object) -> None:
        super().__init__(worker, **options)
        self._thread: KeeperThread | None = None
        os.environ["_MP_FORK_LOGLEVEL_"] = ""  # billiard's own line at the birth of each child
        cores = len(os.sched_getaffinity(0))
        os.environ[_CORES] = str(max(1, cores // max(1, worker.concurrency or cores)))
        queues = worker.app.amqp.queues
        served_by_default = set(queues.consume_from) == set(resolved_settings().known_queues)
        if served_by_default and not Path("/proc/driver/nvidia/version").exists():
            queues.deselect(GPU_QUEUE)

    def start(self, worker: Worker) -> None:
        self._thread = KeeperThread(worker, resolved_settings())
        self._thread.start()

    def stop(self, worker: Worker) -> None:
        if self._thread is not None:
            self._thread.end()

    terminate = stop


class KeeperThread(threading.Thread):
    """Writes the worker's heartbeat, renews what it holds, and looks for lost messages."""

    def __init__(self, worker: Worker, given: Settings) -> None:
        super().__init__(name="keeper", daemon=True)
        self._worker = worker
        self._settings = given
        self._ended = threading.Event()
        self._broker = open_broker(given, timeout_s=5.0)
        self._started_at = time.time()
        self._owner = Owner.this_process(worker.hostname)
        self._requeued_at = -_REQUEUE_EVERY_S
        self._tidied_at = -_TIDY_EVERY_S
        self._deaf = Deafness(given.deaf_s)
        self._listener = alive.Listener(given.lease_s)
        self._silent: set[str] = set()
        self._requeuing: threading.Thread | None = None
        self._away = False
        exposed.held_by(_held)
        ways.name_worker(worker.hostname)
        self._drains = False
        self._asked: dict[str, str] = {}  # message that waits -> task that is to give way

    def end(self) -> None:
        self._ended.set()
        self.join(timeout=10)
        with contextlib.suppress(Exception):
            self._broker.forget_worker(self._owner.node, self._owner.pid)
        self._broker.close()

    def run(self) -> None:
        while True:
            try:
                self.tick()
                self._away = False
            except Exception as error:  # noqa: BLE001 - a broker away, a disk full: the next tick tries again
                exposed.broker_is_away()
                if not self._away:
                    log.warning(
                        "the broker %s can't be reached: %s", without_password(self._settings.broker_url), error
                    )
                self._away = True
            if self._ended.wait(_TICK_S):
                return

    def tick(self) -> None:
        """Perform all duties once. Raises what the broker's client raises."""
        held = {request.id: request for request in (*state.reserved_requests, *state.active_requests)}
        self._listen(held)
        going = {name: request for name, request in held.items() if name not in self._silent}
        self._renew(list(going.values()))
        self._broker.tell_alive(self._heartbeat(list(going), len(state.active_requests)))
        queues = self._queues()
        waits = self._broker.lengths(queues)
        waiting = sum(waits.values())
        exposed.note(
            KeepersLook(
                slots=self._worker.pool.num_processes,
                busy=len(state.active_requests),
                silent=len(self._silent),
                queues=waits,
                dead=self._broker.dead(),
                broker=True,
            )
        )
        free = self._worker.pool.num_processes - len(held)
        if self._deaf.is_deaf(time.monotonic(), waiting if queues else 0, free, sum(state.total_count.values())):
            self.start_anew()
        self._share(list(held), queues, waiting, free)
        if ways.drain_is_asked():
            self._drain(held, queues)
        if time.monotonic() - self._requeued_at > _REQUEUE_EVERY_S and not self._is_requeuing():
            self._requeued_at = time.monotonic()
            self._requeuing = threading.Thread(target=self.requeue, name="requeue", daemon=True)
            self._requeuing.start()

    def _is_requeuing(self) -> bool:
        return self._requeuing is not None and self._requeuing.is_alive()

    def requeue(self) -> None:
        """Search once for lost messages, and send them again; now and then remove old results."""
        try:
            requeue_lost(self._worker.app, self._broker, self._settings)
        except Exception as error:  # noqa: BLE001 - as in run: the next one tries again
            log.warning("no look at the jobs: %s", error)
        if time.monotonic() - self._tidied_at > _TIDY_EVERY_S:
            self._tidied_at = time.monotonic()
            try:
                self._worker.app.backend.cleanup()
            except Exception as error:  # noqa: BLE001 - whatever a result store's client raises
                log.warning("old results can't be removed: %s", error)

    def _listen(self, held: Iterable[str]) -> None:
        silent = self._listener.silent(held)
        for task in sorted(silent - self._silent):
            log.error(
                "task %s has given no sign of life for %.0f s: its process hangs. Another worker may take its work.",
                one_line(task),
                self._settings.lease_s,
            )
        for task in sorted((self._silent - silent) & set(held)):
            log.warning("task %s gives signs of life again", one_line(task))
        self._silent = silent

    def _share(self, held: list[str], queues: list[str], waiting: int, free: int) -> None:
        """Ask a task to give way if a message of another job waits and no slot is free for it. Only one of all workers
        is asked for each message."""
        found: list[Message] = []
        if waiting and free <= 0 and not told_to_stop():
            found = sorted(self._broker.waiting(queues, _LOOKED_AT), key=lambda message: message.level)
        steps = {task: step_of(task) for task in held}
        able = [task for task, (_, step) in steps.items() if step.startswith("process-")]
        asked: dict[str, str] = {}  # message -> task
        for message in found:
            chosen = next((task for task in able if steps[task][0] != message.job), None)
            if chosen is not None and self._is_ours(message.id):
                able.remove(chosen)
                asked[message.id] = chosen
                ways.ask_for_way(chosen, message.level)
        for task in set(self._asked.values()) - set(asked.values()):
            ways.ask_for_way(task, None)
        self._asked = asked

    def _is_ours(self, message_id: str) -> bool:
        """Return whether this worker is the one to make room for a message."""
        return self._broker.makes_way(message_id, self._owner.node, again=message_id in self._asked, for_s=_WAY_S)

    def _drain(self, held: Mapping[str, Request], queues: list[str]) -> None:
        """Take no more messages, then let tasks take no more videos, and exit after the last task."""
        if not self._drains:
            self._drains = True
            log.info("told to drain: %d tasks are finished, nothing new is taken", len(held))
            consumer: Any = self._worker.consumer
            for queue in queues:
                consumer.call_soon(consumer.cancel_task_queue, queue)
        elif not queues:
            ways.drain_tasks()
            if not held and not told_to_stop():
                os.kill(os.getpid(), signal.SIGTERM)

    def _renew(self, requests: list[Request]) -> None:
        """Have the broker wait longer for the end of each task, so that it does not deliver the message again."""
        self._broker.renew([tag for request in requests if (tag := getattr(request.message, "delivery_tag", None))])

    def _heartbeat(self, held: list[str], busy: int) -> Heartbeat:
        worker = self._worker
        return Heartbeat(
            node=worker.hostname,
            host=self._owner.host,
            pid=self._owner.pid,
            owner=self._owner,
            pool=worker.pool_cls.__module__.rpartition(".")[2],
            concurrency=worker.pool.num_processes,
            queues=tuple(self._queues()),
            busy=busy,
            tasks=tuple(held),
            jobs=tuple(sorted({task.partition(".")[0] for task in held})),
            version=own_version(),
            started_at=self._started_at,
            time=time.time(),
        )

    def _queues(self) -> list[str]:
        consumer = getattr(self._worker.consumer, "task_consumer", None)
        return [queue.name for queue in consumer.queues] if consumer is not None else []

    def start_anew(self) -> None:
        """Replace this worker by a new one that receives messages again."""
        log.critical("messages wait, slots are free and nothing arrives: this worker has gone deaf and starts anew")
        signals.worker_shutdown.connect(_exec_again, weak=False)
        os.kill(os.getpid(), signal.SIGTERM)
        if not self._ended.wait(self._settings.grace_s + 30):
            _exec_again()
        self._ended.set()


def _held() -> list[str]:
    """Return the ids of the tasks that this worker holds."""
    return [request.id for request in (*state.reserved_requests, *state.active_requests)]


class Deafness:
    """Tells a worker that has gone deaf from one that has nothing to do."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: float | None = None
        self._received = -1

    def is_deaf(self, present: float, waiting: int, free: int, received: int) -> bool:
        """Return whether it is: `waiting` messages in its queues, `free` slots, `received` messages since it
        started."""
        if waiting == 0 or free <= 0 or received != self._received:
            self._received = received
            self._since = None
            return False
        if self._since is None:
            self._since = present
        return present - self._since > self._limit_s


def _exec_again(**_: object) -> None:
    """Replace this process by the same command. Its children end with it."""
    for path in Path("/proc/self/task").glob("*/children"):
        for child in path.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
