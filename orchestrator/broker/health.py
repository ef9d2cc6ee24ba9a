"""`--health-check`: can a job run here and now? It asks the broker, never the workers themselves.

A busy worker may not answer Celery's `inspect` for a while, but its heartbeat, a key that expires, exists all the same.
Every question has its own time limit, so the whole takes at most 5 s even if the broker is silent; a distant broker is
given as many round trips as needed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from redis import exceptions

from engine.text.counted import counted
from models import errors, registry
from orchestrator.broker import folder_results, keys
from orchestrator.broker.connection import client, without_password
from orchestrator.broker.heartbeats import Heartbeat, Look, consumers
from orchestrator.broker.opened import open_broker
from orchestrator.broker.preflight import begin, explain, extra_s, failure_of
from orchestrator.broker.redis_broker import RedisBroker
from orchestrator.broker.view import Broker
from orchestrator.errors import JobError, PathRefused, reason_of
from orchestrator.job import shared_folder
from orchestrator.job.files import AnyPath
from orchestrator.job.outcomes import told
from orchestrator.job.stored_path import StoredPath
from orchestrator.settings import Settings, is_database, worker_command


class State(StrEnum):
    """The state of a check: it works, it works with a problem, jobs will not run."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


_SKEW_WARNS_S, _SKEW_FAILS_S = 2.0, 30.0
_MEMORY_WARNS = 0.8
_DISK_WARNS, _DISK_FAILS = 5 << 30, 200 << 20  # bytes
_MIN_VERSION = (6, 2)
_SECOND_LOOK_S = 0.5
DEADLINE_S, _TRIPS = 4.7, 25


@dataclass(frozen=True)
class Check:
    """A finding, with a remedy if one is known."""

    name: str
    state: State
    detail: str
    remedy: str | None = None


def check_health(
    broker_url: str,
    result_url: str,
    *,
    queues: Sequence[str],
    model: str | None,
    output: AnyPath,
    given: Settings | None = None,
) -> list[Check]:
    """Run all checks, in a fixed order. Never raises. Takes at most 5 s, longer only if the broker answers slowly.

    `queues` are those that should have a consumer; `model` is a name of the zoo or a path, None skips that check;
    `output` need not exist yet; `given` are the settings, needed if the board of a RabbitMQ is not at its default
    place. Without a broker, checks that need one are left out.
    """
    ends = time.monotonic() + DEADLINE_S
    workers: list[Heartbeat] = []
    settings = Settings(broker_url=broker_url) if given is None else given
    questions: list[tuple[str, Callable[[], list[Check]]]] = [
        ("broker", lambda: _broker_side(settings, queues, workers)),
        ("results", lambda: [check_results(result_url)]),
        ("disk", lambda: [check_disk(output)]),
    ]
    if model is not None:
        questions.append(("model", lambda: [check_model(model)]))
    waiting = [(name, begin(question)) for name, question in questions]

    def far() -> float:
        return max(extra_s(url, _TRIPS) for url in (broker_url, result_url))

    checks = [check for name, wait in waiting for check in _answer(name, wait, ends, far)]
    hosts = {worker.host for worker in workers}
    if hosts and socket.gethostname() not in hosts:
        checks = [_of_no_worker_s_machine(check) if check.name in ("disk", "model") else check for check in checks]
    return checks


def exit_status(checks: Iterable[Check]) -> int:
    """Return 0 if nothing failed, otherwise 1. Warnings do not count."""
    return int(any(check.state is State.FAILED for check in checks))


def as_json(checks: Sequence[Check]) -> dict[str, object]:
    """Return `{"healthy": bool, "checks": [{"name", "state", "detail", "remedy"}, ...]}` as plain values."""
    return {"healthy": exit_status(checks) == 0, "checks": [asdict(check) for check in checks]}


def _answer(name: str, wait: Callable[[float], list[Check]], ends: float, far: Callable[[], float]) -> list[Check]:
    """Wait for the answer to a question; `far` returns the additional seconds for a distant server."""
    try:
        while True:
            try:
                return wait(ends + far() - time.monotonic())
            except TimeoutError:
                if time.monotonic() >= ends + far():
                    raise
    except TimeoutError:
        return [
            Check(name, State.FAILED, "no answer in time", "Something it needs hangs: a disk, a network, the server.")
        ]
    except Exception as error:  # noqa: BLE001 - a check that breaks must not hide the others
        return [Check(name, State.FAILED, f"the check itself failed: {type(error).__name__}: {error}")]


