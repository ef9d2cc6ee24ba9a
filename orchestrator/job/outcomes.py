"""The outcome of a job: its result in the original structure, the manifest, and its current state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from engine.output_folder.hashes import sealed
from engine.storage.spooled import told as told_of_storage
from engine.versions import versions
from orchestrator.job.jobdir import Job, now
from orchestrator.job.leases import Lease, latest
from orchestrator.job.records import (
    BackendFacts,
    EngineFacts,
    EntryStatus,
    JobState,
    JobSummary,
    JobTotals,
    ModelFacts,
    PipelineResult,
    StartRecord,
    VideoEntry,
    VideoFacts,
)


@dataclass(frozen=True)
class Language:
    """The texts of a result's message in one language. A job's result is in Spanish, as in the original program; on
    a terminal it is in the user's language."""

    pipeline: Mapping[JobState, str]
    processing: Mapping[JobState, str]  # for `process_videos` alone, which is not a pipeline
    endings: Mapping[EntryStatus, str]
    done: str
    failed: str


SPANISH = Language(
    pipeline={
        JobState.COMPLETED: "Pipeline completo ejecutado exitosamente",
        JobState.FAILED: "Pipeline terminado con errores",
        JobState.CANCELLED: "Pipeline cancelado",
    },
    processing={
        JobState.COMPLETED: "Procesamiento de videos ejecutado exitosamente",
        JobState.FAILED: "Procesamiento de videos terminado con errores",
        JobState.CANCELLED: "Procesamiento de videos cancelado",
    },
    endings={
        EntryStatus.PARTIAL: "parciales",
        EntryStatus.FAILED: "fallidos",
        EntryStatus.CANCELLED: "cancelados",
        EntryStatus.NOT_BEGUN: "sin empezar",
    },
    done="{done} de {videos} vídeos completos",
    failed="{failed} de {videos} vídeos, el primero {first}",
)
ENGLISH = Language(
    pipeline={
        JobState.COMPLETED: "The job completed successfully",
        JobState.FAILED: "The job failed",
        JobState.CANCELLED: "The job was cancelled",
    },
    processing={
        JobState.COMPLETED: "The videos were processed successfully",
        JobState.FAILED: "Processing the videos failed",
        JobState.CANCELLED: "Processing the videos was cancelled",
    },
    endings={status: str(status) for status in EntryStatus if status is not EntryStatus.OK},
    done="{done} of {videos} videos done",
    failed="{failed} of {videos} videos, the first one {first}",
)
# The key under which summaries and --status count each status.
ENDINGS = {
    EntryStatus.OK: "done",
    EntryStatus.PARTIAL: "partial",
    EntryStatus.FAILED: "failed",
    EntryStatus.CANCELLED: "cancelled",
    EntryStatus.NOT_BEGUN: "not_begun",
}
# A Celery result with more videos than this names only those that are not ok; the manifest has them all.
_VIDEOS_IN_A_RESULT = 200


def summarise(job: Job, error: str | None = None) -> JobSummary:
    """Return the engine's summary over the work of all of the job's workers."""
    start = job.start_record()
    entries: list[VideoEntry] = []
    workers, engine = set(), _engine_facts(job)
    for video in start.videos if start else ():
        done = job.done(video.index)
        if done is None:
            entries.append(replace(_not_done(job, video, error), stem=video.stem))
            continue
        entries.append(replace(done.entry, stem=video.stem, worker=done.worker))
        workers.add(done.worker)
    totals = _totals(entries, _seconds_since(start.started_at if start else None), cpu_s_of(job))
    model = start.model if start else ModelFacts()
    return JobSummary(
        success=not error and bool(entries) and totals.done == len(entries),
        videos=tuple(entries),
        totals=totals,
        model=engine.model if engine else ModelFacts(model.name or "", model.sha256 or ""),
        backend=engine.backend if engine else BackendFacts(),
        workers=tuple(sorted(workers)),
        error=error or None,
    )


