"""Where the results of each video go: its files, their sinks, and the files they must not overwrite."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.choices.formats import CROPS_SUFFIX, FORMATS, HEATMAP_SUFFIX, STORE_SUFFIX, VIDEO_SUFFIX, table_names
from engine.config import EngineConfig
from engine.errors import OutputError, describe_os_error
from engine.files.folders import Folder
from engine.media.inputs import Video
from engine.media.source import scheme
from engine.output_folder.own_files import STATE_FOLDER, foreign, is_own, refuse_foreign, refuse_foreign_below
from engine.resume.attempts import has_made
from engine.resume.partial_outputs import partial_path, partials_of
from engine.sinks.base import Sink, part_path, spare_path
from engine.sinks.rows import RowFile
from engine.trackers import registry

if TYPE_CHECKING:
    from engine.analytics import Clock, Scene
    from engine.sinks.scene_overlay import SceneOverlay
    from engine.sinks.video import AnnotatedVideo

V = TypeVar("V")

SinkFactory = Callable[[Video], dict[str, tuple[Sink, Path]]]


class Outputs:
    """The files that a configuration requests. `threads` is the number of threads per encoder."""

    def __init__(self, config: EngineConfig, class_names: Sequence[str], *, streams: int, threads: int) -> None:
        self._config = config
        self._names = class_names
        self._streams = streams
        self._threads = threads

    def sinks(
        self,
        video: Video,
        folder: Path,
        scene: Scene | None = None,
        clock: Clock | None = None,
        *,
        whole: bool = True,
        video_of: Callable[..., AnnotatedVideo] | None = None,
    ) -> dict[str, tuple[Sink, Path]]:
        """Return the configured sinks, each with its final path. For a segment of a live source, which is not `whole`,
        sinks that accumulate over the whole source are left out. `scene` is the video's; `clock` is that of its first
        frame, for frames without their own. `video_of` makes the annotated video, if not the usual one."""
        config, names = self._config, self._names
        paths = paths_of(config, video, folder)
        limit = max(
            1,
            config.max_detections_in_memory
            // (self._streams * max(1, len(config.formats) + (config.store_conf is not None))),
        )

        def rows(path: Path) -> RowFile:
            return RowFile(path, limit=limit, intermediate=config.save_intermediate_results)

        sinks: dict[str, tuple[Sink, Path]] = {}
        for kind, form in FORMATS.items():
            if (path := paths.get(kind)) is not None:
                sinks[kind] = (form.make(rows(path), names, config.conf), path)
        if (path := paths.get("store")) is not None:
            from engine.sinks.store import DetectionStore

            sinks["store"] = (DetectionStore(rows(path), names, config), path)
        if whole and (path := paths.get("heatmap")) is not None:
            from engine.sinks.heatmap import HeatmapSink

            sinks["heatmap"] = (HeatmapSink(path, names), path)
        if (path := paths.get("crops")) is not None:  # before the annotated video, which draws on the frame
            from engine.sinks.crops import Crops

            sinks["crops"] = (Crops(path, names), path)
        if (path := paths.get("video")) is not None:
            from engine.sinks.video import AnnotatedVideo

            sinks["video"] = (self.annotated(video_of or AnnotatedVideo.of, path, scene, clock), path)
        return sinks

    def annotated(self, of: Callable[..., V], path: Path, scene: Scene | None, clock: Clock | None = None) -> V:
        """Return what draws and encodes an annotated video, made by `of`, the method of that name of its kind."""
        drawn = scene_overlay(self._config, scene, clock)
        return of(self._config, path, self._names, threads=self._threads, scene=drawn)

    def refuse_overwriting(self, named: list[str], videos: list[Video], folder: Path) -> None:
        """Raise OutputError if an output, or the file it grows in, would overwrite a source or a file that this program
        did not write, or if annotated videos would land among the sources, where the next run would process them."""
        if self._config.visualize and os.path.realpath(folder) in {os.path.realpath(name) for name in named}:
            raise OutputError(
                f"{folder} is an input, and annotated videos can't go there: a second run would take them for sources. "
                "Choose another output folder."
            )
        sources = {os.path.realpath(video.path) for video in videos if scheme(video.path) is None}
        for video in videos:
            for path in paths_of(self._config, video, folder).values():
                touched = (path, part_path(path), spare_path(path), partial_path(path), *partials_of(video, folder))
                if not sources.isdisjoint(map(os.path.realpath, touched)):
                    raise OutputError(f"{path} is an input and would be overwritten. Choose another output folder.")
        refuse_foreign_outputs(self._config, videos, folder)


def paths_of(config: EngineConfig, video: Video, folder: Path) -> dict[str, Path]:
    """Return the configured files of a video, by kind, in the order in which they are written."""
    base = folder / video.stem
    suffixes = {kind: form.suffix for kind, form in FORMATS.items() if kind in config.formats}
    suffixes |= {"store": STORE_SUFFIX} if config.store_conf is not None else {}
    suffixes |= {"heatmap": HEATMAP_SUFFIX} if config.heatmap else {}
    suffixes |= {"crops": CROPS_SUFFIX} if config.crops else {}
    suffixes |= {"video": VIDEO_SUFFIX} if config.visualize else {}
    return {kind: base.with_name(base.name + suffix) for kind, suffix in suffixes.items()}


def refuse_foreign_outputs(
    config: EngineConfig, videos: Iterable[Video], folder: Path, *, report: bool = False
) -> None:
    """Raise OutputError if a file that this program did not write has the name of a configured output, of a video or of
    the run, or if something is in the way of clips and exports. `report`: a report is written unless it is switched
    off. Called before anything is started."""
    whole = ["manifest.json"]
    if config.writes_tables:
        whole += table_names(config.tables or ("csv",)) + ["heatmap.json"] * config.heatmap
    if config.report or (report and config.report is None):
        whole.append("report.html")
    refuse_foreign(*(folder / name for name in whole), overwrite=config.overwrite)
    refuse_foreign_below(
        folder, clips=config.clips is not None, exports=config.export or (), overwrite=config.overwrite
    )
    for video in videos:
        if scheme(video.path) is not None:  # a live source's segments replace nothing; else it is seen once it is open
            continue
        for path in paths_of(config, video, folder).values():
            if not config.overwrite and not is_own(path) and not has_made(folder, video.stem, path.relative_to(folder)):
                raise OutputError(foreign(path))


def scene_overlay(
    config: EngineConfig, scene: Scene | None, clock: Clock | None = None, longest_gap: float = 0.0
) -> SceneOverlay | None:
    """Return the overlay of the scene that the configuration requests on a video; None if it requests none.
    `longest_gap`: the longest time, in steps, for which a continuing track was not seen."""
    if not (parts := config.drawn(has_scene=scene is not None)):
        return None
    from engine.sinks.scene_overlay import SceneOverlay  # a scene's models take their time, and most runs have none

    frames = registry.lifetime(config.tracker, config.model_dump(include=set(registry.KEYS))) + 1
    return SceneOverlay(
        scene,
        parts,
        gone_after=max(frames * (config.frames_between_inferences + 1), longest_gap),
        wall_start=None if clock is None else clock.start,
        line_width=config.line_width,
        label_size=config.label_size,
    )


def prepare(folder: Path) -> None:
    """Create the output folder, and check that it can be written and that its state folder is inside it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Folder.at(folder) as output:
            probe = f".write-test-{secrets.token_hex(8)}"
            output.create(probe).close()
            output.remove(probe)
            with contextlib.suppress(FileNotFoundError):
                output.sub(STATE_FOLDER).close()
    except OSError as error:
        raise OutputError(f"Output folder {folder} can't be written: {describe_os_error(error)}.") from error
