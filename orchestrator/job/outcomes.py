"""What a job leaves to read: its result in the original structure, the manifest, and its state at any moment."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from orchestrator.job.jobdir import Job, now
from orchestrator.job.leases import latest
from orchestrator.job.records import EngineFacts, ModelFacts, StartRecord, VideoFacts

SUCCESS = "Pipeline completo ejecutado exitosamente"
_MESSAGES = {
    "completed": SUCCESS,
    "failed": "Pipeline terminado con errores",
    "cancelled": "Pipeline cancelado",
}
# Of `process_videos` alone, which is no pipeline.
_OF_PROCESSING = {
    "completed": "Procesamiento de videos ejecutado exitosamente",
    "failed": "Procesamiento de videos terminado con errores",
    "cancelled": "Procesamiento de videos cancelado",
}
# How a video of a job ends, everywhere: the status in its entry, the key of its number, the word for people in English
# and in the original's Spanish. A video that is done has the status that the engine gives it.
ENDINGS = {
    "ok": ("done", "done", "completos"),
    "partial": ("partial", "partial", "parciales"),
    "failed": ("failed", "failed", "fallidos"),
    "cancelled": ("cancelled", "cancelled", "cancelados"),
    "not begun": ("not_begun", "not begun", "sin empezar"),
}
# Beyond so many videos a Celery result names only those that are not ok; the manifest has them all.
_VIDEOS_IN_A_RESULT = 200


def summarise(job: Job, error: str | None = None) -> dict[str, Any]:
    """The engine's summary over everything that the job's workers did; the structure is in docs/schema/summary.json."""
    start = job.start_record()
    entries, workers, engine = [], set(), _engine_facts(job)
    for video in start.videos if start else ():
        done = job.done(video.index)
        if done is None:
            entries.append({**_not_done(job, video, error), "stem": video.stem})
            continue
        entries.append({**done.entry, "stem": video.stem, "worker": done.worker})
        workers.add(done.worker)
    counts = {status: sum(entry["status"] == status for entry in entries) for status in ENDINGS}
    frames = sum(entry["frames"] for entry in entries)
    elapsed_s = _seconds_since(start.started_at if start else None)
    model = start.model if start else ModelFacts()
    summary: dict[str, Any] = {
        "schema": 1,
        "success": not error and bool(entries) and counts["ok"] == len(entries),
        "videos": entries,
        "totals": {
            "videos": len(entries),
            **{key: counts[status] for status, (key, _, _) in ENDINGS.items()},
            "frames": frames,
            "detections": sum(entry["detections"] for entry in entries),
            "tracks": sum(entry["tracks"] for entry in entries),
            "elapsed_s": elapsed_s,
            "fps": round(frames / elapsed_s, 2) if elapsed_s else 0.0,
        },
        "model": engine.model.to_json() if engine else {"name": model.name or "", "sha256": model.sha256 or ""},
        "backend": dict(engine.backend) if engine else {"name": "", "provider": ""},
        "workers": sorted(workers),
    }
    return {**summary, "error": error} if error else summary


def pipeline_result(job: Job, state: str, summary: dict[str, Any], end_log: dict[str, Any]) -> dict[str, Any]:
    """The structure that the original program returned."""
    start = job.start_record()
    message = (_OF_PROCESSING if job.spec.task == "process_videos" else _MESSAGES)[state]
    reason = summary.get("error") or (_what_is_done(summary) if state == "cancelled" else _what_failed(summary))
    return {
        "success": state == "completed",
        "message": message if state == "completed" or not reason else f"{message}: {reason}",
        "pipeline_task_id": job.id,
        "start_log": start.log() if start else {},
        "processing_result": summary,
        "end_log": end_log,
        "video_folder": job.spec.video_folder,
        "config_used": job.config,
    }


def shortened(value: dict[str, Any]) -> dict[str, Any]:
    """A result that is small enough for the result store: of many videos, only those that are not ok."""
    summary = value.get("processing_result", value)
    videos = summary.get("videos", [])
    if len(videos) <= _VIDEOS_IN_A_RESULT:
        return value
    kept = [video for video in videos if video["status"] != "ok"][:_VIDEOS_IN_A_RESULT]
    short = {**summary, "videos": kept, "videos_left_out": len(videos) - len(kept)}
    return {**value, "processing_result": short} if "processing_result" in value else short


def without_long_lists(start: StartRecord) -> dict[str, object]:
    """A start record as JSON that is small enough for the result store."""
    return start.to_json() if len(start.videos) <= _VIDEOS_IN_A_RESULT else {**start.log(), "videos": []}


def build_manifest(job: Job, summary: dict[str, Any]) -> dict[str, object]:
    """The summary with what is needed to trust or repeat it."""
    from engine.versions import versions

    text = json.dumps(job.config, sort_keys=True).encode()
    start = job.start_record()
    return {
        **summary,
        "job": job.id,
        "started_at": start.started_at if start else None,
        "config": job.config,
        "config_sha256": hashlib.sha256(text).hexdigest(),
        "versions": versions(),
    }


def end_state(job: Job, summary: dict[str, Any]) -> str:
    if job.cancelled and not summary["success"]:
        return "cancelled"
    return "completed" if summary["success"] else "failed"


def state_of(job: Job, lease_s: float) -> str:
    """queued, starting, processing, waiting (begun, and nobody at work), ending, cancelling, or how it ended."""
    end = job.end_record()
    if end is not None:
        return end.state
    if job.ended:  # and the record is damaged
        return end_state(job, summarise(job))
    live = job.live(lease_s)
    if job.cancelled:
        return "cancelling"
    start = job.start_record()
    if start is None:
        return "starting" if live else "queued"
    if job.spec.task == "log_start":
        return "failed" if start.refused else "completed"
    if live:
        return "processing"
    return "ending" if len(job.done_indices()) == len(start.videos) else "waiting"


def _not_done(job: Job, video: VideoFacts, error: str | None) -> dict[str, Any]:
    from orchestrator.job.claims import failed_entry

    last = latest(job.video_base(video.index))
    status = "failed" if last else "not begun"
    if error is None and job.cancelled:
        error = "cancelled after its worker had died" if last else "cancelled before it was begun"
        status = "cancelled" if last else "not begun"
    return failed_entry(video, error or "was not processed", attempts=last.number if last else 0, status=status)


def _engine_facts(job: Job) -> EngineFacts | None:
    """Model and backend as an engine reported them."""
    endings = (lease.ending() for lease in job.leases("tasks").values())
    return next((end.engine for end in endings if end is not None and end.engine is not None), None)


def _what_is_done(summary: dict[str, Any]) -> str:
    totals = summary["totals"]
    words = [f"{totals[key]} {word}" for key, _, word in list(ENDINGS.values())[1:] if totals[key]]
    return ", ".join([f"{totals['done']} de {totals['videos']} vídeos completos", *words])


def _what_failed(summary: dict[str, Any]) -> str | None:
    bad = [video for video in summary["videos"] if video["status"] != "ok"]
    if not summary["videos"]:
        return "no video"
    if not bad:
        return None
    first = told(bad[0]["path"], bad[0]["error"])
    return first if len(bad) == 1 else f"{len(bad)} de {len(summary['videos'])} vídeos, el primero {first}"


def told(path: str, error: str | None) -> str:
    """A video's error, with its path named once: many errors name it themselves."""
    if not error:
        return path
    return error if path in error else f"{path}: {error}"


def _seconds_since(text: str | None) -> float:
    if not text:
        return 0.0
    between = datetime.fromisoformat(now()) - datetime.fromisoformat(text)
    return max(0.0, round(between.total_seconds(), 3))  # a clock may have been set back
