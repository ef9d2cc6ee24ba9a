"""Where the results of each video go: its files, their sinks, and what they must not overwrite."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config import EngineConfig
from engine.errors import OutputError, describe_os_error
from engine.files.folders import Folder
from engine.formats import CROPS_SUFFIX, FORMATS, STORE_SUFFIX, VIDEO_SUFFIX
from engine.media.inputs import Video
from engine.media.source import scheme
from engine.resume.attempts import STATE_FOLDER
from engine.resume.partial_outputs import partial_path, partials_of
from engine.sinks.base import Sink, part_path, spare_path
from engine.sinks.rows import RowFile
from engine.trackers import registry

if TYPE_CHECKING:
    from engine.analytics import Clock, Scene
    from engine.sinks.scene_overlay import SceneOverlay

SinkFactory = Callable[[Video], dict[str, tuple[Sink, Path]]]


class Outputs:
    """The files that a configuration asks for. `threads` is what each encoder may use."""

    def __init__(self, config: EngineConfig, class_names: Sequence[str], *, streams: int, threads: int) -> None:
        self._config = config
        self._names = class_names
        self._streams = streams
        self._threads = threads

    def sinks(
        self, video: Video, folder: Path, scene: Scene | None = None, clock: Clock | None = None
    ) -> dict[str, tuple[Sink, Path]]:
        """The sinks that the configuration asks for, and the final path of each. `scene` is the video's; `clock` that
        of its first frame, where its frames bear none."""
        config, names = self._config, self._names
        base = folder / video.stem
        limit = max(
            1,
            config.max_detections_in_memory
            // (self._streams * max(1, len(config.formats) + (config.store_conf is not None))),
        )

        def rows(path: Path) -> RowFile:
            return RowFile(path, limit=limit, intermediate=config.save_intermediate_results)

        sinks: dict[str, tuple[Sink, Path]] = {}
        for kind, form in FORMATS.items():
            if kind in config.formats:
                path = base.with_name(base.name + form.suffix)
                sinks[kind] = (form.make(rows(path), names, config.conf), path)
        if config.store_conf is not None:
            from engine.sinks.store import DetectionStore

            path = base.with_name(base.name + STORE_SUFFIX)
            sinks["store"] = (DetectionStore(rows(path), names, config), path)
        if config.crops:  # before the annotated video, which draws on the frame
            from engine.sinks.crops import Crops

            path = base.with_name(base.name + CROPS_SUFFIX)
            values = config.model_dump(include=set(registry.KEYS))
            sinks["crops"] = (Crops(path, names, forget_after=registry.lifetime(config.tracker, values)), path)
        if config.visualize:
            from engine.sinks.blur import BlurSettings
            from engine.sinks.overlay import OverlayStyle
            from engine.sinks.video import AnnotatedVideo

            path = base.with_name(base.name + VIDEO_SUFFIX)
            encoder = AnnotatedVideo(
                path,
                names,
                crf=config.video_crf,
                preset=config.video_preset,
                threads=self._threads,
                style=OverlayStyle.of(config),
                blur=BlurSettings.of(config),
                scene=scene_overlay(config, scene, clock),
            )
            sinks["video"] = (encoder, path)
        return sinks

    def refuse_overwriting(self, named: list[str], videos: list[Video], folder: Path) -> None:
        """No output, nor what it grows in, may land on a source; annotated videos not among the sources at all, where
        the next run would take them for some."""
        if self._config.visualize and os.path.realpath(folder) in {os.path.realpath(name) for name in named}:
            raise OutputError(
                f"{folder} is an input, and annotated videos can't go there: a second run would take them for sources. "
                "Choose another output folder."
            )
        sources = {os.path.realpath(video.path) for video in videos if scheme(video.path) is None}
        for video in videos:
            for _, path in self.sinks(video, folder).values():
                touched = (path, part_path(path), spare_path(path), partial_path(path), *partials_of(video, folder))
                if not sources.isdisjoint(map(os.path.realpath, touched)):
                    raise OutputError(f"{path} is an input and would be overwritten. Choose another output folder.")


def scene_overlay(
    config: EngineConfig, scene: Scene | None, clock: Clock | None = None, longest_gap: float = 0.0
) -> SceneOverlay | None:
    """Return what draws on a video what the configuration asks for beside its tracks; None where that is nothing.
    `longest_gap`: steps for which some track was not seen, though it went on."""
    if not (parts := config.drawn(has_scene=scene is not None)):
        return None
    from engine.analytics import Scene  # its models take their time, and most runs have none
    from engine.sinks.scene_overlay import SceneOverlay

    frames = registry.lifetime(config.tracker, config.model_dump(include=set(registry.KEYS))) + 1
    return SceneOverlay(
        scene or Scene(),
        parts,
        gone_after=max(frames * (config.frames_between_inferences + 1), longest_gap),
        wall_start=None if clock is None else clock.start,
        line_width=config.line_width,
        label_size=config.label_size,
    )


def prepare(folder: Path) -> None:
    """Makes the output folder and proves that it can be written, and that what is kept there is kept in it."""
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
