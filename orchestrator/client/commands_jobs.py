"""`yolo-submit --status` and `--cancel`: they use the job's directory, and work without the broker."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import cast

import click
from rich.console import Console

from engine.cli.answers_table import print_answers
from engine.cli.follow_up_lines import follow_up_lines
from engine.storage.urls import is_object
from engine.summary import AnswersJson, SummaryJson
from engine.text.counted import counted
from engine.text.say import say
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import monitor, views
from orchestrator.client.asking import broker_note
from orchestrator.client.language import language_of
from orchestrator.client.options import SubmitOptions
from orchestrator.client.snapshot import Reader, Snapshot
from orchestrator.errors import FAILED, INTERRUPTED
from orchestrator.job.files import AnyPath, file_at
from orchestrator.job.jobdir import Job, who
from orchestrator.job.outcomes import Language, end_state, message_of, state_of
from orchestrator.job.paths import home_of
from orchestrator.job.records import JobState, PipelineResult, StartRecord
from orchestrator.job.registry import find_job
from orchestrator.settings import Settings
from orchestrator.stop_signals import interrupting

_BAD = (JobState.FAILED, JobState.CANCELLED)

CANCEL_S = 10.0
RESULTS_S = 2.0


def status(options: SubmitOptions) -> int:
    """Show a job. Returns 0 if it is done or in progress, 1 if it failed or was cancelled. Raises UnknownJob."""
    given, as_json = resolved_settings(), options.as_json
    job = find_job(options.job_id, given, *outputs_of(options.output, given))
    if options.monitor:
        with interrupting(signal.SIGINT):
            try:
                shot = monitor.follow(job, given, Console(stderr=True))
            except KeyboardInterrupt:
                return interrupted(job, as_json)
        return report(job, shot, given, as_json)
    note = broker_note(given)
    reader = Reader(job, given.lease_s)
    shot = reader.read()
    rows = reader.rows(shot.working)
    answers = _answers(job)
    trouble = note() if not shot.ended else None
    if as_json:
        counted = {} if answers is None else {"answers": answers}
        error = shot.refused or _error(job)
        about = {"success": shot.state not in _BAD, "error": error, "broker": trouble, **counted}
        click.echo(json.dumps({**views.as_json(shot, rows), **about}))
    else:
        views.screen().print(views.status_view(shot, rows, shot.refused or _error(job, language_of())))
        if answers is not None:
            print_answers(views.screen(), answers)
        if page := _page(job):
            say(f"Report: {page}")
        if trouble:
            say(f"The broker does not answer: {trouble}", err=True)
    return FAILED if shot.state in _BAD else 0


def cancel(options: SubmitOptions) -> int:
    """Cancel a job. Returns 0 if it has ended in any way, 1 if not within 10 s. Raises UnknownJob and OSError."""
    given = resolved_settings()
    job = find_job(options.job_id, given, *outputs_of(options.output, given))
    note = broker_note(given)
    before = state_of(job, given.lease_s)
    state, shown = before, before
    ends = time.monotonic() + CANCEL_S
    from orchestrator.client import submission  # loads the engine's configuration: 0.2 s, not needed for --status

    while not state.ended:
        state = submission.cancel(job, who(), given)
        if state != shown:
            say(f"{job.id}: {state}", err=True)
            shown = state
        if time.monotonic() > ends:
            break
        if not state.ended:
            time.sleep(0.2)
    shot = Reader(job, given.lease_s).read()
    trouble = None if before.ended else note()
    if shot.ended and not before.ended and trouble is None:
        submission.tell_result(job, given)
    text = _cancelled_text(shot, before)
    if options.as_json:
        about = {"success": shot.ended, "already_ended": before.ended, "message": text, "broker": trouble}
        click.echo(json.dumps({**views.as_json(shot), **about}))
    else:
        say(text)
        if trouble:
            say(f"The broker does not answer ({trouble}), but cancelling a job does not need it.", err=True)
    return 0 if shot.ended else FAILED


def interrupted(job: Job, as_json: bool) -> int:
    """Tell the user who stops watching how to continue, and return the exit status."""
    say(
        f"The job continues. Watch it again: `yolo-submit --status {job.id} --monitor`. "
        f"End it: `yolo-submit --cancel {job.id}`.",
        err=True,
    )
    if as_json:
        click.echo(json.dumps({"success": False, "id": job.id, "error": "interrupted"}))
    return INTERRUPTED


def _answers(job: Job) -> AnswersJson | None:
    """Return the counts of an ended job."""
    end = job.end_record()
    return None if end is None else end.result.summary.made.get("answers")


def _page(job: Job) -> str | None:
    """Return the path of an ended job's report, if any."""
    end = job.end_record()
    return None if end is None else end.result.summary.report


