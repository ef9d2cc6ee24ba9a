"""Submitting: a request is validated first, then becomes a job's directory and a message."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from redis import exceptions

from engine.errors import InputError
from engine.media.inputs import find_videos
from engine.media.listing import FolderWalk, told
from engine.media.suffixes import VIDEO_SUFFIXES
from engine.storage.urls import Place, is_object
from engine.text.counted import counted
from engine.text.did_you_mean import near
from orchestrator.broker.connection import without_password
from orchestrator.broker.opened import open_broker
from orchestrator.broker.preflight import MAX_LOOK_S, explain, extra_s, preflight, within
from orchestrator.broker.preflight import begin as ask
from orchestrator.broker.publish import announce, publish, queue_for
from orchestrator.errors import BrokerUnreachable, JobError, PathRefused, RequestError
from orchestrator.job import outcomes
from orchestrator.job.files import AnyPath
from orchestrator.job.job_config import JobConfig
from orchestrator.job.jobdir import Job, jobs_in, work_folder
from orchestrator.job.paths import home_of, stored_output, video_folder
from orchestrator.job.records import JobState, Priority
from orchestrator.job.stored_path import StoredPath
from orchestrator.settings import LOG_QUEUE, Settings
from orchestrator.worker import steps
from orchestrator.worker.requeue import messages_held

if TYPE_CHECKING:
    from celery import Celery
    from celery.result import AsyncResult

log = logging.getLogger(__name__)

PUBLISH_S = 5.0
_PUBLISH_TRIPS = 40
"""The maximum number of round trips to publish: both connections, the queue's declaration, the message itself."""
_LOOK_S, _LOOK_TRIPS = 3.0, 20


@dataclass(frozen=True)
class Request:
    """The request of the command line. `workers` None: as many as there are."""

    video_folder: str
    task: str
    config: Mapping[str, object]
    output: str | None
    workers: int | None
    queue: str | None
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True)
class JobRequest:
    """A validated request, with its parsed configuration."""

    video_folder: str
    task: str
    config: JobConfig
    output: str | None
    workers: int | None
    queue: str | None
    priority: Priority = Priority.NORMAL

    @property
    def job_queue(self) -> str:
        """Return the queue that matters most for the job."""
        return queue_for(self.task, self.queue, self.config.given)

    @property
    def wanted_output(self) -> str:
        """Return the output as it was given: a folder, or a place in storage."""
        return self.output or str(self.config.engine.output_folder)

    def home(self, settings: Settings) -> AnyPath:
        """Return where the job's directory will be: its output folder, or a prefix in storage. Raises PathRefused."""
        return home_of(self.wanted_output, settings)


def check(request: Request, settings: Settings) -> JobRequest:
    """Validate the folder, the keys and the queue before anything is created. Raises RequestError and PathRefused."""
    open_broker(settings).close()  # a bad URL is reported before its consequences
    _check_folder(request.video_folder)
    video_folder(request.video_folder, settings)
    config = JobConfig.parse(dict(request.config))
    if request.queue is not None and request.queue not in settings.known_queues:
        raise RequestError(
            f"--queue must be one of {', '.join(settings.known_queues)}. Got {request.queue}. Queues of your own are "
            'named in the settings file (YOLO_SETTINGS): queues = ["mine"].'
        )
    checked = JobRequest(
        request.video_folder, request.task, config, request.output, request.workers, request.queue, request.priority
    )
    if request.task != "log_end":
        folder = work_folder(checked.home(settings))
        _check_for_videos(request.video_folder, folder, stored_output(checked.wanted_output, settings))
    return checked


def begin(request: JobRequest, settings: Settings, workers: int) -> Job:
    """Create the job's directory. Raises RequestError and PathRefused."""
    return steps.begin(
        request.video_folder,
        request.config,
        settings,
        task=request.task,
        output=request.output,
        workers=workers,
        queue=request.queue,
        priority=request.priority,
    )


def writer_before(job: Job, settings: Settings) -> Job | None:
    """Return an unfinished job that writes to the same folder, for which this one must wait."""
    for other in jobs_in(job.home):
        if other.id == job.id or other.ended or other.spec.task == "log_start":
            continue
        if not outcomes.state_of(other, settings.lease_s).ended:
            return other
    return None


def send(job: Job, settings: Settings) -> None:
    """Put the job's first step on the queue. Raises BrokerUnreachable: if the broker could not be reached at all, the
    job ends as cancelled; if an answer was lost, so that the message may have arrived, it stays open."""
    sending = _Sending(job, settings)
    try:
        within(PUBLISH_S + extra_s(settings.broker_url, _PUBLISH_TRIPS), sending.send)
    except BaseException as error:
        unsent = sending.give_up()
        if isinstance(error, JobError) or not isinstance(error, Exception) or unsent:
            cancel(job, "yolo-submit, which could not send it", settings)
            if not unsent or not isinstance(error, Exception):
                raise
        elif _arrived(job, settings):
            return
        what, remedy = explain(error.__cause__ or error, settings.broker_url)
        became = (
            f"The job {job.id} was not sent and is recorded as cancelled."
            if unsent
            else f"The job {job.id} is not known to have arrived there. It stays open: workers that know it, or "
            f"`yolo-submit --status {job.id} --monitor`, send it again. To give it up: `yolo-submit --cancel {job.id}`."
        )
        raise BrokerUnreachable(f"{without_password(settings.broker_url)}: {what}. {became} {remedy}") from error


