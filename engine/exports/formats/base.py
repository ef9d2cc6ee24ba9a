"""Settings common to all formats, and the naming of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from engine.exports.boxes import VideoBoxes
from engine.finished import file_word


@dataclass(frozen=True)
class ExportSettings:
    """`error_px` is the largest deviation of a box from the one interpolated between key frames; an image data set
    takes every `every`-th frame, `images` says whether they are extracted. For a tool that splits a video into jobs,
    `job_frames` is their length and `job_overlap` their overlap in frames; files per job are written as well."""

    error_px: float = 2.0
    every: int = 1
    images: bool = False
    job_frames: int | None = None
    job_overlap: int = 0


def jobs_of(video: VideoBoxes, settings: ExportSettings) -> Iterator[tuple[int, int, int]]:
    """Yield number, first and last frame of each job of a video; nothing if it is not split."""
    length, overlap = settings.job_frames, settings.job_overlap
    if length is None:
        return
    first, number = 0, 0
    while first < video.frames:
        last = min(first + length, video.frames) - 1
        yield number, first, last
        if last == video.frames - 1:
            return
        first, number = last + 1 - overlap, number + 1


def with_stems(videos: Sequence[VideoBoxes]) -> list[VideoBoxes]:
    """Return the videos, each with a unique stem in the export made of characters that every tool accepts."""
    taken: set[str] = set()
    found = []
    for video in videos:
        own = PurePosixPath(*(file_word(part, 100) or "video" for part in video.video.stem.parts))
        stem, number = own, 1
        while "-".join(stem.parts).casefold() in taken:
            number += 1
            stem = own.with_name(f"{own.name}-{number}")
        taken.add("-".join(stem.parts).casefold())
        found.append(replace(video, stem=stem))
    return found


def image_name(stem: PurePosixPath, frame: int) -> str:
    """Return the name of a frame's image, without a suffix: the file's frame number, from 0."""
    return f"{'-'.join(stem.parts)}_{frame:06d}"


def write_text(path: Path, text: str) -> None:
    """Write a file of an unfinished export."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
