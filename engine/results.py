"""The results of a run: the summary for programs and the manifest for auditors."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.errors import OutputError, VideoError, describe_os_error
from engine.files.folders import Folder
from engine.files.opened import OpenedFile
from engine.inference.model import LoadedModel
from engine.stages.confidence import interval
from engine.summary import (
    BackendJson,
    GateAuditJson,
    GateJson,
    InputJson,
    ManifestJson,
    RunSummary,
    ShareJson,
    SummaryJson,
    Totals,
    VideoJson,
    VideoResult,
)
from engine.text.printable import json_text
from engine.versions import versions

if TYPE_CHECKING:
    from engine.pipeline.stream import Outcome
    from engine.records import Agreements, Ratio
    from engine.sinks.memory import Counters

_CHUNK_BYTES = 1 << 20


def summarise(
    outcomes: list[Outcome], model: LoadedModel, elapsed_s: float, earlier: Mapping[int, VideoResult] | None = None
) -> RunSummary:
    """Return the summary of a run; its JSON schema is docs/schema/summary.json. `earlier` has the results, by key, of
    videos that an earlier run completed."""
    results = [(outcome.key, entry_of(outcome, model.manifest.classes)) for outcome in outcomes]
    videos = [result for _, result in sorted([*results, *(earlier or {}).items()], key=lambda item: item[0])]
    done_now = sum(outcome.tally.frames - outcome.done_before for outcome in outcomes)
    totals = Totals.over(videos, done_now, elapsed_s)
    facts = {"name": model.manifest.name, "sha256": model.sha256}
    return RunSummary(videos=tuple(videos), totals=totals, model=facts, backend=backend_of(model))


def backend_of(model: LoadedModel) -> BackendJson:
    """Return the backend, its device, and why it was chosen."""
    found: BackendJson = {
        "name": model.backend.name,
        "provider": model.backend.provider,
        "device": model.device,
        "why": model.why,
        "precision": model.precision,
    }
    if (times := getattr(model.backend, "times_ms", None)) is not None:
        parts = zip(("upload", "compute", "download"), times, strict=True)
        found["gpu_s"] = {part: round(spent / 1000, 3) for part, spent in parts}
    return found


def entry_of(outcome: Outcome, class_names: tuple[str, ...]) -> VideoResult:
    """Return the summary entry of a video. Counts cover the whole video, times only this run."""
    if outcome.adopted is not None:
        return outcome.adopted
    tally = outcome.tally
    tracks: Counter[str] = Counter()
    for class_id, count in sorted(tally.tracks_by_class.items()):
        tracks[class_names[class_id]] += count  # two classes of a model may share a name
    return VideoResult(
        path=outcome.video.shown,
        status=outcome.status,
        error=outcome.error,
        frames=tally.frames,
        inferred_frames=tally.inferred,
        detections=tally.detections,
        tracks=sum(tracks.values()),
        tracks_by_class=dict(tracks),
        duration_s=round(outcome.duration_s, 3),
        elapsed_s=round(outcome.elapsed_s, 3),
        fps=round((tally.frames - outcome.done_before) / outcome.elapsed_s, 2) if outcome.elapsed_s > 0 else 0.0,
        outputs=outcome.outputs,
        files=outcome.files,
        stem=str(outcome.video.stem),
        resumed_from=outcome.resumed_from,
        video_offset_s=round(outcome.offset_s or 0.0, 6),
        objects=list(outcome.objects) if outcome.objects is not None else None,
        media=outcome.media,
        sequence=outcome.sequence,
        notes=outcome.notes,
        boxes_without_area=tally.without_area,
        segments=outcome.segments,
        dropped_frames=outcome.dropped,
        gate=_gate_of(tally),
        inferred_by=[{"from_frame": frame, "provider": provider} for frame, provider in tally.inferred_by],
    )


def _gate_of(tally: Counters) -> GateJson | None:
    if not tally.looks:
        return None
    looks = tally.looks
    return {
        "whole": looks["whole"],
        "parts": looks["parts"],
        "same": looks["same"],
        "between": looks["between"],
        "inferred_share": round(tally.inferred_share / looks.total(), 4),
        "audit": _audit_of(tally.agreements),
    }


def _audit_of(seen: Agreements | None) -> GateAuditJson | None:
    if seen is None:
        return None
    return {
        "windows": seen.boxes.windows,
        "frames": seen.frames,
        "compared": seen.boxes.whole,
        "boxes": _share_of(seen.boxes),
        "ids": _share_of(seen.ids),
        "counts": _share_of(seen.counts),
        "level": seen.level,
        "opened_at": seen.opened_at,
        "closed_at": seen.closed_at,
    }


def _share_of(ratio: Ratio) -> ShareJson:
    low, high = interval(ratio)
    return {"value": round(ratio.value, 4), "low": round(low, 4), "high": round(high, 4)}


def build_manifest(
    summary: SummaryJson,
    config: EngineConfig,
    inputs: Mapping[str, InputJson],
    started_at: str,
    attempts: Mapping[str, int] | None = None,
    answering: AnswerSettings | None = None,
    classes: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
) -> ManifestJson:
    """Return the summary with the data needed to trust or repeat it: hashes, versions, configuration. `attempts` has,
    by path, how often a video was started, if not once; `answering` says how wall clocks are known; `classes` are the
    model's; `settings` is recorded as the configuration, by default all of `config`.

    Its `files` are still missing and it is not sealed (engine/output_folder/hashes.py), because its report is made from
    it first.
    """
    answering = answering or AnswerSettings.of(config)
    settings = dict(settings) if settings is not None else config.model_dump(mode="json")
    text = json.dumps(settings, sort_keys=True).encode()
    return {
        **summary,
        "started_at": started_at,
        "videos": [
            {
                **_with_clock(video, answering),
                "input": inputs.get(video["path"]),
                "attempts": (attempts or {}).get(video["path"], 1),
            }
            for video in summary["videos"]
        ],
        "classes": list(classes),
        "config": settings,
        "config_sha256": hashlib.sha256(text).hexdigest(),
        "versions": versions(),
        "files": {},
    }


def _with_clock(entry: VideoJson, answering: AnswerSettings) -> VideoJson:
    return {**entry, "clock": answering.clock_entry(entry)} if "stem" in entry else entry


def write_json(folder: Folder, name: str, value: object) -> None:
    """Write a file atomically, in an open folder. Raises OutputError."""
    text = json_text(value, indent=2).encode() + b"\n"
    try:
        folder.put(name, text)
    except OSError as error:
        raise OutputError(f"{folder.shown / name} can't be written: {describe_os_error(error)}.") from error


def has_same_content(
    file: OpenedFile, sha256: str | None, etag: str | None, broken_off: Callable[[], bool] = lambda: False
) -> bool:
    """Return whether an input has the content that a manifest notes by hash or etag. What one of them is not known of
    can't be compared, and is taken for the same."""
    if file.etag is not None:
        return etag in (None, file.etag)
    if sha256 is None:
        return True
    found = file_identity(file, broken_off)
    return found is not None and found.get("sha256") == sha256


def file_identity(file: OpenedFile, broken_off: Callable[[], bool] = lambda: False) -> InputJson | None:
    """Return size and SHA-256 of an input file; of an object in storage its size and etag, for which none of it is
    read. None if it can't be read, or if `broken_off` says that the result is no longer needed."""
    if file.etag is not None:
        return {"size_bytes": file.size_bytes, "etag": file.etag}
    digest, reader = hashlib.sha256(), file.reader()
    try:
        while chunk := reader.read(_CHUNK_BYTES):
            if broken_off():
                return None
            digest.update(chunk)
        return {"size_bytes": file.size_now(), "sha256": digest.hexdigest()}
    except OSError:
        return None


def refuse_changed(
    file: OpenedFile, size_bytes: int | None, sha256: str | None, etag: str | None, tick: Callable[[], None]
) -> None:
    """Raise VideoError if a source is not the file that a run read, of which nothing may be noted. `tick` is called
    often."""
    if size_bytes not in (None, file.size_bytes):
        raise VideoError("is not the file that the tracks are of: its size has changed since the run")

    def go_on() -> bool:
        tick()
        return False

    if not has_same_content(file, sha256, etag, go_on):
        raise VideoError("is not the file that the tracks are of: its content has changed since the run")