def report(job: Job, shot: Snapshot, given: Settings, as_json: bool) -> int:
    """Show the results of an ended job. Returns 0 for success, otherwise 1."""
    success = shot.state is JobState.COMPLETED
    if job.spec.task == "log_start" and not job.ended:
        start = job.start_record()
        if as_json:
            start_log = start.to_json() if start else {}
            click.echo(json.dumps({"success": success, **views.as_json(shot), "start_log": start_log}))
        else:
            found = start or StartRecord.refusal("")
            say(
                f"Job {job.id}: {counted(len(found.videos), 'video')}, {counted(found.total_frames, 'frame')}, "
                f"{views.span(found.total_duration_s)} long."
            )
            for warning in shot.warnings:
                say(f"Warning: {warning}", err=True)
            if shot.refused:
                say(f"Error: {shot.refused}", err=True)
        return 0 if success else FAILED
    result = _result(job, given)
    manifest, celery_result = f"{job.results}/manifest.json", f"{job.results}/{job.result_name}"
    if as_json:
        files = {"manifest": manifest, "celery_result": celery_result}
        value = {
            **result.to_json(),
            "success": success,
            "id": job.id,
            "state": shot.state,
            "output_folder": job.results,
        }
        click.echo(json.dumps({**value, **files}))
        return 0 if success else FAILED
    if not shot.refused:
        from engine.cli.progress import print_summary  # loads PyAV and NumPy: 0.4 s, not needed for --status

        summary = cast(SummaryJson, result.summary.to_json())
        print_summary(views.screen(), summary)
        if "answers" in summary:
            print_answers(views.screen(), summary["answers"])
        for line in follow_up_lines(summary):
            say(line)
    say(message_of(job, end_state(job, result.summary), result.summary, language_of()))
    say(f"  state    {shot.state}")
    say(f"  outputs  {job.results}")
    say(f"  manifest {manifest}")
    totals = result.summary.totals
    if told := views.cost(totals.cpu_s, totals.cpu_s_per_hour):
        say(f"  cost     {told}")
    if result.summary.report:
        say(f"  report   {result.summary.report}")
    say(f"  result   {celery_result}")
    return 0 if success else FAILED


def outputs_of(output: str | None, given: Settings) -> tuple[AnyPath, ...]:
    """Return the folders to search for a job that this machine does not remember. Raises PathRefused."""
    if output is not None and is_object(output):
        return (home_of(output, given),)
    return (Path(output or "output_videos").absolute(),)


def _result(job: Job, given: Settings) -> PipelineResult:
    """Return the pipeline's result. The end record exists a moment before the files made from it."""
    from orchestrator.worker import steps  # as above

    ends = time.monotonic() + RESULTS_S
    while time.monotonic() < ends and not file_at(job.result_path).exists():
        time.sleep(0.05)
    return steps.end(job, steps.Context(who(), given))  # makes missing ones again


def _error(job: Job, language: Language | None = None) -> str | None:
    """Return why an ended job did not succeed, as in its result or in another language."""
    end = job.end_record()
    if end is None or end.result.success:
        return None
    return end.result.message if language is None else message_of(job, end.state, end.result.summary, language)


def _cancelled_text(shot: Snapshot, before: JobState) -> str:
    if before.ended:
        return f"Job {shot.id} had already ended: {before}, {views.counts(shot)}. Its outputs are in {shot.results}."
    if not shot.ended:
        return (
            f"Job {shot.id} is still {shot.state}: its worker has not answered yet. It ends by itself; see "
            f"`yolo-submit --status {shot.id}`."
        )
    if shot.state is not JobState.CANCELLED:
        return f"Job {shot.id} ended first: {shot.state}. Its outputs are in {shot.results}."
    if not shot.videos:
        return f"Job {shot.id} is cancelled. It had not been started."
    return f"Job {shot.id} is cancelled: {views.counts(shot)}. {views.kept(shot)}"
