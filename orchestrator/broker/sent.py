"""Derives the waiting messages from the jobs' directories, for brokers that only report how many wait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping

from orchestrator.broker.board_side import BoardSide
from orchestrator.broker.messages import MAX_LISTED, Message, step_of
from orchestrator.broker.publish import level_of
from orchestrator.errors import JobError
from orchestrator.job import turns
from orchestrator.job.atomic_json import object_in
from orchestrator.job.files import any_path, names_in
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import Lease, age_of
from orchestrator.job.records import How, Sent
from orchestrator.job.registry import open_jobs
from orchestrator.settings import Settings

_SENT = ".sent.json"


class CountingBroker(BoardSide, ABC):
    """The part of a broker's view (view.py) that is common to those that only report how many messages wait."""

    tells_which = False

    def __init__(self, given: Settings) -> None:
        super().__init__(given)
        self._settings = given

    @abstractmethod
    def lengths(self, names: Iterable[str]) -> Mapping[str, int]: ...

    def message_ids(self, names: Iterable[str]) -> set[str] | None:
        return set()

    def waiting(self, names: Iterable[str], limit: int = MAX_LISTED) -> list[Message]:
        counts = {queue: count for queue, count in self.lengths(names).items() if count}
        found = waits_by_directories(self._settings, self.announced(MAX_LISTED)) if counts else []
        return [
            message
            for queue, count in counts.items()
            for message in [each for each in found if each.queue == queue][: min(limit, count)]
        ]

    def held_back(self) -> list[Message]:
        return []


def waits_by_directories(settings: Settings, announced: Iterable[tuple[str, str]]) -> list[Message]:
    """Return the steps of open jobs that were sent and not begun since, the next one first, for this machine's jobs and
    the announced ones that it may read."""
    found = [message for job in _jobs(settings, announced) for message in _of_job(job, settings.lease_s)]
    return [message for _, message in sorted(found, key=lambda pair: (pair[1].level, -pair[0]))]


def _jobs(settings: Settings, announced: Iterable[tuple[str, str]]) -> Iterator[Job]:
    seen = set()
    for job in open_jobs(settings):
        seen.add(job.id)
        yield job
    for job_id, folder in announced:
        if job_id not in seen and (path := any_path(folder)).name == job_id:
            try:
                job = Job.open(path)
            except (JobError, OSError):
                continue
            if not job.settled:
                yield job


def _of_job(job: Job, lease_s: float) -> list[tuple[float, Message]]:
    leases = job.leases("tasks")
    found = []
    for name in names_in(job.folder / "tasks"):
        if not name.endswith(_SENT):
            continue
        path, key = job.folder / "tasks" / name, name.removesuffix(_SENT)
        age_s = age_of(path)
        try:
            sent = Sent.from_json(object_in(path))
        except ValueError:
            continue
        if age_s is None or turns.waits(job, key) or _begun_since(leases.get(key), age_s, lease_s):
            continue
        of, step = step_of(sent.id)
        message = Message(sent.id, sent.queue, step, of, step or key, job.folder, None, level_of(job, key))
        found.append((age_s, message))
    return found


def _begun_since(lease: Lease | None, sent_s: float, lease_s: float) -> bool:
    """Return whether a step was taken after it was sent `sent_s` ago. A released step waits again."""
    if lease is None:
        return False
    if lease.held(lease_s):
        return True
    ending = lease.ending()
    if ending is not None and ending.how == How.HANDED_BACK:
        return False
    taken_s = age_of(lease.path)
    return taken_s is not None and taken_s <= sent_s
