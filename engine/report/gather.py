"""Builds the records of a report from an output folder: the manifest, the answers from its tracks, and still frames."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, cast

from engine.analytics import Answers, bins_of, counts_of
from engine.analytics.answering import CameraAnswers, answer, films_of, have_own_ids, with_segments
from engine.analytics.naming import cameras_of, name_of
from engine.analytics.settings import AnswerSettings
from engine.analytics.timeline import Film
from engine.analytics.verdicts import Judged
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.files.folders import opened
from engine.media.source import scheme
from engine.output_folder.corrections import are_corrected
from engine.output_folder.remade import Remade, read_remade
from engine.profiling.sentences import sentences
from engine.report.crops import Crop, crops_of
from engine.report.records import CameraReport, Gap, LeftOut, Note, Part, Provenance, Report, Totals, VideoFacts
from engine.report.stills import Still, median_still
from engine.summary import JobManifestJson, VideoJson
from engine.text.masks import in_text
from models.registry import get_manifest, list_models

_LIMITS = ("max_pixels", "max_frame_bytes")
# A shorter gap in the timeline is not reported: it is the step between two frames.
_SHORTEST_GAP_S = 0.5
_MAX_NAMES = 10
_PART = ("start_s", "end_s", "duration_s")
_HASHED = ("started_at", "config_sha256", "job")


@dataclass(frozen=True)
class Gathering:
    """Input common to all cameras of a report. `roots`: if given, only videos below one of them are opened. `counted`
    has answers that were already computed, with heatmap and paths, by camera."""

    folder: Path
    manifest: JobManifestJson
    settings: AnswerSettings
    roots: Sequence[Path] = ()
    tick: Callable[[], None] = field(default=lambda: None)
    verdicts: Sequence[Judged] | None = None
    counted: Mapping[str, CameraAnswers] = field(default_factory=dict)

    @property
    def entries(self) -> list[VideoJson]:
        return list(self.manifest["videos"])

    @property
    def tracked(self) -> list[VideoJson]:
        """The videos with track rows."""
        entries = (cast("VideoJson", entry) for entry in with_segments(self.entries))
        return [entry for entry in entries if "tracks" in (entry.get("outputs") or {}) and "stem" in entry]

    @cached_property
    def remade(self) -> dict[str, Remade]:
        """How tracks were made again since the run, by video stem."""
        return read_remade(self.folder, self.manifest)

    @cached_property
    def config(self) -> dict[str, object]:
        """The configuration of the present tracks; the run's own if not all were made in the same way."""
        kept = dict(self.manifest["config"])
        made = [self.remade.get(str(entry["stem"])) for entry in self.tracked]
        first = next((each for each in made if each is not None), None)
        return first.over(kept) if first is not None and all(each == first for each in made) else kept


def cameras(work: Gathering) -> Iterator[CameraReport]:
    """Yield the cameras by name, one at a time to save memory. Raises InputError if tracks are missing or can't be
    read."""
    tracked = [entry for entry in work.entries if not _untracked(entry)]
    entries = {name_of(entry): cast("VideoJson", entry) for entry in with_segments(tracked)}
    films = films_of(entries.values(), work.folder, work.settings, remade=work.remade)
    by_camera: defaultdict[str, list[Film]] = defaultdict(list)
    for film in films:
        by_camera[film.camera].append(film)
    for name in sorted(by_camera):
        yield _camera(work, by_camera[name], entries)


def _untracked(entry: VideoJson) -> bool:
    """Return whether a video was read but no track rows were written."""
    read = entry.get("status") in ("ok", "partial") and not entry.get("segments")  # segments have rows of their own
    return read and "tracks" not in (entry.get("outputs") or {})


