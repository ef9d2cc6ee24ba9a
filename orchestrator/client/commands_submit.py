"""`yolo-submit --video-folder`: validate, create the job, put it on the queue and, if requested, follow it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from redis import exceptions
from rich.console import Console

from engine.cli.idle import of_engine, refuse_idle
from engine.config import EngineConfig, load_config, note_on_default
from engine.storage.urls import is_object
from engine.text.say import say
from orchestrator.broker.heartbeats import Heartbeat, consumers
from orchestrator.broker.opened import open_broker
from orchestrator.broker.preflight import explain, extra_s, within
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import monitor, submission, views
from orchestrator.client.commands_jobs import interrupted, report
from orchestrator.client.embedded import Embedded
from orchestrator.client.options import SubmitOptions
from orchestrator.client.snapshot import Reader, Snapshot
from orchestrator.errors import FAILED, INTERRUPTED, BrokerUnreachable, JobError, RequestError
from orchestrator.job.jobdir import Job, who
from orchestrator.job.records import Priority
from orchestrator.settings import LOG_QUEUE, Settings
from orchestrator.stop_signals import interrupting

_WORKERS_S, _WORKERS_TRIPS = 3.0, 15
_CANCEL_S = 30.0
NO_WORKER_S = 20.0


def run(options: SubmitOptions) -> int:
    """Submit, follow if requested, and return the exit status.

    Raises the errors of submission.py and embedded.py, and ConfigError for the file.
    """
    request = submission.check(_request(options), resolved_settings())
    if options.jobs_dir is not None and not is_object(request.wanted_output):
        raise click.UsageError(
            f"--jobs-dir is for jobs that write to object storage, and {request.wanted_output} is a folder, which has "
            "the job's directory. Leave it out, or name a place in storage with --output s3://BUCKET/FOLDER."
        )
    refuse_idle(of_engine(report=True), request.config.engine)
    if request.task == "log_end":
        return _log_end(request, options.as_json)
    if options.embedded:
        return _run_embedded(request, options.as_json)
    return submit(request, options.monitor, options.as_json)


def _request(options: SubmitOptions) -> submission.Request:
    return submission.Request(
        video_folder=options.video_folder,
        task=options.task,
        config=configuration(options),
        output=options.output,
        workers=options.workers,
        queue=options.queue,
        priority=Priority(options.priority),
    )


def configuration(options: SubmitOptions) -> dict[str, object]:
    """Return the keys of the settings, overridden by those of the file, overridden by the given options. Raises
    ConfigError for the file."""
    config: dict[str, object] = load_config(Path(options.config_file)) if options.config_file else {}
    config |= options.engine
    if options.resume is not None:
        config["resume"] = options.resume
    if config.get("scene"):
        config["scene"] = _scenes(config)
    model = config.get("model")
    if isinstance(model, str) and os.path.isfile(model):
        config["model"] = os.path.abspath(model)  # workers run in other folders
    return {**resolved_settings().config, **config}


def _scenes(config: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Read and validate the scenes here, because workers may not see the files. Raises ConfigError that names file,
    line and key."""
    from engine.analytics.settings import load_scenes  # loads NumPy: 0.3 s, only for scenes

    scenes = EngineConfig(scene=config["scene"]).scene
    return [scene.table() for scene in load_scenes(scenes or ())]


def submit(request: submission.JobRequest, follow: bool, as_json: bool) -> int:
    """Create a job, put it on the queue and follow it if requested. Return the exit status."""
    given = resolved_settings()
    submission.preflight_both(given)
    queue = request.job_queue
    workers = _workers(given, queue)
    slots = sum(beat.concurrency for beat in workers or [])
    job = _begin(request, given, request.workers or max(1, slots), as_json)
    if workers == []:
        _warn(f"{monitor.no_worker(queue)}. The job waits until then.")
    other = submission.writer_before(job, given)
    if other is not None:
        _warn(f"Job {other.id} writes to {job.results} as well and has not ended: this one waits for it.")
    submission.send(job, given)
    if not follow:
        _tell(job, given, as_json, queue, len(workers or []), other)
        return 0
    return _follow(job, given, as_json)


def _begin(request: submission.JobRequest, given: Settings, workers: int, as_json: bool) -> Job:
    """Create the job's directory, and report the default model if none was named."""
    job = submission.begin(request, given, workers)
    note = note_on_default(request.config.engine)
    if note is not None and not as_json:
        say(note, err=True)
    return job


def _follow(job: Job, given: Settings, as_json: bool) -> int:
    with interrupting(signal.SIGINT):
        try:
            _introduce(job)
            shot = monitor.follow(job, given, Console(stderr=True))
        except KeyboardInterrupt:
            return interrupted(job, as_json)
    return report(job, shot, given, as_json)


