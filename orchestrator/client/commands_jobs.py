"""`yolo-submit --status` and `--cancel`: all of it from the job's directory, with the broker or without."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from engine.summary import AnswersJson
from engine.text.say import say
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import monitor, submission, views
from orchestrator.client.snapshot import Reader, Snapshot
from orchestrator.errors import JobError
from orchestrator.job.jobdir import ENDED_STATES, Job
from orchestrator.job.outcomes import state_of
from orchestrator.job.records import StartRecord
from orchestrator.job.registry import find_job
from orchestrator.settings import Settings
from orchestrator.stop_signals import interrupting

_FAILED = 1

CANCEL_S = 10.0
RESULTS_S = 2.0


def status(job_id: str, output: Path | None, follow: bool, as_json: bool) -> int:
    """Show a job. Returns 0 when it is done or on its way, 1 when it failed or was cancelled. Raises UnknownJob."""
    from engine.cli.answers_table import print_answers

    given = resolved_settings()
    job = find_job(job_id, given, *_outputs(output))
    if follow:
        with interrupting(signal.SIGINT):
            try:
                shot = monitor.follow(job, given, Console(stderr=True))
            except KeyboardInterrupt:
                from orchestrator.client.commands_submit import interrupted

                return interrupted(job, as_json)
        return report(job, shot, given, as_json)
    note = broker_note(given)
    reader = Reader(job, given.lease_s)
    shot = reader.read()
    rows = reader.rows(shot.working)
    error = shot.refused or _error(job)
    answers = _answers(job)
    trouble = note() if not shot.ended else None
    if as_json:
        success = shot.state not in ("failed", "cancelled")
        about = {"success": success, "error": error, "broker": trouble, **({"answers": answers} if answers else {})}
        click.echo(json.dumps({**views.as_json(shot, rows), **about}))
    else:
        views.screen().print(views.status_view(shot, rows, error))
        if answers:
            print_answers(views.screen(), answers)
        if page := _page(job):
            say(f"Report: {page}")
        if trouble:
            say(f"The broker does not answer: {trouble}", err=True)
    return _FAILED if shot.state in ("failed", "cancelled") else 0


def cancel(job_id: str, output: Path | None, as_json: bool) -> int:
    """Cancel a job. Returns 0 once it has ended, however, 1 when it has not after 10 s. Raises UnknownJob, OSError."""
    given = resolved_settings()
    job = find_job(job_id, given, *_outputs(output))
    note = broker_note(given)
    before = state_of(job, given.lease_s)
    state, shown = before, before
    ends = time.monotonic() + CANCEL_S
    while state not in ENDED_STATES:
        state = submission.cancel(job, submission.who(), given)
        if state != shown:
            say(f"{job.id}: {state}", err=True)
            shown = state
        if time.monotonic() > ends:
            break
        if state not in ENDED_STATES:
            time.sleep(0.2)
    shot = Reader(job, given.lease_s).read()
    trouble = note() if before not in ENDED_STATES else None
    if shot.ended and before not in ENDED_STATES and trouble is None:
        submission.tell_result(job, given)
    text = _cancelled_text(shot, before)
    if as_json:
        about = {"success": shot.ended, "already_ended": before in ENDED_STATES, "message": text, "broker": trouble}
        click.echo(json.dumps({**views.as_json(shot), **about}))
    else:
        say(text)
        if trouble:
            say(f"The broker does not answer ({trouble}); no job needs it to be cancelled.", err=True)
    return 0 if shot.ended else _FAILED


def _answers(job: Job) -> AnswersJson | None:
    """What was counted, of a job that has ended; else nothing."""
    end = job.end_record()
    return end.result["processing_result"].get("answers") if end is not None else None


def _page(job: Job) -> str | None:
    """The report of an ended job, where one was written."""
    end = job.end_record()
    return end.result["processing_result"].get("report") if end is not None else None


def report(job: Job, shot: Snapshot, given: Settings, as_json: bool) -> int:
    """Show what an ended job gave. Returns 0 for success, else 1."""
    success = shot.state == "completed"
    if job.spec.task == "log_start" and not job.ended:
        start = job.start_record()
        if as_json:
            start_log = start.to_json() if start else {}
            click.echo(json.dumps({"success": success, **views.as_json(shot), "start_log": start_log}))
        else:
            found = start or StartRecord.refusal("")
            say(
                f"Job {job.id}: {len(found.videos)} videos, {found.total_frames:,} frames, "
                f"{views.span(found.total_duration_s)} long."
            )
            for warning in shot.warnings:
                say(f"Warning: {warning}", err=True)
            if shot.refused:
                say(f"Error: {shot.refused}", err=True)
        return 0 if success else _FAILED
    result = _result(job, given)
    manifest, celery_result = job.output / "manifest.json", job.output / f"celery_result_{job.id}.json"
    if as_json:
        files = {"manifest": str(manifest), "celery_result": str(celery_result)}
        value = {**result, "success": success, "id": job.id, "state": shot.state, "output_folder": str(job.output)}
        click.echo(json.dumps({**value, **files}))
        return 0 if success else _FAILED
    from engine.cli.answers_table import print_answers
    from engine.cli.follow_up_lines import follow_up_lines
    from engine.cli.progress import print_summary

    if not shot.refused:
        print_summary(views.screen(), result["processing_result"])
        print_answers(views.screen(), result["processing_result"].get("answers", {}))
        for line in follow_up_lines(result["processing_result"]):
            say(line)
    say(f"{result['message']}")
    say(f"  state    {shot.state}")
    say(f"  outputs  {job.output}")
    say(f"  manifest {manifest}")
    if page := result["processing_result"].get("report"):
        say(f"  report   {page}")
    say(f"  result   {celery_result}")
    return 0 if success else _FAILED


def broker_note(given: Settings) -> Callable[[], str | None]:
    """Ask the broker whether it is there. What comes back waits for the answer: None, or what is wrong."""
    from orchestrator.broker.preflight import MAX_LOOK_S, begin, preflight

    answer = begin(lambda: preflight(given.broker_url, write=False))

    def wait() -> str | None:
        try:
            answer(MAX_LOOK_S)
        except (JobError, TimeoutError) as error:
            return str(error)
        return None

    return wait


def _outputs(output: Path | None) -> tuple[Path, ...]:
    """Folders in which a job is looked for that this machine does not remember."""
    return ((output or Path("output_videos")).absolute(),)


def _result(job: Job, given: Settings) -> dict[str, Any]:
    """The pipeline's result. The end record is there a moment before the files that are made of it."""
    from orchestrator.worker import steps as jobs

    ends = time.monotonic() + RESULTS_S
    while time.monotonic() < ends and not (job.output / f"celery_result_{job.id}.json").exists():
        time.sleep(0.05)
    return jobs.end(job, jobs.Context(submission.who(), given))  # makes them again where they are missing


def _error(job: Job) -> str | None:
    """Why an ended job did not succeed."""
    end = job.end_record()
    result = end.result if end else {}
    return None if result.get("success", True) else str(result.get("message"))


def _cancelled_text(shot: Snapshot, before: str) -> str:
    if before in ENDED_STATES:
        return f"Job {shot.id} had ended already: {before}, {views.counts(shot)}. Its outputs are in {shot.output}."
    if not shot.ended:
        return (
            f"Job {shot.id} is still {shot.state}: its worker has not answered yet. It ends by itself; see "
            f"`yolo-submit --status {shot.id}`."
        )
    if shot.state != "cancelled":
        return f"Job {shot.id} came to its end first: {shot.state}. Its outputs are in {shot.output}."
    if not shot.videos:
        return f"Job {shot.id} is cancelled. Nobody had begun it."
    return f"Job {shot.id} is cancelled: {views.counts(shot)}. {views.kept(shot)}"