def _camera(work: Gathering, films: list[Film], entries: Mapping[str, VideoJson]) -> CameraReport:
    found = work.counted.get(films[0].camera)
    if found is None:
        (found,) = answer(films, work.settings, heatmap=True, paths=True, tick=work.tick, verdicts=work.verdicts)
    answers = found.answers
    # If a camera has several files, ids that restart in each are changed, and crops can't be assigned to them.
    own_ids = len(films) == 1 or have_own_ids(film for film in films if film.tracks is not None)
    videos = tuple(_video(work, entries[film.name], film.camera) for film in films)
    return CameraReport(
        name=answers.camera,
        zone=str(work.settings.zone),
        size_wh=next((film.size_wh for film in films if film.size_wh is not None), None),
        answers=answers,
        reviewed=found.reviewed,
        objects=found.objects,
        bins=tuple(bins_of(answers, work.settings.bin_s)),
        counts=tuple(counts_of(answers, work.settings.bin_s)),
        gaps=_gaps(answers),
        videos=videos,
        heatmap=_heat(found),
        paths=found.paths or {},
        offsets_s=found.offsets_s,
        crops=_crops(work, films, entries) if own_ids else {},
        still=_still(work, [entries[film.name] for film in films if film.examined_s is not None], videos),
    )


def _crops(work: Gathering, films: Sequence[Film], entries: Mapping[str, VideoJson]) -> dict[int, Crop]:
    """Return the crops of the present tracks."""
    fresh = films[0].camera in work.counted
    archives = _archives(work, films, entries)
    return crops_of(((path, None if fresh else film.tracks) for film, path in archives), work.tick)


def _archives(work: Gathering, films: Sequence[Film], entries: Mapping[str, VideoJson]) -> Iterator[tuple[Film, Path]]:
    """Yield the existing archives of crops, found by name in the folder, which may have been moved since."""
    for film in films:
        written = entries[film.name]["outputs"].get("crops")
        if written is not None:
            path = work.folder / PurePosixPath(entries[film.name]["stem"]).parent / os.path.basename(written)
            if path.is_file():
                yield film, path


def _heat(found: CameraAnswers) -> Mapping[str, object] | None:
    return None if found.heatmap is None else found.heatmap.table()


def _still(work: Gathering, entries: Sequence[VideoJson], videos: Sequence[VideoFacts]) -> Still | None:
    """Return the scene without moving objects: from a source or, if none can be read, from an annotated video, whose
    boxes mostly vanish in the median. For a run with `blur`, only from annotated videos, since its sources show what it
    hides."""
    kept = work.manifest.get("config") or {}
    named = [] if kept.get("blur") else entries
    sources = [Path(entry["path"]) for entry in named if scheme(str(entry["path"])) is None]
    try:
        limits = EngineConfig(**{key: kept[key] for key in _LIMITS if kept.get(key) is not None})
    except ConfigError:
        limits = EngineConfig()
    drawn = [work.folder / video.annotated for video in videos if video.annotated is not None]
    return median_still(sources[:3], limits, roots=work.roots, tick=work.tick) or median_still(
        drawn[:3], limits, tick=work.tick
    )


def gather(work: Gathering) -> Report:
    """Return the parts of the report that are not per camera."""
    manifest = work.manifest
    settings = work.settings
    cameras = cameras_of([(name_of(entry), str(entry["path"])) for entry in work.entries], settings.camera)
    videos = [_video(work, entry, camera) for entry, camera in zip(work.entries, cameras, strict=True)]
    totals = manifest["totals"]
    return Report(
        report_id=_identity(manifest),
        folder=str(work.folder),
        job=manifest.get("job"),
        started_at=manifest.get("started_at"),
        error=manifest.get("error"),
        totals=Totals(
            videos=int(totals["videos"]),
            failed=sum(video.status not in ("ok", "partial") for video in videos),
            partial=int(totals["partial"]),
            frames=int(totals["frames"]),
            examined_s=sum(video.examined_s for video in videos),
            tracks=int(totals["tracks"]),
            elapsed_s=float(totals["elapsed_s"]),
            fps=float(totals["fps"]),
            cpu_s=totals.get("cpu_s"),
            cpu_s_per_hour=totals.get("cpu_s_per_hour"),
        ),
        part=_part(manifest),
        videos=tuple(videos),
        problems=tuple(video for video in videos if video.status != "ok"),
        noted=tuple(video for video in videos if video.status == "ok" and video.notes),
        untracked=tuple(name_of(entry) for entry in work.entries if _untracked(entry)),
        left_out=tuple(LeftOut(str(each["path"]), str(each["why"])) for each in manifest.get("left_out", ())),
        provenance=_provenance(manifest, work.config),
        accuracy=(*_accuracy(manifest, work.config, bool(settings.scenes)), *_not_the_runs(work)),
    )