def _of_no_worker_s_machine(check: Check) -> Check:
    """Soften a failed check if no worker runs here, because workers elsewhere may have what is missing here."""
    state = State.WARNING if check.state is State.FAILED else check.state
    return replace(check, state=state, detail=f"here: {check.detail}")


# The broker and what it knows


def _broker_side(given: Settings, queues: Sequence[str], workers: list[Heartbeat]) -> list[Check]:
    """Run the checks that ask the broker; fills `workers`."""
    url = given.broker_url
    shown = without_password(url)
    try:
        failure = failure_of(url)
    except JobError as error:
        return [Check("broker", State.FAILED, str(error))]
    if failure is not None:
        what, remedy = explain(failure, url)
        return [Check("broker", State.FAILED, f"{shown}: {what}", remedy)]
    try:
        with open_broker(given) as broker:
            return _known_to_broker(broker, shown, queues, workers)
    except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
        what, remedy = explain(error, url)
        return [Check("broker", State.FAILED, f"{shown}, while it was being asked: {what}", remedy)]


def _known_to_broker(broker: Broker, shown: str, queues: Sequence[str], workers: list[Heartbeat]) -> list[Check]:
    if not isinstance(broker, RedisBroker):
        broker.ping()  # connects
    began = time.perf_counter()
    broker.ping()
    answers = f"{shown} answers in {(time.perf_counter() - began) * 1000:.1f} ms"
    seen, told = _workers(broker)
    workers += seen.workers
    return [
        *(_of_redis(broker.client, answers, seen) if isinstance(broker, RedisBroker) else _of_another(broker, answers)),
        told,
        *_queues(broker, queues, seen.workers),
        *check_refusals(broker),
    ]


def _of_redis(connection: redis.Redis, answers: str, seen: Look) -> list[Check]:
    info = _allowed(lambda: connection.info())
    return [
        _broker(answers, info),
        _memory(info),
        _persistence(info, _allowed(lambda: connection.config_get("save"))),
        _clock(connection, seen),
    ]


def _of_another(broker: Broker, answers: str) -> list[Check]:
    """Describe a broker that does not report its state to clients, and where to look for it."""
    return [
        Check("broker", State.OK, f"{broker.name} at {answers}"),
        *(Check(each.what, State.OK, f"not reported: {each.instead}") for each in broker.untold),
    ]


def _allowed(ask: Callable[[], Mapping[Any, Any]]) -> Mapping[Any, Any] | None:
    """Return the answer; None if this user or server does not allow the question."""
    try:
        return ask()
    except exceptions.ResponseError:
        return None


def _broker(answers: str, info: Mapping[Any, Any] | None) -> Check:
    if info is None:
        return Check("broker", State.OK, answers)
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version", info.get("redis_version", "0")))
    spoken = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if spoken < _MIN_VERSION:
        return Check(
            "broker",
            State.WARNING,
            f"{name} {version} at {answers}",
            f"It is older than {'.'.join(map(str, _MIN_VERSION))}, the oldest tested version: upgrade it.",
        )
    return Check("broker", State.OK, f"{name} {version} at {answers}")


_NOT_TOLD = "this user may not ask for the server's settings (INFO); ask as the operator of docs/redis/users.acl"


def _memory(info: Mapping[Any, Any] | None) -> Check:
    if info is None:
        return Check("memory", State.WARNING, _NOT_TOLD)
    used, limit, policy = int(info["used_memory"]), int(info.get("maxmemory", 0)), str(info["maxmemory_policy"])
    if limit == 0:
        return Check(
            "memory",
            State.WARNING,
            f"{used / 2**20:.1f} MiB used, no limit: a full machine would end the server",
            "`redis-cli config set maxmemory 256mb`, and the same in its configuration (docs/redis/redis.conf).",
        )
    detail = f"{used / 2**20:.1f} of {limit / 2**20:.0f} MiB used, {policy}"
    if policy != "noeviction":
        return Check(
            "memory",
            State.FAILED if policy.startswith("allkeys") else State.WARNING,
            f"{detail}: a full server throws {'waiting jobs' if policy.startswith('allkeys') else 'results'} away",
            "`redis-cli config set maxmemory-policy noeviction`, and the same in its configuration.",
        )
    if used >= _MEMORY_WARNS * limit:
        return Check(
            "memory",
            State.WARNING,
            f"{detail}: when it is full, every write is refused",
            "See what fills it: `redis-cli --bigkeys`. Give it more: `redis-cli config set maxmemory 1gb`.",
        )
    return Check("memory", State.OK, detail)


