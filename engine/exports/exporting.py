"""Writes a run's tracks for another tool, as a folder that appears whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from engine.choices.formats import EXPORT_FOLDER, EXPORT_NOTE, EXPORTS, exports_that
from engine.errors import InputError, OutputError, VideoError, describe_os_error
from engine.exports.boxes import VideoBoxes, boxes_of, classes_of
from engine.exports.formats.base import ExportSettings, image_name, with_stems
from engine.exports.images import cut_images
from engine.exports.key_frames import key_frames, runs_of
from engine.files.folders import Folder
from engine.files.objects import open_input
from engine.files.whole_folder import whole_folder
from engine.finished import FinishedRun
from engine.output_folder.own_files import refuse_foreign_export
from engine.results import refuse_changed
from engine.summary import ExportJson

__all__ = ["Export", "ExportSettings", "export_json", "export_run"]


@dataclass(frozen=True)
class Export:
    """The outcome: the folder, and the numbers of videos, tracks, boxes and images; `keys` is the number of key boxes,
    None if all boxes are written."""

    form: str
    folder: Path
    videos: int
    tracks: int
    boxes: int
    keys: int | None
    images: int


def export_run(
    run: FinishedRun,
    form: str,
    settings: ExportSettings | None = None,
    folder: Path | None = None,
    *,
    only: Sequence[str] = (),
    roots: Sequence[Path] = (),
    tick: Callable[[], None] = lambda: None,
) -> Export:
    """Write the tracks of a run in the format `form` into `folder` (None: `export/<form>` in the run's own); `only`
    selects videos by name. An earlier export of ours there is replaced. Raises InputError if rows or sources can't be
    read, and OutputError."""
    settings = settings or ExportSettings()
    kind, writer = EXPORTS[form], import_module(f"engine.exports.formats.{form}")
    if settings.images and not kind.images:
        raise InputError(f"{form} takes videos: images are for {exports_that(lambda kind: kind.images)}.")
    target = folder or run.folder / EXPORT_FOLDER / form
    found = [boxes_of(video, tick) for video in run.videos if not only or video.name in only]
    if unknown := sorted(set(only) - {video.name for video in run.videos}):
        raise InputError(f"{run.folder} has no video {unknown[0]}.")
    videos = with_stems([each for each in found if each is not None])
    if not videos:
        raise InputError(run.without_tracks(only))
    try:
        with _parent(run, folder) as parent:
            refuse_foreign_export(parent, target)
            with whole_folder(parent, target.name) as growing:
                place = growing.path("")
                writer.write(videos, classes_of(videos), place, settings)
                images = _images(run, form, videos, place, settings, roots, tick) if settings.images else 0
                made = Export(
                    form,
                    target,
                    len(videos),
                    sum(len(each.tracks) for each in videos),
                    _boxes(videos, settings.every if kind.data_set else 1),
                    _keys(videos, settings.error_px) if kind.key_frames else None,
                    images,
                )
                counts = {"videos": made.videos, "tracks": made.tracks, "boxes": made.boxes}
                note = {"format": form, **asdict(settings), **counts}
                growing.write(EXPORT_NOTE, json.dumps(note, indent=1).encode() + b"\n")
    except OSError as error:
        raise OutputError(f"{target} can't be written: {describe_os_error(error)}.") from error
    return made


def export_json(export: Export) -> ExportJson:
    """Return the part of a summary about an export, as JSON values."""
    return {
        "format": export.form,
        "folder": str(export.folder),
        "videos": export.videos,
        "tracks": export.tracks,
        "boxes": export.boxes,
        "key_frames": export.keys,
        "images": export.images,
    }


def _boxes(videos: Sequence[VideoBoxes], every: int) -> int:
    return sum(int((track.frames % every == 0).sum()) for video in videos for track in video.tracks)


def _keys(videos: Sequence[VideoBoxes], error_px: float) -> int:
    return sum(
        len(key_frames(track.frames[run], track.boxes_xyxy[run], error_px))
        for video in videos
        for track in video.tracks
        for run in runs_of(track.frames)
    )


def _parent(run: FinishedRun, folder: Path | None) -> Folder:
    """Open the parent folder of an export, creating it if missing. Raises OSError, and OutputError for a link."""
    if folder is None:
        with Folder.at(run.folder) as own:
            return own.sub(EXPORT_FOLDER, make=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Folder.at(folder.parent)


def _images(
    run: FinishedRun,
    form: str,
    videos: Sequence[VideoBoxes],
    folder: Path,
    settings: ExportSettings,
    roots: Sequence[Path],
    tick: Callable[[], None],
) -> int:
    if all(video.video.source is None for video in videos):
        raise InputError(f"{run.folder} is of live sources, which leave no file to extract images from.")
    count = 0
    for video in videos:
        if (source := video.video.source) is not None:
            try:
                count += _images_of(video, source, run, form, folder, settings, roots, tick)
            except VideoError as error:
                raise VideoError(f"{source} {error}") from error
    return count


def _images_of(
    video: VideoBoxes,
    source: Path,
    run: FinishedRun,
    form: str,
    folder: Path,
    settings: ExportSettings,
    roots: Sequence[Path],
    tick: Callable[[], None],
) -> int:
    stem, kind = video.stem, EXPORTS[form]

    def name_of(frame: int) -> Path | None:
        if not kind.data_set:  # a folder per video, numbered like its rows
            return folder / kind.images.format(stem=stem) / f"{frame + 1:06d}.jpg"
        if frame % settings.every:
            return None
        return folder / kind.images / f"{image_name(stem, frame)}.jpg"

    with open_input(str(source), roots) as file:
        known = video.video
        refuse_changed(file, known.size_bytes, known.sha256, known.etag, tick)
        return cut_images(file, run.config, name_of, tick)
