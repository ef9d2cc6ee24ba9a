"""Output folders of runs whose tracks a test writes itself: rows over chosen frames of real and made videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import Engine, EngineConfig
from engine.media.planes import planes_of


@dataclass(frozen=True)
class Shown:
    """A frame as the engine decodes it; `luma` is its picture, (H, W) uint8, or None where it is not planar."""

    index: int
    pts: int
    time_s: float
    luma: NDArray[np.uint8]


@dataclass(frozen=True)
class Life:
    """A track of the class `person` that has a row in each of these frames, ends included."""

    first: int
    last: int
    track_id: int = 1
    box_xyxy: tuple[float, float, float, float] = (8.0, 8.0, 28.0, 28.0)
    class_name: str = "person"
    missing: tuple[int, ...] = ()


def frames_of(video: Path) -> list[Shown]:
    """Every frame that a run numbers."""
    found = []
    with Engine(EngineConfig(backend="fake")) as engine:
        for tracks in engine.stream(video):
            image = tracks.frame.image
            wide = image.width * (3 if image.format.name in ("rgb24", "bgr24") else 1)
            luma = np.array(planes_of(image)[0][: image.height, :wide])
            found.append(Shown(tracks.frame.index, tracks.frame.pts, tracks.frame.time_s, luma))
    return found


def rows_of(frames: Sequence[Shown], lives: Sequence[Life]) -> str:
    names = list(dict.fromkeys(life.class_name for life in lives))
    rows: list[dict[str, Any]] = []
    for frame in frames:
        for life in lives:
            if life.first <= frame.index <= life.last and frame.index not in life.missing:
                rows.append(
                    {
                        "frame": frame.index,
                        "pts": frame.pts,
                        "time_s": round(frame.time_s, 6),
                        "track_id": life.track_id,
                        "class_id": names.index(life.class_name),
                        "class": life.class_name,
                        "score": 0.9,
                        "box_xyxy": list(life.box_xyxy),
                    }
                )
    return "".join(json.dumps(row) + "\n" for row in rows)


def finished(
    folder: Path,
    videos: dict[Path, tuple[Sequence[Shown], Sequence[Life]]],
    inputs: Sequence[Path] | None = None,
    **settings: Any,
) -> Path:
    """The output folder of a run over these videos, or over `inputs` that hold them, whose rows are those of the
    lives."""
    values = {"backend": "fake", "visualize": False, "min_hits": 0, **settings}
    with Engine(EngineConfig(**values)) as engine:
        engine.run([str(path) for path in inputs or videos], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["videos"]:
        path = Path(entry["path"])
        frames, lives = next(found for video, found in videos.items() if video == path)
        (folder / f"{entry['stem']}.tracks.jsonl").write_text(rows_of(frames, lives))
        entry["tracks"] = len(lives)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
