"""Verifies on a user's own video that batch size, workers and other videos never change a result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import InputError, VideoError
from engine.inference.model import LoadedModel
from engine.media.inputs import Video, find_videos
from engine.media.source import scheme
from engine.records import Tracks
from engine.sinks.base import Sink
from engine.sinks.memory import CallbackSink
from engine.storage.urls import is_object
from engine.summary import VideoStatus
from engine.text.counted import counted
from engine.text.masks import without_password

_NEIGHBOURS = 3


@dataclass(frozen=True)
class Setting:
    """One way to run the same video."""

    batch: int
    workers: int
    mixed: bool

    def __str__(self) -> str:
        company = "mixed" if self.mixed else "alone"
        return f"batch {self.batch}, {counted(self.workers, 'worker')}, {company}"


class Digest:
    """A hash over every number of every frame's tracks: equal hashes mean bitwise equal results."""

    def __init__(self) -> None:
        self.frames = 0
        self.tracks = 0
        self._hash = hashlib.sha256()

    def add(self, tracks: Tracks) -> None:
        self.frames += 1
        self.tracks += len(tracks)
        self._hash.update(f"{tracks.frame.index} {tracks.frame.pts} {len(tracks)};".encode())
        for column in (tracks.boxes_xyxy, tracks.track_ids, tracks.class_ids, tracks.scores):
            self._hash.update(column.tobytes())

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()


def verify_invariance(
    config: EngineConfig,
    video: str,
    others: Sequence[str],
    say: Callable[[str], None],
    *,
    begun: Callable[[], None] = lambda: None,
) -> bool:
    """Run `video` in every setting, print a line for each, and return whether all results are the same.

    `others` are the videos it is mixed with, at most three; by default those in its folder, failing that the video
    itself. `begun` is called once they are found and the model is loaded. Raises InputError or VideoError if the video
    can't be processed at all.
    """
    if scheme(video) is not None:
        raise InputError(f"verify runs a video many times and takes a file. Got {without_password(video)}.")
    found = find_videos([video], config.output_folder)
    if len(found) != 1:
        raise InputError(f"verify takes one video. {video} contains {len(found)}.")
    neighbours, left_out = _neighbours(found[0], others, config)
    config = config.updated(build_plan=False)  # all runs infer with the same
    with Engine(config) as probe:
        begun()
        model = probe.model
        sizes = (1, 4, 8) if model.backend.batch_safe else (1,)
        if not model.backend.batch_safe:
            say(f"{model.manifest.name} is run at batch 1 only: it would mix the images of a batch.")
        more = f"; {left_out:,} more of --with are left out, as it mixes with {_NEIGHBOURS} at most" if left_out else ""
        say(f"mixed with {', '.join(video.shown for video in neighbours)}{more}")
        settings = [Setting(batch, workers, mixed) for mixed in (False, True) for workers in (1, 2) for batch in sizes]
        first: Digest | None = None
        same = True
        for setting in settings:
            digest = _run(config, model, setting, found[0], neighbours if setting.mixed else [])
            first = first or digest
            equal = digest.hex == first.hex
            same &= equal
            say(
                f"{'same' if equal else 'DIFFERENT':<9}  {digest.hex[:16]}  {digest.frames} frames  "
                f"{digest.tracks} boxes  {setting}"
            )
    say("Results are identical." if same else "Results differ: please report this with the lines above.")
    return same


def _neighbours(video: Video, others: Sequence[str], config: EngineConfig) -> tuple[list[Video], int]:
    """Return the videos to mix with, and how many more were named."""
    if others:
        named = find_videos(others, config.output_folder)
        return named[:_NEIGHBOURS], len(named[_NEIGHBOURS:])
    if is_object(video.path):  # nothing is listed for it
        return [video._replace()], 0
    folder = str(Path(video.path).parent)
    same = Path(video.path).resolve()
    beside = [each for each in find_videos([folder], config.output_folder) if Path(each.path).resolve() != same]
    return beside[:_NEIGHBOURS] or [video._replace()], 0  # the same video again, as a distinct object


def _run(config: EngineConfig, model: LoadedModel, setting: Setting, video: Video, others: list[Video]) -> Digest:
    digest = Digest()
    setting_config = config.updated(
        batch=setting.batch, workers=setting.workers, streams=1 + len(others), visualize=False
    )
    engine = Engine(setting_config, model=model)
    videos = [video, *others]

    def sinks(each: Video) -> dict[str, tuple[Sink, Path]]:
        return {"digest": (CallbackSink(digest.add if each is video else _ignore), Path())}

    def stop_when_done(progress: Sequence[object]) -> None:
        paths = [getattr(stream, "path", None) for stream in progress]
        if digest.frames and video.shown not in paths:
            engine.stop()

    outcomes = engine.process(videos, sinks, stop_when_done)
    if outcomes[0].status is VideoStatus.FAILED:
        raise VideoError(f"{video.shown} {outcomes[0].error}")
    return digest


def _ignore(tracks: Tracks) -> None:
    """Discard the tracks of the neighbours, which only keep the engine busy."""
