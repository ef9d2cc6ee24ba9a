"""The output folder of a run or a job, read from its manifest."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from engine.analytics.answering import CameraAnswers, films_of, unrolled
from engine.analytics.naming import name_of
from engine.analytics.samples import classes_in
from engine.analytics.settings import AnswerSettings, looked_for
from engine.analytics.timeline import Film
from engine.analytics.vocabulary import Vocabulary, check_places
from engine.config import ClipKeys, EngineConfig
from engine.output_folder.manifest import read_manifest
from engine.output_folder.remade import Remade, read_remade
from engine.storage.urls import is_object
from models.registry import by_hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedVideo:
    """One video of a run.

    `name` is its path below the input folder, as in all tables, `stem` that of its outputs; of a live source each
    segment is one. `source` is where the video lies, None for a live one. `tracks` is the file of its rows, None if
    there is none. `size_wh` is that of the upright frame, None if no frame was looked at; `examined` counts frames
    that the model saw. `time_base` and `step_s` are the container's unit of time and the seconds between two frames at
    its nominal rate. `size_bytes` and `sha256`, of an object `etag`, are the source's own when it was read, None if
    nobody noted them. `annotated` is its annotated video, None if there is none, which begins at `annotated_s` of the
    source's time.
    """

    name: str
    stem: PurePosixPath
    source: Path | None
    status: str
    error: str | None
    frames: int
    examined: int
    detections: int
    objects: int
    tracks: Path | None
    annotated: Path | None
    size_wh: tuple[int, int] | None
    first_s: float
    time_base: Fraction | None
    step_s: Fraction | None
    size_bytes: int | None = None
    sha256: str | None = None
    etag: str | None = None
    annotated_s: float = 0.0


@dataclass(frozen=True)
class FinishedRun:
    """The videos of a run, with the clocks and cameras by which they are on timelines, and what the run was made with.

    `films` are the same videos, in the same order, as `engine.analytics` takes them. `classes` are those that the model
    knows, None if nobody noted them. `counted` are the answers of the films' cameras, where somebody has read all
    rows just before. `remade` says how tracks were made again since the run, by the stems of their videos.
    """

    folder: Path
    videos: tuple[FinishedVideo, ...]
    films: tuple[Film, ...]
    config: EngineConfig
    settings: AnswerSettings
    model: str
    model_sha256: str
    classes: tuple[str, ...] | None = None
    counted: tuple[CameraAnswers, ...] = ()
    remade: Mapping[str, Remade] = field(default_factory=dict)

    @classmethod
    def load(
        cls, folder: Path, *, sources: Path | None = None, scenes: Sequence[Path] = (), counts: bool = True
    ) -> FinishedRun:
        """Read the manifest of an output folder. `sources` is where the videos lie now, if not where they lay; `scenes`
        take the place of the run's own, if there are any. Who counts nothing needs no scene: with `counts` False
        none is read. Raises InputError and ConfigError."""
        manifest = read_manifest(folder)
        config = EngineConfig(**manifest["config"])
        if scenes:
            config = config.updated(scene=tuple(scenes))
        settings = None if counts else AnswerSettings.of(config.updated(scene=None))
        run = cls.of(manifest["videos"], folder, config, manifest["model"], sources=sources, settings=settings)
        classes = _classes(manifest.get("classes"), run.model_sha256)
        run = replace(run, classes=classes, remade=read_remade(folder, manifest))
        if scenes and (unused := run.settings.check_videos([film.known_as for film in run.films])) is not None:
            log.warning(unused)
        if scenes:
            check_places(run.settings.classes_named(), run.looked_for, run.classes_in_rows)
        return run

    @classmethod
    def of(
        cls,
        entries: Iterable[Mapping[str, Any]],
        folder: Path,
        config: EngineConfig,
        model: Mapping[str, Any],
        *,
        sources: Path | None = None,
        settings: AnswerSettings | None = None,
        counted: Sequence[CameraAnswers] = (),
    ) -> FinishedRun:
        """Take the entries of a manifest, and if there are any the answers of all of them. Raises InputError, and
        KeyError, TypeError or ValueError if they are none."""
        settings = settings or AnswerSettings.of(config)
        # What is not examined has no rows either: a failed file, a live source that never came.
        kept = unrolled(entry for entry in entries if "stem" in entry)
        films = films_of(kept, folder, settings)
        videos = [
            _video(entry, film, folder, sources, bool(config.visualize))
            for entry, film in zip(kept, films, strict=True)
        ]
        name, sha256 = str(model.get("name", config.model)), str(model.get("sha256", ""))
        return cls(folder, tuple(videos), tuple(films), config, settings, name, sha256, counted=tuple(counted))

    def check_asked(self, keys: ClipKeys) -> None:
        """Raise ConfigError if nothing that could have happened in the run is what `keys` ask for."""
        Vocabulary.of(self.settings.scenes, self._classes_beside(keys.classes or ())).check(keys)

    @property
    def looked_for(self) -> Collection[str] | None:
        """The classes that the run looked for; None if nobody noted them."""
        return None if self.classes is None else looked_for(self.classes, self.config.classes)

    def _classes_beside(self, names: Sequence[str]) -> Collection[str] | None:
        """Return the classes that were looked for; with those in the rows, which people may have corrected, where
        `names` has others."""
        kept = self.looked_for
        if kept is None or set(names) <= set(kept):
            return kept
        return {*kept, *self.classes_in_rows()}

    def classes_in_rows(self) -> set[str]:
        """Return the classes that the tracks are of. Raises InputError."""
        return classes_in(film.tracks for film in self.films if film.tracks is not None)

    @property
    def shown(self) -> Sequence[tuple[FinishedVideo, Film]]:
        """Give the videos of which frames were looked at."""
        return [
            (video, film) for video, film in zip(self.videos, self.films, strict=True) if film.examined_s is not None
        ]


def _classes(noted: Sequence[str] | None, sha256: str) -> tuple[str, ...] | None:
    """Return the classes of a run's model: those that its manifest notes, else those of the zoo's model."""
    if noted is not None:
        return tuple(noted)
    of_zoo = by_hash(sha256)
    return None if of_zoo is None else of_zoo.classes


def _video(entry: Mapping[str, Any], film: Film, folder: Path, sources: Path | None, visualize: bool) -> FinishedVideo:
    media, identity = entry.get("media") or {}, entry.get("input") or {}
    outputs = entry.get("outputs") or {}
    stem = PurePosixPath(entry["stem"])
    path = str(entry["path"])
    live = "://" in path and not is_object(path)
    annotated = folder / stem.parent / os.path.basename(outputs["video"]) if "video" in outputs and visualize else None
    return FinishedVideo(
        name=name_of(entry),
        stem=stem,
        source=None if live else _moved(Path(path), film.name, sources),
        status=str(entry["status"]),
        error=entry.get("error"),
        frames=int(entry.get("frames", 0)),
        examined=int(entry.get("inferred_frames", entry.get("frames", 0))),
        detections=int(entry.get("detections", 0)),
        objects=int(entry.get("tracks", 0)),
        tracks=film.tracks,
        annotated=annotated,
        size_wh=film.size_wh,
        first_s=film.first_s,
        time_base=Fraction(media["time_base"]) if media.get("time_base") else None,
        step_s=Fraction(media["step_s"]) if media.get("step_s") else None,
        size_bytes=identity.get("size_bytes"),
        sha256=identity.get("sha256"),
        etag=identity.get("etag"),
        annotated_s=float(entry.get("video_offset_s", 0.0)),
    )


def _moved(path: Path, name: str, sources: Path | None) -> Path:
    """Return where a source lies now: by its path below the input folder, else by its name alone."""
    if sources is None:
        return path
    if sources.is_file():
        return sources
    below = sources / PurePosixPath(name)
    if below.is_file():
        return below
    return next(iter(sorted(sources.rglob(_literal(path.name)))), sources / path.name)


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
