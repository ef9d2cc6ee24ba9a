"""`yolo-engine scene`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from engine.analytics.settings import load_scenes
from engine.config import EngineConfig
from engine.output_folder.manifest import read_manifest
from engine.report import write_scene_page
from engine.text.counted import counted
from engine.text.say import say


def scene(
    inputs: tuple[Path, ...],
    page: Path,
    given: tuple[Path, ...],
    tracks: Path | None,
    camera: str | None,
    overwrite: bool,
    language: Literal["en", "es"],
) -> int:
    """Write the page and print how many frames it has."""

    config = EngineConfig(**{} if camera is None else {"camera": camera})
    count = write_scene_page(
        inputs,
        page,
        scenes=load_scenes(given),
        camera=config.camera,
        earlier=None if tracks is None else (tracks, read_manifest(tracks)),
        language=language,
        overwrite=overwrite,
    )
    what = counted(count, "frame")
    say(f"Page: {page}, with {what} to draw on. Open it, draw, and download the scene file.")
    return 0