def _video(work: Gathering, entry: VideoJson, camera: str) -> VideoFacts:
    clock = entry.get("clock") or work.settings.clock_entry(entry)
    return VideoFacts(
        name=name_of(entry),
        camera=camera,
        status=str(entry["status"]),
        error=entry.get("error"),
        frames=int(entry["frames"]),
        tracks=int(entry["tracks"]),
        duration_s=float(entry["duration_s"]),
        examined_s=_examined_s(entry),
        annotated=_annotated(work.folder, entry),
        offset_s=float(entry.get("video_offset_s") or 0.0),
        clock=str(clock.get("origin") or "none"),
        sha256=_sha256(entry),
        notes=tuple(map(str, entry.get("notes") or ())),
        resumed_from=int(entry.get("resumed_from") or 0),
        attempts=int(entry.get("attempts") or 1),
    )


def _examined_s(entry: VideoJson) -> float:
    """Return the examined seconds of a video; older manifests only have its length."""
    if entry["status"] not in ("ok", "partial"):
        return 0.0
    if (media := entry.get("media")) is None:
        return float(entry["duration_s"])
    first_s, last_s = media["examined_s"]
    return last_s - first_s - sum(last - first for first, last in media.get("not_examined_s", ()))


def _part(manifest: JobManifestJson) -> Part | None:
    config = EngineConfig(**{key: manifest["config"][key] for key in _PART if manifest["config"].get(key) is not None})
    start_s, end_s = config.start_s or None, config.part_ends_s
    return Part(start_s, end_s) if start_s is not None or end_s is not None else None


def _annotated(folder: Path, entry: VideoJson) -> str | None:
    """Return the annotated video's path below the folder, which may have been moved since; None if it does not
    exist."""
    written = (entry.get("outputs") or {}).get("video")
    if written is None:
        return None
    place = PurePosixPath(str(entry["stem"])).parent / os.path.basename(str(written))
    return place.as_posix() if (folder / place).is_file() else None


def _gaps(answers: Answers) -> tuple[Gap, ...]:
    """Return the gaps between the examined intervals."""
    gaps = []
    until: float | None = None
    for first, last in sorted(answers.examined_s):
        if until is not None and first - until > _SHORTEST_GAP_S:
            gaps.append(Gap(answers.camera, until, first, answers.clock.at(until), answers.clock.at(first)))
        until = last if until is None else max(until, last)
    return tuple(gaps)


def _sha256(entry: VideoJson) -> str:
    identity = entry.get("input")
    return str(identity.get("sha256") or identity.get("etag", "")) if identity else ""


