"""The page for drawing scenes: a frame of each video, the scene so far, and the tracks of an earlier run."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.analytics import Scene
from engine.analytics.answering import answer, films_of
from engine.analytics.export import write_whole
from engine.analytics.naming import cameras_of, name_of
from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.errors import InputError, OutputError
from engine.media.inputs import Video, find_videos
from engine.output_folder.own_files import refuse_foreign_page
from engine.report.island import safe_json, shown
from engine.report.stills import Still, median_still
from engine.report.template import data_uri, page_of
from engine.report.words import Language, Words
from engine.summary import ManifestJson

log = logging.getLogger(__name__)

_MAX_VIEWS = 60
_MAX_PATHS = 2000
_WIDEST = 1280


@dataclass(frozen=True)
class View:
    """A video, or the first of a camera, to draw on. `glob` is the `camera` of its scene file, `file` the file's name;
    `paths` are in thousandths of the frame."""

    name: str
    glob: str
    file: str
    still: Still
    scene: Scene | None
    paths: tuple[tuple[int, ...], ...]


def write_scene_page(
    inputs: Sequence[Path],
    page: Path,
    *,
    scenes: Sequence[Scene] = (),
    camera: str | None = None,
    earlier: tuple[Path, ManifestJson] | None = None,
    language: Language = "en",
    tick: Callable[[str], None] = lambda name: None,
    overwrite: bool = False,
) -> int:
    """Write a page to draw scenes on, and return how many videos or cameras it shows.

    `scenes` that match one of the videos are edited; a single scene with the videos of a single camera always is.
    `camera` is as in EngineConfig. `earlier` is the output folder of a run and its manifest, whose tracks are shown in
    the background. `tick` is called with each video. Raises InputError if there is no video, or none can be read,
    ConfigError if no scene fits any of them, and OutputError, also if the file at `page` is not a page of this program,
    unless `overwrite` permits replacing it; inputs are never replaced.
    """
    if os.path.realpath(page) in map(os.path.realpath, inputs):
        raise OutputError(f"{page} is an input and would be overwritten. Name another file with --output.")
    refuse_foreign_page(page, overwrite=overwrite)
    views = list(_views(inputs, page.parent, scenes, camera, earlier, tick))
    if not views:
        raise InputError(f"No frame of {_shown(inputs)} can be read: there is nothing to draw on.")
    words = Words(language)
    html = page_of(
        "scene.html",
        "scene.js",
        words,
        {"lang": language, "words": words.of_scripts("s_")},
        heading=", ".join(path.name or str(path) for path in inputs),
        views=safe_json([_table(view) for view in views]),
    )
    write_whole(page, html.encode())
    return len(views)


def _views(
    inputs: Sequence[Path],
    output: Path,
    scenes: Sequence[Scene],
    camera: str | None,
    earlier: tuple[Path, ManifestJson] | None,
    tick: Callable[[str], None],
) -> Iterator[View]:
    cameras: defaultdict[str, list[Video]] = defaultdict(list)
    found = find_videos(map(os.fspath, inputs), output)
    for name, video in zip(cameras_of([(_name(video), video.path) for video in found], camera), found, strict=True):
        cameras[name].append(video)
    alone = len(cameras) == len(scenes) == 1  # a single video has no folder to match
    if not alone and (unused := AnswerSettings(tuple(scenes)).check_videos(list(map(_name, found)))) is not None:
        log.warning("%s They are not on the page.", unused)
    if len(cameras) > _MAX_VIEWS:
        log.warning("The page has the first %d of %d: name fewer videos for the others.", _MAX_VIEWS, len(cameras))
    for name, videos in list(cameras.items())[:_MAX_VIEWS]:
        first = _name(videos[0])
        tick(first)
        still = median_still([Path(video.path) for video in videos[:3]], EngineConfig(), max_width=_WIDEST)
        if still is None:
            log.warning("%s: no frame can be read, it is not on the page", first)
            continue
        glob = first if len(videos) == 1 or camera is None else _glob([_name(video) for video in videos])
        scene = next((each for each in scenes if each.matches(first)), None)
        if scene is None and alone:
            scene = scenes[0]
        file = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")[:60] or "scene"
        yield View(name, glob, file, still, scene, _paths(earlier, {_name(video) for video in videos}))


def _name(video: Video) -> str:
    """Return a video's name in all tables."""
    return name_of({"path": video.path, "stem": str(video.stem)})


def _glob(names: Sequence[str]) -> str:
    """Return a glob for the videos of one camera: all in their folder."""
    folder = PurePosixPath(os.path.commonpath([PurePosixPath(name).parent.as_posix() for name in names]))
    return "**" if folder == PurePosixPath(".") else f"{folder}/**"


def _paths(earlier: tuple[Path, ManifestJson] | None, names: set[str]) -> tuple[tuple[int, ...], ...]:
    """Return the paths of an earlier run's tracks in these videos; if there are many, the longest."""
    if earlier is None:
        return ()
    folder, manifest = earlier
    settings = AnswerSettings()
    films = [film for film in films_of(manifest["videos"], folder, settings) if film.name in names]
    found: list[tuple[int, ...]] = []
    for film in films:
        if film.size_wh is None:
            continue
        (counted,) = answer([film], settings, paths=True)
        found += [path.points for path in (counted.paths or {}).values() if len(path.points) > 2]
    return tuple(sorted(found, key=_reach, reverse=True)[:_MAX_PATHS])


def _reach(points: tuple[int, ...]) -> int:
    """Return the largest distance of a path from its beginning."""
    return abs(points[-2] - points[0]) + abs(points[-1] - points[1])


def _table(view: View) -> dict[str, object]:
    return {
        "name": shown(view.name),
        "glob": view.glob if view.glob.isprintable() else "**",
        "file": view.file,
        "size": view.still.size_wh,
        "image": data_uri(view.still.jpeg),
        "scene": view.scene.table() if view.scene is not None else None,
        "paths": view.paths,
    }


def _shown(inputs: Sequence[Path]) -> str:
    return ", ".join(map(str, inputs))
