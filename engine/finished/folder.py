"""The output folder of a run or a job, read from its manifest."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from engine.analytics.answering import CameraAnswers, films_of, with_segments
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

    `name` is its path below the input folder, as in all tables, `stem` that of its outputs. Each segment of a live
    source is a video. `source` is the path of the video, None for a live one; `tracks` is the file of its rows, if any.
    `size_wh` is the size of the upright frame, None if no frame was examined; `examined` counts the frames that the
    model saw. `time_base` is the container's unit of time, `step_s` the seconds between frames at the nominal rate.
    `size_bytes` and `sha256` (or `etag` for an object in storage) identify the source as it was read, None if not
    recorded. `annotated` is the annotated video, if any, which begins at `annotated_s` of the source's time.
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
    """The videos of a run with their clocks and cameras, and the settings of the run.

    `films` are the same videos in the same order, as input for `engine.analytics`. `classes` are those that the model
    knows, None if not recorded. `counted` are the answers of the films' cameras if they have just been computed.
    `remade` says, by video stem, how tracks were made again since the run.
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
        """Read the manifest of an output folder. `sources` is the new place of the videos if they were moved; `scenes`,
        if given, replace the run's own. With `counts` False no scene is read. Raises InputError and ConfigError."""
        manifest = read_manifest(folder)
        config = EngineConfig(**manifest["config"])
        if scenes:
            config = config.updated(scene=tuple(scenes))
        settings = None if counts else AnswerSettings.of(config.updated(scene=None))
        remade = read_remade(folder, manifest)
        run = cls.of(
            manifest["videos"], folder, config, manifest["model"], sources=sources, settings=settings, remade=remade
        )
        run = replace(run, classes=_classes(manifest.get("classes"), run.model_sha256))
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
        remade: Mapping[str, Remade] | None = None,
    ) -> FinishedRun:
        """Build from the entries of a manifest, and their answers if computed. Raises InputError, or KeyError,
        TypeError or ValueError for invalid entries."""
        settings = settings or AnswerSettings.of(config)
        # Without examined frames there are no rows: a failed file, a live source that never connected.
        kept = with_segments(entry for entry in entries if "stem" in entry)
        films = films_of(kept, folder, settings, remade=remade or {})
        videos = [
            _video(entry, film, folder, sources, bool(config.visualize))
            for entry, film in zip(kept, films, strict=True)
        ]
        name, sha256 = str(model.get("name", config.model)), str(model.get("sha256", ""))
        return cls(
            folder,
            tuple(videos),
            tuple(films),
            config,
            settings,
            name,
            sha256,
            counted=tuple(counted),
            remade=remade or {},
        )

    def check_asked(self, keys: ClipKeys) -> None:
        """Raise ConfigError if no possible event of the run matches `keys`."""
        Vocabulary.of(self.settings.scenes, self._classes_beside(keys.classes or ())).check(keys)

    @property
    def looked_for(self) -> Collection[str] | None:
        """The classes that the run detected; None if not recorded."""
        return None if self.classes is None else looked_for(self.classes, self.config.classes)

    def _classes_beside(self, names: Sequence[str]) -> Collection[str] | None:
        """Return the detected classes; if `names` has others, with those in the rows, which people may have
        corrected."""
        kept = self.looked_for
        if kept is None or set(names) <= set(kept):
            return kept
        return {*kept, *self.classes_in_rows()}

    def classes_in_rows(self) -> set[str]:
        """Return the classes that occur in the tracks. Raises InputError."""
        return classes_in(film.tracks for film in self.films if film.tracks is not None)

    def without_tracks(self, names: Collection[str] = ()) -> str:
        """Return the sentence that no frame of these videos (all, if none is named) was examined, and the first
        reason."""
        of = [video for video in self.videos if not names or video.name in names]
        why = next((f" {video.name}: {video.error}." for video in of if video.error), "")
        return f"{self.folder} contains no tracks: no frame was examined.{why}"

    @property
    def shown(self) -> Sequence[tuple[FinishedVideo, Film]]:
        """Return the videos of which frames were examined."""
        return [
            (video, film) for video, film in zip(self.videos, self.films, strict=True) if film.examined_s is not None
        ]


def _classes(noted: Sequence[str] | None, sha256: str) -> tuple[str, ...] | None:
    """Return the classes of a run's model: those in its manifest, otherwise those of the zoo's model with this hash."""
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
    """Return the present path of a source: by its path below the input folder, otherwise by its name alone."""
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
