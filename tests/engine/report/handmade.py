"""Output folders as of a run, made without one: any number of tracks, any names."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from tests.e2e.runs import clip

SIZE_WH = (64, 48)
SCENE: dict[str, Any] = {
    "line": [{"name": "middle", "points": [[0.5, 0.0], [0.5, 1.0]], "in": "left", "out": "right", "anchor": "centre"}],
    "zone": [{"name": "corner", "polygon": [[0.6, 0.0], [1.0, 0.0], [1.0, 1.0], [0.6, 1.0]], "anchor": "centre"}],
}


@dataclass(frozen=True)
class Film:
    """A video of an output folder. `film` has a real annotated video beside its tracks."""

    stem: str
    suffix: str = ".mp4"
    tracks: int = 3
    duration_s: float = 4.0
    status: str = "ok"
    error: str | None = None
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ("person", "car")
    start: str | None = None
    film: bool = False


@dataclass(frozen=True)
class Folder:
    """An output folder that was made."""

    path: Path
    manifest: dict[str, Any] = field(repr=False)


def output_folder(
    path: Path,
    films: list[Film],
    *,
    config: dict[str, Any] | None = None,
    left_out: tuple[tuple[str, str], ...] = (),
    verdict: dict[str, Any] | None = None,
) -> Folder:
    """Write the manifest and tracks of some films. Each track crosses the line in the middle once."""
    path.mkdir(parents=True, exist_ok=True)
    settings = EngineConfig(**{"scene": (SCENE,), "report": True, **(config or {})}).model_dump(mode="json")
    entries = [_entry(path, film, number) for number, film in enumerate(films)]
    manifest: dict[str, Any] = {
        "schema": 1,
        "success": all(film.status == "ok" for film in films),
        "videos": entries,
        "totals": {
            "videos": len(films),
            "failed": sum(film.status == "failed" for film in films),
            "partial": sum(film.status == "partial" for film in films),
            "frames": sum(entry["frames"] for entry in entries),
            "detections": 0,
            "tracks": sum(entry["tracks"] for entry in entries),
            "elapsed_s": 12.5,
            "fps": 80.0,
        },
        "model": {"name": "street-nano", "sha256": "ab" * 32},
        "backend": {"name": "native", "provider": "AVX-512", "device": "cpu", "why": "no NVIDIA GPU was found"},
        "started_at": "2024-05-01T07:00:00+00:00",
        "config": settings,
        "config_sha256": "cd" * 32,
        "versions": {"yolo-engine": "0.1.0"},
    }
    if left_out:
        manifest["left_out"] = [{"path": name, "why": why} for name, why in left_out]
    if verdict:
        manifest["verdict"] = verdict
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Folder(path, manifest)


def _entry(folder: Path, film: Film, seed: int) -> dict[str, Any]:
    read = film.status in ("ok", "partial")
    entry: dict[str, Any] = {
        "path": f"/videos/{film.stem}{film.suffix}",
        "status": film.status,
        "error": film.error,
        "frames": round(film.duration_s * 25) if read else 0,
        "inferred_frames": 0,
        "detections": 0,
        "tracks": film.tracks if read else 0,
        "tracks_by_class": {},
        "duration_s": film.duration_s if read else 0.0,
        "elapsed_s": 1.0,
        "fps": 25.0,
        "outputs": {},
        "stem": film.stem,
        "clock": {"start": film.start, "origin": "given" if film.start else "none", "zone": "UTC"},
        "input": {"size_bytes": 1, "sha256": f"{seed:064x}"},
        "attempts": 1,
    }
    if film.notes:
        entry["notes"] = list(film.notes)
    if not read:
        return entry
    place = folder / film.stem
    place.parent.mkdir(parents=True, exist_ok=True)
    rows = place.with_name(place.name + ".tracks.jsonl")
    rows.write_text("".join(_rows(film, seed)), encoding="utf-8")
    entry["outputs"] = {"tracks": str(rows)}
    entry["media"] = {
        "size_wh": list(SIZE_WH),
        "time_base": "1/25",
        "step_s": "1/25",
        "first_s": 0.0,
        "examined_s": [0.0, film.duration_s],
    }
    if film.film:
        video = clip(place.with_name(place.name + ".mp4"), round(film.duration_s * 25), SIZE_WH, codec="libx264")
        entry["outputs"]["video"] = str(video)
    return entry


def _rows(film: Film, seed: int) -> list[str]:
    """Return the rows of tracks that each last for a second at most, and go from left to right or back."""
    chance = random.Random(seed)
    lines: list[tuple[int, str]] = []
    last = round(film.duration_s * 25) - 1
    for number in range(film.tracks):
        first = chance.randrange(max(1, last - 20)) if film.tracks > 1 else 0
        backwards, top = chance.random() < 0.5, chance.uniform(2, 30)
        kind = number % len(film.classes)
        for step in range(0, 21, 2):
            frame = first + step
            x = 4 + 2.4 * (20 - step if backwards else step)
            row = {
                "frame": frame,
                "pts": frame,
                "time_s": frame / 25,
                "track_id": number + 1,
                "class_id": kind,
                "class": film.classes[kind],
                "score": 0.8,
                "box_xyxy": [round(x, 2), round(top, 2), round(x + 6, 2), round(top + 12, 2)],
            }
            lines.append((frame, json.dumps(row) + "\n"))
    return [line for _, line in sorted(lines, key=lambda item: item[0])]