def _run_embedded(request: submission.JobRequest, as_json: bool) -> int:
    # SIGTERM and a closed terminal act like Ctrl-C, because nothing must be left running.
    with interrupting(signal.SIGINT, signal.SIGTERM, signal.SIGHUP), Embedded() as local:
        given = resolved_settings()
        if not local.own:
            say(f"A broker is already running on this machine; using it: {given.broker_url}", err=True)
            return submit(request, True, as_json)
        job = _begin(request, given, request.workers or 1, as_json)
        try:
            _check_writer_before(job, given)
            local.start_worker(job, request.job_queue)
            submission.send(job, given)
            _introduce(job)
            own = given.model_copy(update={"state_dir": local.memory})
            shot = monitor.follow(job, own, Console(stderr=True), tick=local.look)
            submission.finish(job, given)
        except KeyboardInterrupt:
            return _cancel_embedded(job, given, local, as_json)
        except BaseException:
            with contextlib.suppress(OSError):  # perhaps its folder is missing
                job.cancel("yolo-submit, which could not continue")
            raise
        finally:
            if job.cancelled and not job.ended:
                local.kill_worker()
                submission.cancel(job, who(), given)
    return report(job, shot, given, as_json)


def _check_writer_before(job: Job, given: Settings) -> None:
    """Refuse to wait for a job that no worker here will continue. Raises RequestError."""
    other = submission.writer_before(job, given)
    if other is None or other.start_record() is None:
        return
    if not other.live(given.lease_s):
        raise RequestError(
            f"Job {other.id} has started writing to {job.results} and is waiting for a worker. Cancel it (its work is "
            f"kept): `yolo-submit --cancel {other.id}`. Or choose another output folder with --output DIR."
        )
    _warn(f"Job {other.id} writes to {job.results} as well and is being worked on: this one waits for it.")


def _cancel_embedded(job: Job, given: Settings, local: Embedded, as_json: bool) -> int:
    def look(say: Callable[[str], None]) -> None:
        local.look(say)
        submission.cancel(job, who(), given)  # ends it as soon as no worker is active

    say("Cancelling the job. Press Ctrl-C again to stop at once.", err=True)
    with contextlib.suppress(KeyboardInterrupt):
        monitor.follow(job, given, Console(stderr=True), tick=look, until=time.monotonic() + _CANCEL_S)
    if not job.ended:
        local.kill_worker()
        submission.cancel(job, who(), given)
    shot = Reader(job, given.lease_s).read()
    say(f"Job {job.id} is {shot.state}: {views.counts(shot)}. {views.kept(shot)}", err=True)
    if as_json:
        click.echo(json.dumps({"success": False, **views.as_json(shot), "error": "interrupted"}))
    return INTERRUPTED


def _tell(job: Job, given: Settings, as_json: bool, queue: str, workers: int, other: Job | None) -> None:
    if as_json:
        shot: Snapshot = Reader(job, given.lease_s).read()
        about = {"queue": queue, "workers": job.workers, "workers_alive": workers, "waits_for": other and other.id}
        click.echo(json.dumps({"success": True, **views.as_json(shot), **about}))
        return
    say(f"Job {job.id} is on queue {queue}.")
    say(f"  output  {job.results}")
    say(f"  follow  yolo-submit --status {job.id} --monitor")
    say(f"  cancel  yolo-submit --cancel {job.id}")


def _introduce(job: Job) -> None:
    say(f"Job {job.id}: {job.spec.video_folder} -> {job.results}", err=True)


def _workers(given: Settings, queue: str) -> list[Heartbeat] | None:
    """Return the live workers that serve a queue; None if the broker does not answer in time."""

    def ask() -> list[Heartbeat]:
        with open_broker(given) as broker:
            return consumers(broker.live(), queue)

    try:
        return within(_WORKERS_S + extra_s(given.broker_url, _WORKERS_TRIPS), ask)
    except (exceptions.RedisError, OSError):
        return None


def _log_end(request: submission.JobRequest, as_json: bool) -> int:
    """Send the task and wait for its result while a worker is alive."""
    given = resolved_settings()
    submission.preflight_both(given)
    result = submission.end_log(request, given)
    queue = request.queue or LOG_QUEUE
    nobody_since: float | None = None
    while True:
        try:
            meta = result.backend.get_task_meta(result.id)
        except Exception as error:
            what, remedy = explain(error.__cause__ or error, given.results_url, "CELERY_RESULT_BACKEND")
            raise BrokerUnreachable(f"The result can't be requested: {what}. {remedy}") from error
        if meta["status"] == "SUCCESS":
            return _tell_end(meta["result"], as_json)
        if meta["status"] in ("FAILURE", "REVOKED"):
            raise JobError(str(meta["result"]))
        alive = _workers(given, queue)
        nobody_since = (nobody_since or time.monotonic()) if alive == [] else None
        if nobody_since is not None and time.monotonic() - nobody_since > NO_WORKER_S:
            raise JobError(
                f"No worker is alive for queue {queue}. Start one: `yolo-server --worker`. "
                "The request stays on the queue."
            )
        time.sleep(monitor.LOOK_EVERY_S)


def _tell_end(end_log: Mapping[str, object], as_json: bool) -> int:
    success = end_log.get("state") == "completed"
    if as_json:
        click.echo(json.dumps({"success": success, "end_log": end_log}))
    else:
        for key, value in end_log.items():
            say(f"{key:14} {value}")
    return 0 if success else FAILED


def _warn(text: str) -> None:
    say(f"Warning: {text}", err=True)
