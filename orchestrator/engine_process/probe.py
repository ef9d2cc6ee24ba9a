"""Look at the inputs of a job: which videos there are, what each claims to hold, and whether there is a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.analytics.naming import name_of
from engine.analytics.settings import AnswerSettings, check_formats
from engine.config import EngineConfig
from engine.errors import ConfigError, PlanError, VideoError
from engine.files.objects import open_input
from engine.inference.backends.fake import fake_manifest
from engine.inference.model import check_wanted, resolved_model
from engine.media import listing
from engine.media.inputs import Video, find_videos
from engine.media.source import Source
from engine.pipeline.outputs import paths_of, refuse_foreign_outputs
from engine.pipeline.sequence import chains
from engine.stages.decode import never_begun
from engine.storage.shared_output import refuse_foreign
from engine.storage.urls import place_of
from models.errors import ModelError
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import Found, LeftOut, Looked, ModelFound, Opening, Probe
from orchestrator.job.records import ModelFacts, VideoFacts

_NO_SCENES = AnswerSettings()


def probe(task: Probe, events: Sender) -> None:
    """Find the videos of the inputs and tell size, duration and frames of each, as its container claims them. Tell
    first which file is opened: should that crash or hang this process, the worker knows which to pass over."""
    output = Path(task.output)
    roots = list(map(Path, task.roots))
    left_out: list[listing.LeftOut] = []
    stored = place_of(task.stored or "")
    found = find_videos(task.inputs, output, roots, left_out=left_out, stored=stored)
    wanted = None if task.only is None else set(task.only)
    videos = [video for video in found if wanted is None or video.path in wanted]
    config = EngineConfig(**task.config)
    refuse_foreign_outputs(config, videos, output, report=True)
    if stored is not None and not task.overwrite:
        names = (
            path.relative_to(output).as_posix() for each in videos for path in paths_of(config, each, output).values()
        )
        refuse_foreign(stored, names)
    answering = AnswerSettings.of(config)  # a scene that is none is known before anything is done
    events.send(LeftOut((*listing.told(left_out), *_without_videos(answering, videos, task.only is not None))))
    before = chains(videos, answering)
    check_formats(config.tables or ())
    options = never_begun(config.max_frame_bytes)
    events.send(Found(len(videos)))
    skipped = set(task.skip)
    for index, video in enumerate(videos):
        if video.path in skipped:
            error = "ended or stopped the program that looked at it"
            events.send(Looked(VideoFacts(index, video.path, str(video.stem), 0, before.get(index), error=error)))
            continue
        events.send(Opening(video.path))
        events.send(Looked(_claims(video, index, before.get(index), roots, options)))
    events.send(ModelFound(model_facts(config, answering)))


def _without_videos(answering: AnswerSettings, videos: Sequence[Video], some: bool) -> Iterator[str]:
    """Tell of scenes that are for none of the videos. Raises ConfigError if all are, unless these are `some` of the
    folder's videos alone: the next ones may have theirs."""
    try:
        unused = answering.check_videos([name_of({"path": each.path, "stem": each.stem}) for each in videos])
    except ConfigError as error:
        if not some:
            raise
        unused = str(error)
    if unused is not None:
        yield unused


def _claims(
    video: Video, index: int, follows: int | None, roots: Sequence[Path], options: dict[str, str]
) -> VideoFacts:
    """Return what a video says of itself. Nothing is asked of a file before it is open and known to be below a
    root."""
    size = 0
    stem = str(video.stem)
    try:
        with open_input(video.path, roots) as file, contextlib.closing(Source(video.path, options=options)) as source:
            size, source.file = file.size_bytes, file
            info = source.open()
    except VideoError as error:
        return VideoFacts(index, video.path, stem, size, follows, error=str(error))
    duration_s = info.duration_s if info.duration_s and 0 < info.duration_s < 1e9 else None
    frames = info.frames
    if frames is None and duration_s:
        frames = round(duration_s * float(info.frame_rate))
    return VideoFacts(
        index,
        video.path,
        stem,
        size,
        follows,
        frames=frames if frames is not None and frames >= 0 else None,
        duration_s=round(duration_s, 3) if duration_s else None,
        width=info.size_wh[0],
        height=info.size_wh[1],
    )


def model_facts(config: EngineConfig, answering: AnswerSettings = _NO_SCENES) -> ModelFacts:
    """Return name, hash and classes of the model, or the reason if there is none or it does not know the classes
    that are wanted. It is not loaded."""
    try:
        if config.backend == "fake":
            manifest, sha256 = fake_manifest(), ""
        else:
            resolved = resolved_model(config)
            manifest, sha256 = resolved.manifest, resolved.sha256
        check_wanted(manifest, config, answering.classes_named())
        answering.check_clips(config, manifest.classes)
        return ModelFacts(manifest.name, sha256, classes=tuple(manifest.classes))
    except (ModelError, ConfigError, PlanError) as error:
        return ModelFacts(config.model, error=str(error))