def _persistence(info: Mapping[Any, Any] | None, snapshots: Mapping[Any, Any] | None) -> Check:
    if info is None:
        return Check("persistence", State.WARNING, _NOT_TOLD)
    for key, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "last snapshot")):
        if info.get(key, "ok") != "ok":
            return Check(
                "persistence",
                State.FAILED,
                f"the {what} could not be written",
                "Free space on the server's disk: `redis-cli config get dir`, then `df -h`.",
            )
    if info.get("aof_enabled"):
        return Check("persistence", State.OK, "append-only file")
    kept = snapshots is None or bool(snapshots.get("save"))
    return Check(
        "persistence",
        State.WARNING,
        "snapshots only: a crash loses the last minutes of the queue" if kept else "none: a restart loses the queue",
        "`redis-cli config set appendonly yes`, and the same in its configuration (docs/redis/redis.conf).",
    )


def _clock(connection: redis.Redis, seen: Look) -> Check:
    """Compare clocks: a message is delivered again if it is too old by the clock of any worker."""
    before = time.time()
    try:
        seconds, micros = connection.time()
    except exceptions.ResponseError:
        return Check("clock", State.WARNING, "this user may not ask for the server's time (TIME)")
    after = time.time()
    skews = {"this machine": (before + after) / 2 - (seconds + micros / 1e6)}
    skews |= {f"worker {node}": skew_s for node, skew_s in seen.skew_s.items()}
    who, skew_s = max(skews.items(), key=lambda item: abs(item[1]))
    size_s = max(0.0, abs(skew_s) - (after - before) / 2)
    if size_s <= _SKEW_WARNS_S:
        return Check(
            "clock", State.OK, f"{counted(len(skews), 'clock')}, none more than {_SKEW_WARNS_S:g} s off the broker's"
        )
    return Check(
        "clock",
        State.FAILED if size_s > _SKEW_FAILS_S else State.WARNING,
        f"{who}: its clock is {size_s:.0f} s {'ahead of' if skew_s > 0 else 'behind'} the broker's",
        "Messages may be delivered twice. Set the clocks by the network: `timedatectl set-ntp true`.",
    )


def _workers(broker: Broker) -> tuple[Look, Check]:
    """Return the live workers, and the check about them."""
    try:
        seen = broker.look()
    except exceptions.ResponseError:
        nobody = Look([], {}, 0, 0, complete=False)
        return nobody, Check(
            "workers", State.WARNING, f"this user may not look for workers (SCAN, GET {keys.HEARTBEATS}*)"
        )
    return seen, _told_of(seen)


def _told_of(seen: Look) -> Check:
    workers = seen.workers
    if seen.unreadable:
        strange = f"{seen.unreadable} of {seen.found} heartbeats can't be read"
        return Check("workers", State.WARNING, strange, "Run the same version of yolo-engine everywhere.")
    if not seen.complete:
        return Check("workers", State.WARNING, f"at least {len(workers)}: the broker has too many keys to see all")
    if not workers:
        return Check("workers", State.FAILED, "no worker is alive", "Start one: `yolo-server --worker`.")
    named = ", ".join(f"{worker.node} ({worker.busy} of {worker.concurrency} busy)" for worker in workers[:5])
    more = f" and {len(workers) - 5} more" if len(workers) > 5 else ""
    return Check("workers", State.OK, f"{len(workers)} alive: {named}{more}")


def _queues(broker: Broker, queues: Sequence[str], workers: Sequence[Heartbeat]) -> list[Check]:
    """Return one check per queue."""
    try:
        waiting = broker.lengths(queues)
        suspects = [queue for queue in queues if waiting[queue] and _idle(queue, workers)]
        if suspects:
            # A message that has just been sent is fetched in a moment.
            time.sleep(_SECOND_LOOK_S)
            again, workers_again = broker.lengths(queues), broker.look().workers
            suspects = [queue for queue in suspects if again[queue] >= waiting[queue] and _idle(queue, workers_again)]
            waiting, workers = again, workers_again
    except exceptions.ResponseError:
        return [Check("queues", State.WARNING, "this user may not ask how many jobs wait (LLEN)")]
    return [_queue(queue, waiting[queue], workers, queue in suspects) for queue in queues]


def _queue(queue: str, waiting: int, workers: Sequence[Heartbeat], suspect: bool) -> Check:
    name, start = f"queue {queue}", f"Start a worker for it: `{worker_command(queue)}`."
    serving = consumers(workers, queue)
    said = f"{waiting} waiting" if waiting else "nothing waits"
    if not serving:
        return Check(name, State.FAILED if waiting else State.WARNING, f"{said}, and no worker consumes it", start)
    if suspect:
        idle = ", ".join(_idle(queue, workers))
        return Check(
            name,
            State.WARNING,
            f"{said}, though {idle} is idle",
            "If this persists, that worker has gone deaf: restart it, nothing is lost.",
        )
    return Check(name, State.OK, f"{said}, {counted(len(serving), 'worker')}")