def _identity(manifest: JobManifestJson) -> str:
    """Return an id of one run of one configuration over one set of files."""
    parts: list[object] = [manifest.get(key) for key in _HASHED]
    parts += [[entry.get("path"), _sha256(entry)] for entry in manifest["videos"]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _provenance(manifest: JobManifestJson, config: Mapping[str, object]) -> Provenance:
    model, backend = manifest["model"], manifest["backend"]
    name = str(model["name"])
    known = {each.name for each in list_models()}
    verdict = manifest.get("verdict")
    return Provenance(
        model=name,
        model_sha256=str(model["sha256"]),
        model_description=get_manifest(name).description if name in known else "",
        backend=" ".join(str(backend[key]) for key in ("name", "provider", "device") if backend.get(key)),
        why=str(backend.get("why") or ""),
        config_sha256=str(manifest.get("config_sha256") or ""),
        settings=tuple(_changed(config)),
        versions=tuple((str(key), str(value)) for key, value in (manifest.get("versions") or {}).items()),
        verdict=tuple(sentences(verdict)) if verdict else (),
        unmeasured=_unmeasured(manifest),
        workers=tuple(map(str, manifest.get("workers") or ())),
        precision=_precision(manifest),
    )


def _unmeasured(manifest: JobManifestJson) -> str:
    """Return the key of the text that says why there is no verdict."""
    if manifest.get("job") is not None:
        return "not_measured_job"
    return "not_measured_frames" if "verdict" in manifest else "not_measured"


def _precision(manifest: JobManifestJson) -> str:
    """Return the precision on a CPU; "" if it is the model's own, or part of the provider's name."""
    backend = manifest["backend"]
    return str(backend.get("precision") or ("f32" if backend.get("name") in ("native", "openvino") else ""))


def _not_the_runs(work: Gathering) -> Iterator[Note]:
    """Yield notes on tracks that are not the run's own: made again from stored detections, or corrected by a person."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    corrected = []
    for entry in work.tracked:
        if (made := work.remade.get(str(entry["stem"]))) is not None:
            names[made.in_words()].append(name_of(entry))
        place = work.folder / PurePosixPath(entry["stem"]).parent
        with opened(place) as folder:
            rows = os.path.basename(str(entry["outputs"]["tracks"]))
            if folder is not None and are_corrected(folder, rows):
                corrected.append(name_of(entry))
    for how, videos in sorted(names.items()):
        yield (
            Note("acc_remade", (how, _few(videos)))
            if len(videos) < len(work.tracked)
            else Note("acc_remade_all", (how,))
        )
    if corrected:
        yield Note("acc_corrected", (_few(corrected),))


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" (+{more})" if more > 0 else "")


def _changed(config: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the keys that differ from the defaults, with passwords masked."""
    tracker = config.get("tracker", "sort")
    try:
        plain = EngineConfig(tracker=tracker).model_dump(mode="json")
    except ConfigError:
        plain = EngineConfig().model_dump(mode="json")
    plain["tracker"] = EngineConfig().tracker
    for key, value in sorted(config.items()):
        if value != plain.get(key) and value is not None:
            yield key, in_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _accuracy(manifest: JobManifestJson, kept: Mapping[str, object], counted: bool) -> tuple[Note, ...]:
    """Return notes on what limits the accuracy of the numbers, and on how the tracks were made."""
    config: dict[str, Any] = EngineConfig().model_dump(mode="json") | dict(kept)
    notes = [Note("acc_ids"), Note("acc_objects"), Note("acc_conf", (f"{float(config['conf']):g}",))]
    if str(manifest["model"]["name"]) == "street-nano":
        notes.append(Note("acc_nano"))
    if config.get("gate", "off") != "off":
        notes.append(Note("acc_gate"))
    if config.get("scan"):
        notes.append(Note("acc_scan"))
    if skipped := int(config["skip_frames"] or 0):
        both = config.get("fill") == "both"
        notes.append(Note("acc_both" if both else "acc_skip", (str(skipped),)))
    if config.get("classes"):
        notes.append(Note("acc_classes", classes=tuple(map(str, config["classes"]))))
    if counted:
        notes.append(Note("acc_margin"))
    if any(entry.get("status") == "partial" for entry in manifest["videos"]):
        notes.append(Note("acc_partial"))
    if any((entry.get("clock") or {}).get("origin") == "name" for entry in manifest["videos"]):
        notes.append(Note("acc_clock_name"))
    return tuple(notes)
