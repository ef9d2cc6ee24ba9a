"""What an unfinished video is worth to its user: valid files, up to its last checkpoint, under `.partial` names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import Misfit, SinkError, VideoError
from engine.inputs import Video
from engine.journal import Damaged, Journal
from engine.opened import OpenedFile
from engine.sinks.base import cut, discard, part_path, publish, spare_path
from engine.sinks.mux import MUX_ERRORS, audio_problem, mux, sink_error
from engine.stages.source import Source

_SUFFIXES = (".tracks.jsonl", ".detections.jsonl", ".mot.txt", ".mp4")


def partial_path(path: Path) -> Path:
    """a.tracks.jsonl -> a.partial.tracks.jsonl, a.mp4 -> a.partial.mp4. A sink without a file has no name to change."""
    if not path.name:
        return path
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix):
            return path.with_name(f"{path.name.removesuffix(suffix)}.partial{suffix}")
    return path.with_name(f"{path.name}.partial")


def partials_of(video: Video, folder: Path) -> list[Path]:
    """Every `.partial` name that a run may have left of a video, whatever this run writes. Not the picture's where the
    video itself lies there: a file of that name may be a video of its user's."""
    base = folder / video.stem
    beside = os.path.realpath(Path(video.path).parent) == os.path.realpath(base.parent)
    suffixes = [suffix for suffix in _SUFFIXES if not (beside and suffix == ".mp4")]
    return [partial_path(base.with_name(base.name + suffix)) for suffix in suffixes]


def publish_partial(
    video: Video, folder: Path, file: OpenedFile | None = None, roots: Sequence[Path] = ()
) -> dict[str, Path]:
    """Makes the `.partial` outputs of an unfinished video from its last checkpoint, and returns them by kind.

    Needs no model, and no run before it but the killed one; nobody else may be working on the video. The checkpoint and
    the parts stay. {} where there is no checkpoint. Raises SinkError when the files can't be written, or the parts are
    not what the checkpoint says. `file` is the video where it is open already; `roots` are those of find_videos.
    """
    if file is None:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(VideoError):  # the pictures go without their sound
                file = stack.enter_context(OpenedFile(video.path, roots))
            return _publish(video, folder, file)
    return _publish(video, folder, file)


def _publish(video: Video, folder: Path, file: OpenedFile | None) -> dict[str, Path]:
    journal = Journal(folder, video.stem)
    try:
        journal.read()
    except Damaged:
        return {}
    states: dict[str, dict[str, Any]] = (journal.values.get("checkpoint") or {}).get("outputs", {})
    made: dict[str, Path] = {}
    appeared: list[Path] = []
    try:
        for kind, state in states.items():
            if "lost" in state:
                continue
            path = folder / journal.values["outputs"][kind]
            made[kind] = spare_path(path)
            _make(kind, file, path, made[kind], state["offset"])
        for kind, whole in made.items():
            path = partial_path(folder / journal.values["outputs"][kind])
            publish(whole, path)
            appeared.append(path)
            made[kind] = path
    except BaseException:
        for path in (*made.values(), *appeared):
            discard(path)
        raise
    return made


def _make(kind: str, file: OpenedFile | None, path: Path, target: Path, size: int) -> None:
    part = part_path(path)
    try:
        if kind == "video":
            _mux(file, part, target, size)
        else:
            cut(part, target, size)
    except Misfit as error:
        raise SinkError(str(error)) from error
    except MUX_ERRORS as error:
        raise sink_error(partial_path(path).name, error) from error


def _mux(file: OpenedFile | None, part: Path, target: Path, size: int) -> None:
    """The sound's format stands in the input alone; where that can't be read any more, the pictures go without."""
    if file is None:
        mux(part, target, None, size)
        return
    source = Source(file.path, audio=True)
    source.file = file
    with contextlib.closing(source):
        audio = None
        with contextlib.suppress(VideoError):
            audio = source.open().audio
        mux(part, target, audio if audio is not None and audio_problem(audio) is None else None, size)
