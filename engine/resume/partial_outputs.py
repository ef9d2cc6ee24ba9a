"""Makes usable files of an unfinished video, up to its last checkpoint, under `.partial` names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.choices.formats import CROPS_SUFFIX, FORMATS, HEATMAP_SUFFIX, STORE_SUFFIX, VIDEO_SUFFIX
from engine.errors import CheckpointMismatch, SinkError, VideoError
from engine.files.objects import open_input
from engine.files.opened import OpenedFile
from engine.media.inputs import Video
from engine.media.source import Source
from engine.resume.attempts import Attempt
from engine.resume.journal import LiveJson
from engine.sinks.base import cut, spare_path
from engine.sinks.mux import MUX_ERRORS, audio_problem, mux_into, sink_error
from engine.sinks.sound_head import sound_of
from engine.summary import EntryJson

_SUFFIXES = (*(each.suffix for each in FORMATS.values()), STORE_SUFFIX, CROPS_SUFFIX, HEATMAP_SUFFIX, VIDEO_SUFFIX)


def partial_path(path: Path) -> Path:
    """Turn a.tracks.jsonl into a.partial.tracks.jsonl, and a.mp4 into a.partial.mp4. The empty path of a sink without a
    file stays as it is."""
    if not path.name:
        return path
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix):
            return path.with_name(f"{path.name.removesuffix(suffix)}.partial{suffix}")
    return path.with_name(f"{path.name}.partial")


def partials_of(video: Video, folder: Path) -> list[Path]:
    """Return every `.partial` path that a run may have left of a video, whatever formats this run writes; except that
    of the annotated video if the video itself is in this folder, because such a file may be the user's own."""
    base = folder / video.stem
    beside = os.path.realpath(Path(video.path).parent) == os.path.realpath(base.parent)
    suffixes = [suffix for suffix in _SUFFIXES if not (beside and suffix == VIDEO_SUFFIX)]
    return [partial_path(base.with_name(base.name + suffix)) for suffix in suffixes]


def salvage(
    video: Video,
    folder: Path,
    *,
    job: str = "",
    fence: Callable[[], None] = lambda: None,
    roots: Sequence[Path] = (),
) -> tuple[dict[str, Path], EntryJson | None]:
    """Make the `.partial` outputs of an unfinished video from the last checkpoint of attempts for `job` (attempts.py;
    "": any job), after its fence. Return them by kind, {} without a checkpoint; for a finished video, its outputs and
    entry.

    Needs no model. An attempt that still works on the video loses it. The checkpoint is kept. Raises SinkError if the
    files can't be written, or if the parts don't match the checkpoint. `roots` are those of find_videos.
    """
    attempt = Attempt(folder, video.stem, job=job, fence=fence)
    try:
        attempt.begin()
        if attempt.verdict is not None and job in ("", attempt.verdict.get("job")):
            return attempt.publish(), attempt.verdict["entry"]
        # Another job may have had other settings. Files of the previous version don't name their job.
        reached = [each for each in attempt.earlier if job in ("", each.journal.get("job", job))]
        if not reached or not (last := reached[-1]).journal.get("checkpoint"):
            return {}, None
        files = {}
        for kind, state in last.journal["checkpoint"]["outputs"].items():
            if "lost" not in state and "apart" not in state:
                path = last.journal["outputs"][kind]
                files[kind] = (folder / path, state["offset"], last.parts(path))
        with contextlib.ExitStack() as stack:
            file = None
            with contextlib.suppress(VideoError):  # the video is published without sound
                file = stack.enter_context(open_input(video.path, roots))
            return set_aside(file, attempt, files, last.journal.get("live")), None
    finally:
        attempt.retire()
        attempt.close()


def set_aside(
    file: OpenedFile | None,
    attempt: Attempt,
    files: dict[str, tuple[Path, int, Path]],
    live: LiveJson | None = None,
) -> dict[str, Path]:
    """End an attempt with `.partial` outputs, and return them by kind. `file` is the video, whose sound is copied;
    `files` has each output's path, size and part; `live` is from the journal of a live source's segment. Raises
    SinkError and LeaseLost."""
    made: dict[str, tuple[str, Path]] = {}
    for kind, (path, size, part) in files.items():
        if kind == "heatmap":  # it is in the checkpoint, and can be computed from the rows
            continue
        name = spare_path(path).name
        _make(kind, file, part, attempt.folder.path(name), size, live)
        made[kind] = name, partial_path(path)
    attempt.set_aside(made)
    return {kind: path for kind, (_, path) in made.items()}


def _make(kind: str, file: OpenedFile | None, part: Path, target: Path, size: int, live: LiveJson | None) -> None:
    shown = partial_path(target.with_suffix("")).name
    try:
        if kind == "video" and live is not None:  # the source is gone, but the format of its sound was stored
            mux_into(target, part, sound_of(bytes.fromhex(live["audio"])), size)
        elif kind == "video":
            _mux(file, part, target, size)
        elif kind == "crops":
            from engine.sinks.crops import make_archive  # speeds up the start of runs without crops

            make_archive(part, target, size)
        else:
            cut(part, target, size)
    except CheckpointMismatch as error:
        raise SinkError(str(error)) from error
    except MUX_ERRORS as error:
        raise sink_error(shown, error) from error


def _mux(file: OpenedFile | None, part: Path, target: Path, size: int) -> None:
    """Mux a video with its sound, whose format is only in the input; without sound if that can't be read any more."""
    if file is None:
        mux_into(target, part, None, size)
        return
    source = Source(file.path, audio=True)
    source.file = file
    with contextlib.closing(source):
        audio = None
        with contextlib.suppress(VideoError):
            audio = source.open().audio
        mux_into(target, part, audio if audio is not None and audio_problem(audio) is None else None, size)