def cpu_s_of(job: Job) -> float | None:
    """Return the CPU seconds of all engines that worked on a job's videos; None if not measured."""
    told = {each.key: each.cpu_s for each in job.progress()}
    spent = 0.0
    for key, last in job.leases("tasks").items():
        for number in range(1, last.number + 1):
            ending = Lease(last.base, number).ending()
            if ending is not None:
                spent += ending.cpu_s
            elif number == last.number:  # the count of a killed one is continued by the next
                spent += told.get(key, 0.0)
    return round(spent, 2) or None


def cpu_s_per_hour(cpu_s: float | None, seconds_of_video: float) -> float | None:
    """Return CPU seconds per hour of video; None without any."""
    return round(cpu_s / seconds_of_video * 3600, 1) if cpu_s and seconds_of_video > 0 else None


def _totals(entries: list[VideoEntry], elapsed_s: float, cpu_s: float | None) -> JobTotals:
    statuses = [entry.status for entry in entries]
    frames = sum(entry.frames for entry in entries)
    return JobTotals(
        videos=len(entries),
        done=statuses.count(EntryStatus.OK),
        partial=statuses.count(EntryStatus.PARTIAL),
        failed=statuses.count(EntryStatus.FAILED),
        cancelled=statuses.count(EntryStatus.CANCELLED),
        not_begun=statuses.count(EntryStatus.NOT_BEGUN),
        frames=frames,
        detections=sum(entry.detections for entry in entries),
        tracks=sum(entry.new_tracks for entry in entries),
        elapsed_s=elapsed_s,
        fps=round(frames / elapsed_s, 2) if elapsed_s else 0.0,
        cpu_s=cpu_s,
        cpu_s_per_hour=cpu_s_per_hour(cpu_s, sum(entry.duration_s for entry in entries if entry.frames)),
    )


def pipeline_result(job: Job, state: JobState, summary: JobSummary, end_log: Mapping[str, object]) -> PipelineResult:
    """Return the structure that the original program returned."""
    start = job.start_record()
    return PipelineResult(
        success=state is JobState.COMPLETED,
        message=message_of(job, state, summary, SPANISH),
        pipeline_task_id=job.id,
        start_log=start.log() if start else {},
        summary=summary,
        end_log=end_log,
        video_folder=job.spec.video_folder,
        config_used=job.config,
    )


def message_of(job: Job, state: JobState, summary: JobSummary, language: Language) -> str:
    """Return a sentence on how a job ended, with the reason if it did not complete."""
    message = (language.processing if job.spec.task == "process_videos" else language.pipeline)[state]
    if state is JobState.COMPLETED:
        return message
    cancelled = state is JobState.CANCELLED
    reason = summary.error or (_what_is_done(summary, language) if cancelled else _what_failed(summary, language))
    return f"{message}: {reason}" if reason else message


def shortened(summary: JobSummary) -> JobSummary:
    """Shorten a summary for the result store: if there are many videos, only those that are not ok remain."""
    if len(summary.videos) <= _VIDEOS_IN_A_RESULT:
        return summary
    kept = [video for video in summary.videos if video.status is not EntryStatus.OK][:_VIDEOS_IN_A_RESULT]
    others = {**summary.others, "videos_left_out": len(summary.videos) - len(kept)}
    return replace(summary, videos=tuple(kept), others=others)


def shortened_result(result: PipelineResult) -> PipelineResult:
    """Shorten a result for the result store."""
    return replace(result, summary=shortened(result.summary))


def without_long_lists(start: StartRecord) -> dict[str, object]:
    """Return a start record as JSON, shortened for the result store."""
    return start.to_json() if len(start.videos) <= _VIDEOS_IN_A_RESULT else {**start.log(), "videos": []}