def check_refusals(broker: Broker) -> list[Check]:
    """Return a check per watched folder whose last sweep failed, and one for recently refused tasks."""
    try:
        found = broker.refusals()
    except exceptions.ResponseError:  # this user may not ask
        return []
    checks = [
        Check("sweep", State.FAILED, told(refusal.what.removeprefix("sweep "), refusal.why))
        for refusal in found
        if refusal.is_sweep
    ]
    tasks = [refusal for refusal in found if not refusal.is_sweep]
    if tasks:
        more = f" (and {len(tasks) - 1} more of the last day: `yolo-submit --list-tasks`)" if len(tasks) > 1 else ""
        checks.append(Check("refused", State.WARNING, f"{tasks[0].what}: {tasks[0].why}{more}"))
    return checks


def _idle(queue: str, workers: Iterable[Heartbeat]) -> list[str]:
    """Return the names of the workers that could take a message from this queue now."""
    return [worker.node for worker in consumers(workers, queue) if worker.has_a_free_slot]


# Results, disk, model


def check_results(url: str) -> Check:
    """Write and read a key, as for every task's result."""
    shown = without_password(url)
    try:
        failure = failure_of(url)
    except JobError as error:
        return Check("results", State.FAILED, str(error))
    if failure is not None:
        what, remedy = explain(failure, url, "CELERY_RESULT_BACKEND")
        return Check("results", State.FAILED, f"{shown}: {what}", remedy)
    if folder_results.is_folder(url) or is_database(url):  # it was written to and read
        return Check("results", State.OK, f"{shown} writes and reads")
    key, value = f"{keys.PROBES}{uuid4().hex}", uuid4().hex
    with client(url) as connection:
        try:
            connection.set(key, value, ex=10)
            read = connection.get(key)
        except exceptions.NoPermissionError:
            return Check("results", State.WARNING, f"{shown} answers; this user may not write {keys.PROBES}*")
        except exceptions.ResponseError as error:
            return Check("results", State.FAILED, f"{shown} refuses to write: {error}")
        with contextlib.suppress(exceptions.ResponseError):
            connection.delete(key)
    if read != value:
        return Check("results", State.FAILED, f"{shown}: a written value can't be read back")
    return Check("results", State.OK, f"{shown} writes and reads")


def _check_prefix(home: StoredPath) -> Check:
    try:
        shared_folder.check(home)
    except PathRefused as refused:
        return Check("storage", State.FAILED, str(refused))
    except OSError as error:
        return Check("storage", State.FAILED, f"{home}: {reason_of(error)}")
    return Check("storage", State.OK, f"{home} takes a job's directory")


def check_disk(output: AnyPath) -> Check:
    """Check the disk of the folder, or of its nearest existing parent; of a prefix, whether its server takes a job."""
    if isinstance(output, StoredPath):
        return _check_prefix(output)
    folder = next(parent for parent in (output.absolute(), *output.absolute().parents) if parent.exists())
    if not folder.is_dir():
        return Check("disk", State.FAILED, f"{folder} is not a folder", "Choose another output folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Check("disk", State.FAILED, f"{folder} can't be written", "Choose another output folder, or its owner.")
    free = shutil.disk_usage(folder).free
    detail = f"{free / 2**30:.1f} GiB free for {output}"
    if free < _DISK_WARNS:
        return Check(
            "disk", State.FAILED if free < _DISK_FAILS else State.WARNING, detail, f"Free space: `du -xh {folder}`."
        )
    return Check("disk", State.OK, detail)


def check_model(model: str) -> Check:
    """Check a model: a name of the zoo, or a file."""
    if model not in {manifest.name for manifest in registry.list_models()}:
        if Path(model).is_file():
            return Check("model", State.OK, model)
        if Path(model).name == model and (path := registry.in_mirrors(model)) is not None:
            return Check("model", State.OK, f"{model}: {path}")
        return Check(
            "model", State.FAILED, f"{model} is neither a model of the zoo nor a file", "`yolo-engine models list`"
        )
    try:
        path = registry.find(model)
    except errors.ModelError as error:
        return Check("model", State.FAILED, str(error))
    if path is None:
        return Check(
            "model", State.FAILED, f"{model} is not on this machine", f"Get it: `yolo-engine models pull {model}`."
        )
    return Check("model", State.OK, f"{model}: {path}")