def _arrived(job: Job, settings: Settings) -> bool:
    """Return whether the job's first message is known to be at the broker, or with a worker."""

    def look() -> set[str]:
        with open_broker(settings, 2.0 + extra_s(settings.broker_url, 1)) as broker:
            return (broker.message_ids(settings.known_queues) or set()) | messages_held(broker)

    first = job.workers if job.spec.task == "process_videos" else 1
    begun = set(job.leases("tasks"))
    if len(begun) < first:
        try:
            found = within(_LOOK_S + extra_s(settings.broker_url, _LOOK_TRIPS), look)
        except (exceptions.RedisError, OSError):
            return job.start_record() is not None
        begun |= {name.partition(".")[2] for name in found if name.startswith(f"{job.id}.")}
    return len(begun) >= first or job.start_record() is not None


def cancel(job: Job, by: str, settings: Settings) -> JobState:
    """Request the job's cancellation and return its state. If no worker is active, it ends here and now."""
    return steps.cancel(job, by, steps.Context(f"yolo-submit@{socket.gethostname()}", settings))


def finish(job: Job, settings: Settings) -> None:
    """Make the missing results of an ended job, in case its worker died while making them. Raises OSError."""
    if not job.settled:
        steps.end(job, steps.Context(f"yolo-submit@{socket.gethostname()}", settings))


def tell_result(job: Job, settings: Settings) -> None:
    """Store the result of a job that ended here in the result store, for programs that wait for it. Best effort: it is
    also in the job's files."""

    def tell() -> None:
        result = steps.end(job, steps.Context(f"yolo-submit@{socket.gethostname()}", settings))
        with _app() as app:
            app.backend.store_result(job.id, outcomes.shortened_result(result).to_json(), "SUCCESS")

    try:
        within(PUBLISH_S + extra_s(settings.broker_url, _PUBLISH_TRIPS), tell)
    except Exception as error:  # noqa: BLE001 - whatever the store's client raises
        log.debug("job %s: its result can't be stored: %s", job.id, error)


def preflight_both(settings: Settings) -> None:
    """Check broker and result store at the same time. Takes at most 5 s, longer only while they answer. Raises
    BrokerUnreachable and BrokerUrlError."""
    answers = [ask(lambda: preflight(settings.broker_url))]
    if settings.results_url != settings.broker_url:
        answers.append(ask(lambda: preflight(settings.results_url, variable="CELERY_RESULT_BACKEND")))
    for answer in answers:
        answer(MAX_LOOK_S)


def _app() -> Celery:
    """Return Celery's application. Importing it also configures it with the broker in use at that time."""
    from orchestrator.application import client_app

    return client_app()


def end_log(request: JobRequest, settings: Settings) -> AsyncResult:
    """Send `log_end_yolo` without a job and return the pending result."""
    home = request.home(settings)
    output = request.wanted_output if isinstance(home, StoredPath) else str(home)
    config = {**request.config.given, "output_folder": output}
    folder = os.path.abspath(request.video_folder)
    return _app().send_task("log_end_yolo", args=(folder, config), queue=request.queue or LOG_QUEUE)


class _Sending:
    """Sends a job's first messages on a thread that may be abandoned; it is known then whether sending had begun."""

    def __init__(self, job: Job, settings: Settings) -> None:
        self._job = job
        self._settings = settings
        self._begun = threading.Event()
        self._given_up = threading.Event()

    def send(self) -> None:
        job, url = self._job, self._settings.broker_url
        with open_broker(self._settings, 2.0 + extra_s(url, 1)) as broker:
            broker.ping()  # nothing is sent before it answers
            announce(broker, job)
        with _app() as app:
            self._begun.set()
            if self._given_up.is_set():
                return
            first = job.workers if job.spec.task == "process_videos" else 0
            for key in steps.process_steps(first) or ["start"]:
                publish(app, job, key)

    def give_up(self) -> bool:
        """Send nothing more, and return whether nothing was sent. Each side sets its event and then checks the other's,
        so at least one of them notices."""
        self._given_up.set()
        return not self._begun.is_set()


def _check_folder(given: str) -> None:
    """Detect common mistakes with better remedies than paths.video_folder, which detects the others."""
    if is_object(given):
        return
    path = Path(given)
    try:
        there = path.exists()
    except OSError:
        return
    if not there and "\0" not in given:
        close = near(path, folders_only=True)
        hint = f"Did you mean {close}?" if close else f"See what is there: `ls {_nearest(path.absolute().parent)}`."
        raise PathRefused(f"Video folder {given} does not exist. {hint}")
    if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        raise PathRefused(f"Folder {given} can't be read: permission denied. Allow it: `chmod -R u+rX {given}`.")


def _check_for_videos(given: str, output: Path, stored: Place | None) -> None:
    """Raise RequestError for a folder without a video."""
    if is_object(given):
        try:
            find_videos([given], output, stored=stored)
        except InputError as error:
            raise RequestError(str(error)) from error
        return
    folder, walk, count = Path(given), FolderWalk(output), 0
    for path in [folder] if folder.is_file() else walk.files(folder):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return
        count += 1
    try:
        find_videos([given], output)  # opens files of unknown suffix
    except InputError as error:
        found = f"{counted(count, 'file')}, none of them a video" if count else "it is empty"
        if walk.left_out:
            found = f"{counted(count, 'file')} checked. {'. '.join(told(walk.left_out))}"
        raise RequestError(
            f"No video in {given}: {found}. Put some there, `cp /PATH/*.mp4 {given}`, or name another folder."
        ) from error


def _nearest(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