def build_manifest(job: Job, summary: JobSummary) -> dict[str, object]:
    """Return the summary as JSON, with what is needed to verify or repeat it. If results go to storage, the summary of
    an end record names them there already."""
    config = job.config
    if job.spec.stored is not None:
        config = told_of_storage(config, job.output, job.spec.stored)
    text = json.dumps(config, sort_keys=True).encode()
    start = job.start_record()
    manifest: dict[str, object] = {
        **summary.to_json(),
        "job": job.id,
        "started_at": start.started_at if start else None,
        **({"classes": list(start.model.classes)} if start is not None and start.model.classes else {}),
        "config": config,
        "config_sha256": hashlib.sha256(text).hexdigest(),
        "versions": versions(),
        "files": dict(summary.files),
    }
    return sealed(manifest)


def end_state(job: Job, summary: JobSummary) -> JobState:
    if job.cancelled and not summary.success:
        return JobState.CANCELLED
    return JobState.COMPLETED if summary.success else JobState.FAILED


def state_of(job: Job, lease_s: float) -> JobState:
    """Return the current state of a job."""
    end = job.end_record()
    if end is not None:
        return end.state
    if job.ended:  # and the record is damaged
        return end_state(job, summarise(job))
    live = job.live(lease_s)
    if job.cancelled:
        return JobState.CANCELLING
    start = job.start_record()
    if start is None:
        return JobState.STARTING if live else JobState.QUEUED
    if job.spec.task == "log_start":
        return JobState.FAILED if start.refused else JobState.COMPLETED
    if live and not any(lease.base == job.task_base("end") for lease in live):
        return JobState.PROCESSING
    return JobState.ENDING if live or len(job.done_indices()) == len(start.videos) else JobState.WAITING


def failed_entry(
    video: VideoFacts, error: str, *, attempts: int = 1, status: EntryStatus = EntryStatus.FAILED
) -> VideoEntry:
    """Return an entry for a video for which the engine never made one."""
    return VideoEntry(video.path, status, error, duration_s=video.duration_s or 0.0, attempts=attempts)


def _not_done(job: Job, video: VideoFacts, error: str | None) -> VideoEntry:
    last = latest(job.video_base(video.index))
    status = EntryStatus.FAILED if last else EntryStatus.NOT_BEGUN
    if error is None and job.cancelled:
        error = "cancelled after its worker had died" if last else "cancelled before it started"
        status = EntryStatus.CANCELLED if last else EntryStatus.NOT_BEGUN
    return failed_entry(video, error or "was not processed", attempts=last.number if last else 0, status=status)


def _engine_facts(job: Job) -> EngineFacts | None:
    """Return model and backend as an engine reported them."""
    endings = (lease.ending() for lease in job.leases("tasks").values())
    return next((end.engine for end in endings if end is not None and end.engine is not None), None)


def _what_is_done(summary: JobSummary, language: Language) -> str:
    statuses = [video.status for video in summary.videos]
    others = [f"{count} {word}" for status, word in language.endings.items() if (count := statuses.count(status))]
    done = language.done.format(done=summary.totals.done, videos=summary.totals.videos)
    return ", ".join([done, *others])


def _what_failed(summary: JobSummary, language: Language) -> str | None:
    bad = [video for video in summary.videos if video.status is not EntryStatus.OK]
    if not summary.videos:
        return "no video"
    if not bad:
        return None
    first = told(bad[0].path, bad[0].error)
    return first if len(bad) == 1 else language.failed.format(failed=len(bad), videos=len(summary.videos), first=first)


def told(path: str, error: str | None) -> str:
    """Return a video's error, with its path named once: many errors name it themselves."""
    if not error:
        return path
    return error if path in error else f"{path}: {error}"


def _seconds_since(text: str | None) -> float:
    if not text:
        return 0.0
    between = datetime.fromisoformat(now()) - datetime.fromisoformat(text)
    return max(0.0, round(between.total_seconds(), 3))  # a clock may have been set back
