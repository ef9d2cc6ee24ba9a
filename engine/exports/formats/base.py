"""What every format is given, and how files get their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from engine.exports.boxes import VideoBoxes
from engine.finished import file_word


@dataclass(frozen=True)
class ExportSettings:
    """`error_px` is how far a box may be beside the one that follows from its key frames, `every` which frames an
    image data set takes, `images` whether they are cut out. Of a tool that splits a video into jobs, `job_frames` is
    their length and `job_overlap` what two have in common: files of jobs are written as well."""

    error_px: float = 2.0
    every: int = 1
    images: bool = False
    job_frames: int | None = None
    job_overlap: int = 0


def jobs_of(video: VideoBoxes, settings: ExportSettings) -> Iterator[tuple[int, int, int]]:
    """Give number, first and last frame of each job of a video; nothing where it is not split."""
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
    """Return the videos, each with a place in the export, of letters that every tool takes, that no other has."""
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
    """Write a file of an export that is still growing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
