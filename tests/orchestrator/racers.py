"""Processes that want the same thing at the same time. They import little, so that they start soon.

Each waits for the others at its end: the leases of a process that is no more are free.
"""

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.job import atomic_json as files
from orchestrator.job import disk_file
from orchestrator.job.leases import Owner, take


def race(count: int, run: Callable[..., None], *arguments: Any) -> list[Any]:
    """What `count` processes told, which each call `run(who, barrier, tell, *arguments)`, in the order they told it."""
    spawn = multiprocessing.get_context("spawn")
    barrier, told = spawn.Barrier(count), spawn.SimpleQueue()
    processes = [spawn.Process(target=_racer, args=(run, who, barrier, told, *arguments)) for who in range(count)]
    for process in processes:
        process.start()
    found, left = [], count
    while left:
        message = told.get()
        left -= message is None
        if message is not None:
            found.append(message)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return found


def _racer(run: Callable[..., None], who: int, barrier: Any, told: Any, *arguments: Any) -> None:
    os.fsync = lambda _: None  # the race is for names; what a crash of the machine leaves is not asked here
    try:
        run(who, barrier, told.put, *arguments)
    except BaseException:
        barrier.abort()  # nobody waits for us
        raise
    finally:
        told.put(None)


def write_once_each(who: int, barrier: Any, tell: Callable[..., None], folder: Path, rounds: int) -> None:
    for number in range(rounds):
        barrier.wait()
        if files.write_once(folder / f"{number}.json", who):
            tell((number, who))
    barrier.wait()


def write_once_without_links(
    who: int, barrier: Any, tell: Callable[..., None], folder: Path, rounds: int, way: str
) -> None:
    """Race on a file system without hard links; `way` is what serves instead, `rename` or `create`."""
    os.link = _no(errno.EPERM)
    if way == "create":
        disk_file.rename_to_new = _no(errno.EINVAL)
    write_once_each(who, barrier, tell, folder, rounds)


def _no(number: int) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def append_lines(who: int, barrier: Any, tell: Callable[..., None], path: Path, count: int) -> None:
    barrier.wait()
    for number in range(count):
        files.append_line(path, {"who": who, "number": number, "text": "x" * 500})
    barrier.wait()


def take_each(who: int, barrier: Any, tell: Callable[..., None], folder: Path, rounds: int) -> None:
    me = Owner.this_process(f"w{who}")
    for number in range(rounds):
        barrier.wait()
        lease = take(folder / f"{number:04d}", me, 30.0)
        if lease is not None:
            tell((number, f"w{who}", lease.number))
    barrier.wait()


def work(who: int, barrier: Any, tell: Callable[..., None], folder: Path) -> None:
    """Takes videos of a job until none is left; every third one is given back."""
    from dataclasses import replace

    from orchestrator.job.claims import Claims
    from orchestrator.job.jobdir import Job
    from orchestrator.job.outcomes import failed_entry
    from orchestrator.job.records import EntryStatus
    from orchestrator.settings import Settings

    job = Job.open(folder)
    claims = Claims(job, job.start_record().videos, Owner.this_process(f"w{who}"), Settings())
    barrier.wait()
    turn = 0
    while (claim := claims.next(suspect=False)) is not None:
        turn += 1
        if turn % 3 == 0:
            claims.release(claim, "handed back")
        else:
            entry = replace(failed_entry(claim.video, ""), status=EntryStatus.OK, error=None)
            tell((claim.index, claim.lease.number, claims.keep(claim, entry)))
    barrier.wait()


def work_while_reads_fail(who: int, barrier: Any, tell: Callable[..., None], folder: Path) -> None:
    """Takes videos and keeps them, while every third read of a file gives a passing EINVAL."""
    from orchestrator.job.claims import Claims
    from orchestrator.job.jobdir import Job
    from orchestrator.settings import Settings

    job = Job.open(folder)
    videos = job.start_record().videos
    claims = Claims(job, videos, Owner.this_process(f"w{who}"), Settings())
    chance, real = Random(who), os.open

    def sometimes(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(".json") and chance.random() < 0.3:
            raise OSError(errno.EINVAL, "Invalid argument", str(path))
        return real(path, *arguments, **options)

    os.open = sometimes
    barrier.wait()
    while len(job.leases("videos")) < len(videos):
        claim = claims.next(suspect=False)
        if claim is not None:
            tell((claim.index, claim.lease.number, who))
    barrier.wait()


def end_each(who: int, barrier: Any, tell: Callable[..., None], folder: Path) -> None:
    """Ends every job of a folder."""
    from orchestrator.job.jobdir import Job
    from orchestrator.settings import Settings
    from orchestrator.worker import steps as jobs

    context = jobs.Context(f"w{os.getpid()}", Settings(state_dir=folder / "state"))
    found = []
    for path in sorted(folder.glob("job-*")):
        job = Job.open(path)
        barrier.wait()
        found.append(jobs.end(job, context).to_json())
    tell(found)
    barrier.wait()


def take_messages(who: int, barrier: Any, tell: Callable[..., None], folder: Path) -> None:
    from orchestrator.broker.folder_queues import FolderQueues

    queues = FolderQueues(folder)
    barrier.wait()
    while (taken := queues.take("yolo")) is not None:
        tell(int(taken[0]))
        queues.done(taken[1])
    barrier.wait()
