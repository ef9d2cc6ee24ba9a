"""`yolo-engine render`: the annotated video again, from the source and the tracks that are beside the manifest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np

from engine.analytics import Samples, read_tracks
from engine.analytics.settings import AnswerSettings
from engine.analytics.timeline import Film
from engine.config import EngineConfig
from engine.errors import ConfigError, InputError, VideoError
from engine.files.objects import open_input
from engine.finished import FinishedRun, FinishedVideo
from engine.inference.model import available_cores
from engine.media.inputs import Video
from engine.media.source import Source
from engine.output_folder.corrections import TRACKS
from engine.output_folder.own_files import refuse_foreign
from engine.pipeline.outputs import scene_overlay
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.records import Frame, Tracks
from engine.results import has_same_content
from engine.sinks.base import sole_writer
from engine.sinks.memory import Counters
from engine.sinks.scene_overlay import CountsJson, SceneOverlay
from engine.sinks.video import AnnotatedVideo
from engine.stages.decode import never_begun

# Times in a manifest are rounded to a microsecond.
_ROUNDED_S = 2e-6


@dataclass(frozen=True)
class Rendered:
    """One annotated video. `problems` says why it is not whole."""

    path: Path
    frames: int
    problems: tuple[str, ...]


def render(
    folder: Path,
    sources: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> Iterator[Rendered]:
    """Draw every video of a run again, from its source and its tracks.jsonl as it is now, and let each appear as
    NAME.mp4, whole or not at all.

    `sources` is where the videos lie now, if not where they lay; `changes` are keys of the configuration with which
    they are drawn otherwise than in the run; `overwrite`: a NAME.mp4 that this program has not written is replaced,
    too. Raises InputError if the manifest, tracks or source is missing or not the run's own, ConfigError, VideoError
    where a source can't be read, and OutputError and SinkError.
    """
    run = FinishedRun.load(folder, sources=sources, counts=False)
    config = run.config.updated(**(changes or {}))
    settings = _settings_of(config)
    jobs = list(_jobs(run))
    if not jobs and any(video.tracks is not None and video.source is None for video in run.videos):
        raise InputError(f"{folder} is of live sources, of which no file is kept that could be drawn again.")
    if not jobs:
        raise InputError(run.without_tracks())
    for _, _, source, tracks in jobs:
        target = _target(tracks)
        if target.exists() and source.exists() and target.samefile(source):
            raise InputError(f"{source} is the source and would be overwritten: move it out of {target.parent}.")
        refuse_foreign(target, overwrite=overwrite)
    with sole_writer(folder):
        left: dict[str, tuple[CountsJson | None, str | None]] = {}  # of cameras, for the next file, and its session
        for video, film, source, tracks in jobs:
            scene = settings.scene(video.name)
            drawn = scene_overlay(config, scene, longest_gap=_longest_gap(tracks, video.step_s))
            if drawn is not None and film.sequence_offset_s is not None:
                drawn.before = partial(_before, left, film)
            yield _one(video, film, source, tracks, config, settings, drawn)
            if drawn is not None:
                left[film.camera] = drawn.left() or left.get(film.camera, (None, None))[0], film.session


def _settings_of(config: EngineConfig) -> AnswerSettings:
    """Return by what scenes and clocks are found. Raises ConfigError if a scene that is to be drawn is gone."""
    if config.drawn(has_scene=True) == config.drawn(has_scene=False):
        return AnswerSettings.of(config.updated(scene=None))  # it need not be there any more
    try:
        return AnswerSettings.of(config)
    except ConfigError as error:
        raise ConfigError(f"{error} Name it with --scene, or leave it out with --draw none.") from error


def _before(left: Mapping[str, tuple[CountsJson | None, str | None]], film: Film) -> tuple[CountsJson | None, bool]:
    counts, session = left.get(film.camera, (None, None))
    return counts, film.sequence_joined and film.session == session


def _jobs(run: FinishedRun) -> Iterator[tuple[FinishedVideo, Film, Path, Path]]:
    """Give the videos of a run that have tracks, those of a camera in their order, each with its source and its rows.
    Raises InputError if one of the two is missing."""
    pairs = list(zip(run.videos, run.films, strict=True))
    for video, film in sorted(pairs, key=lambda pair: pair[1].first_s + (pair[1].sequence_offset_s or 0.0)):
        if video.source is None or video.tracks is None:
            continue
        if not video.tracks.is_file():
            raise InputError(f"{video.tracks} no longer exists: {video.name} can't be drawn.")
        yield video, film, video.source, video.tracks


def _target(tracks: Path) -> Path:
    return tracks.with_name(tracks.name.removesuffix(TRACKS) + ".mp4")


def _one(
    video: FinishedVideo,
    film: Film,
    source: Path,
    tracks: Path,
    config: EngineConfig,
    settings: AnswerSettings,
    drawn: SceneOverlay | None,
) -> Rendered:
    shown = str(source)
    try:
        with open_input(shown) as file:
            same = has_same_content(file, video.sha256, video.etag)
    except VideoError as error:
        raise InputError(f"{shown} {error}: name the folder where it lies now with --source.") from error
    if not same:
        raise InputError(f"{shown} is not the file that the tracks are of: its content has changed since the run.")
    target = _target(tracks)
    names: dict[int, str] = {}
    rows = _by_frame(tracks, names)
    options = never_begun(config.max_frame_bytes)
    reading = Source(shown, audio=True, options=options)
    try:
        run = StreamRun(
            0,
            Video(shown, PurePosixPath(target.stem)),
            {},
            Counters(),
            8,
            scene=settings.scene(video.name),
            clock=partial(settings.clock, video.name),
        )
        reader = StreamReader(reading, run, ReaderSettings.of(config, available_cores()))
        info = reader.open()
        reader.go_to_start()
        frames, due = 0, next(rows, None)
        # A video that hid something continues hiding it.
        sink = AnnotatedVideo.of(config, target, _Names(names), threads=available_cores(), scene=drawn)
        try:
            sink.open(info)
            with Metrics().clock("decode") as clock:
                for frame in _of_this_file(reader.frames(clock.lap), film):
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


def _of_this_file(frames: Iterable[Frame], film: Film) -> Iterator[Frame]:
    """Leave out the frames that the file before of the same camera had: the run has not looked at them either. The
    sound that lies with them and is heard later goes with the first frame that is given."""
    first_s = film.examined_s[0] if film.examined_s is not None and film.sequence_joined else -math.inf
    heard: list[av.Packet] = []
    for frame in frames:
        heard += frame.audio
        if frame.time_s < first_s - _ROUNDED_S:
            heard = [packet for packet in heard if _ends_s(packet) > frame.time_s]
            continue
        yield replace(frame, audio=tuple(heard))
        heard = []


def _ends_s(packet: av.Packet) -> float:
    return float(((packet.pts or 0) + (packet.duration or 0)) * packet.time_base)


class _Names(list[str]):
    """Names of classes by their number, as far as the tracks have told them by now."""

    def __init__(self, known: dict[int, str]) -> None:
        super().__init__()
        self._known = known

    def __getitem__(self, class_id: Any) -> Any:
        return self._known.get(int(class_id), str(class_id))


def _longest_gap(path: Path, step_s: Fraction | None) -> float:
    """Return for how many steps a track was not seen and continued, at most: they may have been joined since the
    run."""
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
    """Return the tracks of a frame, whose rows may have been read in several parts."""
    return Tracks(
        frame,
        np.concatenate([np.empty((0, 4)), *(part.boxes_xyxy for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.track_ids for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.class_ids.astype(np.int32) for part in parts)]),
        np.concatenate([np.empty(0, np.float32), *(part.scores.astype(np.float32) for part in parts)]),
        alive=np.empty(0, np.int64),  # what is counted waits for the longest gap there is
    )
