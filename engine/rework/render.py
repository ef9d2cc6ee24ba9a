"""`yolo-engine render`: the annotated video again, from the source and the tracks that lie beside the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from engine.analytics import Samples, read_tracks
from engine.analytics.naming import name_of
from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.errors import ConfigError, InputError, VideoError
from engine.files.opened import OpenedFile
from engine.inference.model import available_cores
from engine.media.inputs import Video
from engine.media.source import Source
from engine.pipeline.outputs import scene_overlay
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.records import Frame, Tracks
from engine.results import file_identity
from engine.sinks.base import sole_writer
from engine.sinks.blur import BlurSettings
from engine.sinks.memory import Counters
from engine.sinks.overlay import OverlayStyle
from engine.sinks.video import AnnotatedVideo
from engine.stages.decode import never_begun
from engine.summary import InputJson


@dataclass(frozen=True)
class Rendered:
    """One annotated video. `problems` says why it is not whole."""

    path: Path
    frames: int
    problems: tuple[str, ...]


def render(folder: Path, sources: Path | None = None, changes: Mapping[str, Any] | None = None) -> Iterator[Rendered]:
    """Draw every video of a run again, from its source and its tracks.jsonl as it is now, and let each appear as
    NAME.mp4, whole or not at all.

    `sources` is where the videos lie now, if not where they lay; `changes` are keys of the configuration with which
    they are drawn otherwise than in the run. Raises InputError where the manifest, tracks or source is missing or not
    the run's own, ConfigError, VideoError where a source can't be read, and OutputError and SinkError.
    """
    config, jobs = _read(folder, sources)
    config = config.updated(**(changes or {}))
    if not config.drawn(has_scene=config.scene is not None):
        config = config.updated(scene=None)  # it need not be there any more
    settings = AnswerSettings.of(config)
    if not jobs:
        raise InputError(f"{folder} holds no tracks: a run writes them with --formats tracks.")
    with sole_writer(folder):
        for job in jobs:
            yield _one(job, config, settings)


@dataclass(frozen=True)
class _Job:
    """A video to draw: where it lies now, its name in tables, what it was by size and hash, and its tracks."""

    source: Path
    name: str
    identity: InputJson | None
    tracks: Path


def _read(folder: Path, sources: Path | None) -> tuple[EngineConfig, list[_Job]]:
    """Return the configuration of a run and its videos that have tracks. Raises InputError where the manifest is none,
    or tracks or a source are missing."""
    path = folder / "manifest.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no manifest.json: it is not the output folder of a run.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read: {error}.") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not the manifest of a run.")
    try:
        config = EngineConfig(**values["config"])
        found = [(entry, _tracks_at(folder, entry.get("outputs", {}).get("tracks"))) for entry in values["videos"]]
        wanted = [(entry, tracks) for entry, tracks in found if tracks is not None]
        jobs = [
            _Job(_source(Path(entry["path"]), sources), _name(entry), entry.get("input"), tracks)
            for entry, tracks in wanted
        ]
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise InputError(f"{path} is not the manifest of a run: {error}.") from error
    return config, jobs


def _tracks_at(folder: Path, path: str | None) -> Path | None:
    """Return the tracks of a video, which may have moved with their folder; None where the run wrote none."""
    if path is None:
        return None
    parts = Path(path).parts
    for place in (folder.joinpath(*parts[-count:]) for count in range(1, len(parts) + 1)):
        if place.is_file():
            return place
    raise InputError(f"{folder} holds no {Path(path).name} any more: it can't be drawn.")


def _name(entry: Mapping[str, Any]) -> str:
    """Return a video's name in tables, by which its scene and its clock are found; its path where an older version,
    which had neither, wrote the entry."""
    return name_of(entry) if "stem" in entry else str(entry["path"])


def _source(path: Path, sources: Path | None) -> Path:
    if sources is None:
        return path
    found = sources if sources.is_file() else next(iter(sorted(sources.rglob(path.name))), None)
    if found is None:
        raise InputError(f"{sources} holds no {path.name}.")
    return found


def _one(job: _Job, config: EngineConfig, settings: AnswerSettings) -> Rendered:
    source, tracks = job.source, job.tracks
    shown = str(source)
    try:
        with OpenedFile(shown) as file:
            found = file_identity(file)
    except VideoError as error:
        raise InputError(f"{shown} {error}: name the folder where it lies now with --source.") from error
    if job.identity is not None and found != job.identity:
        raise InputError(f"{shown} is not the file that the tracks are of: its content has changed since the run.")
    target = tracks.with_name(tracks.name.removesuffix(".tracks.jsonl") + ".mp4")
    if target.exists() and target.samefile(source):
        raise InputError(f"{shown} is the source and would be overwritten: move it out of {target.parent}.")
    names: dict[int, str] = {}
    rows = _by_frame(tracks, names)
    options = never_begun(config.max_frame_bytes)
    reading = Source(shown, audio=True, options=options)
    try:
        video = Video(shown, PurePosixPath(target.stem))
        scene = settings.scene(job.name)
        run = StreamRun(0, video, {}, Counters(0), 8, scene=scene, clock=partial(settings.clock, job.name))
        reader = StreamReader(reading, run, _settings(config))
        info = reader.open()
        reader.go_to_start()
        frames, due = 0, next(rows, None)
        sink = AnnotatedVideo(
            target,
            _Names(names),
            crf=config.video_crf,
            preset=config.video_preset,
            threads=available_cores(),
            style=OverlayStyle.of(config),
            blur=BlurSettings.of(config),  # a video that hid something goes on hiding it
            scene=scene_overlay(config, scene, longest_gap=_longest_gap(tracks, info.step_s)),
        )
        try:
            sink.open(info)
            with Metrics().clock("decode") as clock:
                for frame in reader.frames(clock):
                    while due is not None and due[0] < frame.index:
                        due = next(rows, None)
                    found_now: list[Samples] = []
                    while due is not None and due[0] == frame.index:
                        found_now.append(due[1])
                        due = next(rows, None)
                    sink.write(_tracks(frame, found_now))
                    frames += 1
            end = reader.end()
            if not frames:
                raise VideoError(f"{shown} has no frame that can be decoded.")
            sink.commit(end, target)
        except BaseException:
            sink.abort()
            raise
        return Rendered(target, frames, end.problems)
    finally:
        reading.close()


class _Names(list[str]):
    """Names of classes by their number, as far as the tracks have told them by now."""

    def __init__(self, known: dict[int, str]) -> None:
        super().__init__()
        self._known = known

    def __getitem__(self, class_id: Any) -> Any:
        return self._known.get(int(class_id), str(class_id))


def _settings(config: EngineConfig) -> ReaderSettings:
    return ReaderSettings(
        decode_threads=available_cores(),
        start_s=config.start_s,
        end_s=config.part_ends_s,
        max_pixels=config.max_pixels,
        max_frame_bytes=config.max_frame_bytes,
        max_duration_s=config.max_duration_s,
    )


def _longest_gap(path: Path, step_s: Fraction | None) -> float:
    """Return for how many steps a track was not seen and went on, at most: they may have been joined since the run."""
    seen: dict[int, tuple[int, float]] = {}
    frames, seconds = 0, 0.0
    for samples in read_tracks(path):
        rows = zip(samples.track_ids.tolist(), samples.frames.tolist(), samples.times_s.tolist(), strict=True)
        for track_id, frame, time_s in rows:
            before, before_s = seen.get(track_id, (frame, time_s))
            frames, seconds = max(frames, frame - before), max(seconds, time_s - before_s)
            seen[track_id] = frame, time_s
    return frames if step_s is None else seconds / float(step_s)


def _by_frame(path: Path, names: dict[int, str]) -> Iterator[tuple[int, Samples]]:
    for samples in read_tracks(path):
        names.update(samples.class_names)
        for frame, places in groupby(range(len(samples)), key=lambda place: int(samples.frames[place])):
            yield frame, samples.take(list(places))


def _tracks(frame: Frame, parts: list[Samples]) -> Tracks:
    """The tracks of a frame, whose rows may have been read in several parts."""
    return Tracks(
        frame,
        np.concatenate([np.empty((0, 4)), *(part.boxes_xyxy for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.track_ids for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.class_ids.astype(np.int32) for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.scores.astype(np.float32) for part in parts)]),
    )
