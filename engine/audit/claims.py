"""What a manifest claims of each video."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.finished import FinishedRun
from engine.summary import FileJson, InputJson, ManifestJson

RETRACKED = "retrack.json"


@dataclass(frozen=True)
class Claim:
    """What is claimed of one video.

    `name` is the source as the manifest names it, `source` where it lies now, None for a live one. `stem` is the place
    of its outputs, `outputs` has their paths by kind and `files` their sizes and hashes, {} where the run kept none.
    `frames` were given out, with `tracks` ids and `detections` boxes; what comes before `begins_s` was passed over,
    since the file before it of its camera has it. The annotated video begins at `offset_s` of the source's time.
    `unfinished` says why it has no results to look at; "" where it has. `behind` are the stems of the files before it
    of its camera, the last one first.
    """

    name: str
    stem: PurePosixPath
    source: Path | None
    outputs: Mapping[str, Path]
    files: Mapping[str, FileJson]
    input: InputJson | None
    frames: int
    tracks: int
    detections: int
    offset_s: float
    begins_s: float
    whole: bool
    unfinished: str
    behind: tuple[PurePosixPath, ...] = ()

    def shown(self, kind: str) -> str:
        """Return the path of an output below the output folder."""
        return str(self.stem.parent / self.outputs[kind].name)


def claims_of(manifest: ManifestJson, run: FinishedRun) -> list[Claim]:
    """Return what a manifest claims of each video, live ones and those without results too."""
    return list(_claims(manifest, run))


def _claims(manifest: ManifestJson, run: FinishedRun) -> Iterator[Claim]:
    sources = {str(video.stem): video.source for video in run.videos}
    before: dict[str, tuple[PurePosixPath, ...]] = {}
    for entry in manifest["videos"]:
        stem = PurePosixPath(str(entry.get("stem", "")))
        claim = _claim(entry, stem, run.folder, sources.get(str(stem)))
        if (sequence := entry.get("sequence")) is not None:
            claim = Claim(**{**vars(claim), "behind": before.get(sequence["camera"], ())})
            before[sequence["camera"]] = (stem, *claim.behind)
        yield claim
        for segment in entry.get("segments", ()):  # each is a result of its own, whose source is gone
            yield _claim({**entry, **segment, "path": segment["segment"]}, PurePosixPath(segment["segment"]),
                         run.folder, None)  # fmt: skip


def _claim(entry: Mapping[str, Any], stem: PurePosixPath, folder: Path, source: Path | None) -> Claim:
    live = "segments" in entry and "segment" not in entry  # its outputs are those of its last segment
    outputs = {} if live else {kind: folder / stem.parent / os.path.basename(path)
                               for kind, path in entry["outputs"].items()}  # fmt: skip
    partial = any(path.name.startswith(f"{stem.name}.partial.") for path in outputs.values())
    return Claim(
        name=str(entry["path"]),
        stem=stem,
        source=source,
        outputs=outputs,
        files=dict(entry.get("files", {})),
        input=entry.get("input"),
        frames=int(entry["frames"]),
        tracks=int(entry["tracks"]),
        detections=int(entry["detections"]),
        offset_s=float(entry.get("video_offset_s", 0.0)),
        begins_s=float(entry["media"]["examined_s"][0]) if "sequence" in entry and entry.get("media") else -math.inf,
        whole=entry["status"] == "ok",
        unfinished="its recordings follow" if live
        else str(entry["error"] or entry["status"]) if partial or not outputs
        else "",
    )  # fmt: skip
