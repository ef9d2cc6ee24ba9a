"""Processes whole videos again into a temporary folder, and compares the rows one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from engine.audit.claims import Claim
from engine.audit.findings import Finding, Kind
from engine.audit.rows import Row, Unreadable, differences, read
from engine.engine import Engine
from engine.media.inputs import Video
from engine.pipeline.assignment import Assignment
from engine.resume import attempts
from engine.summary import VideoJson

_LOOK_EVERY_S = 0.5


def do_again(engine: Engine, claims: Sequence[Claim], folder: Path) -> dict[str, VideoJson]:
    """Process the videos with an `engine` that writes only rows, and return their entries by stem."""
    entries: dict[str, VideoJson] = {}
    changed = threading.Condition()
    stems = {claim.stem for claim in claims}

    def assignments() -> Iterator[Assignment]:
        for claim in claims:
            behind = tuple(stem for stem in claim.behind if stem in stems)
            while not set(map(str, behind[:1])) <= entries.keys():  # wait: its tracks continue from that file
                with changed:
                    changed.wait(_LOOK_EVERY_S)
            before = partial(attempts.carried_by, folder, *behind)
            yield Assignment(Video(str(claim.source), claim.stem), before=before, job="audit")

    def done(assignment: Assignment, entry: VideoJson) -> None:
        with changed:
            entries[str(assignment.video.stem)] = entry
            changed.notify_all()

    engine.work(assignments(), folder, done=done)
    return entries


def compare(claim: Claim, entry: VideoJson) -> tuple[int, list[Finding]]:
    """Compare the rows of a video with those of a repeated run, and return how many were compared and the findings.
    Damaged files are reported elsewhere."""
    if entry["status"] == "failed":
        return 0, [Finding(Kind.SOURCE, claim.name, "", str(entry["error"]))]
    found: list[Finding] = []
    if entry["frames"] != claim.frames:
        detail = f"the source has {entry['frames']:,} frames, and the manifest counts {claim.frames:,}"
        found.append(Finding(Kind.FRAME, claim.name, "", detail))
    compared = 0

    def counted(frames: Iterator[tuple[int, list[Row]]]) -> Iterator[tuple[int, list[Row]]]:
        nonlocal compared
        for number, rows in frames:
            compared += len(rows)
            yield number, rows

    for kind in ("tracks", "mot", "detections"):
        if kind in claim.outputs and kind in entry["outputs"]:
            right, there = read(kind, Path(entry["outputs"][kind])), counted(read(kind, claim.outputs[kind]))
            try:
                found += differences(right, there, claim, kind, "doing it again gives")
            except (OSError, Unreadable):
                continue
    return compared, found
