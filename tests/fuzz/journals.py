"""Journals with a right checksum and wrong values, and damaged ones: the video is started over, or goes on."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path, PurePosixPath
from random import Random

from engine.resume.attempts import peek
from tests.e2e.runs import attempt as last_attempt
from tests.e2e.runs import clip, fake_engine, left_over
from tests.fuzz.mutate import as_text, damaged, damaged_json, deep


def prepare(folder: Path) -> None:
    """A run that was interrupted, with its journal and parts."""
    source = clip(folder / "a.mp4", 60)
    engine = fake_engine(delay_s=0.01, checkpoint_s=0.0, workers=1, streams=1)

    def stop(streams: list[object]) -> None:
        if any(getattr(stream, "checkpoint_frames", 0) for stream in streams):
            engine.stop()

    engine.run([source], folder / "out", progress=stop)
    shutil.copy(last_attempt(folder / "out", "a") / "journal.json", folder / "journal.json")


def case(chance: Random, folder: Path) -> tuple[bytes, str]:
    text = (folder / "journal.json").read_bytes()
    how = chance.random()
    if how < 0.15:
        return damaged(text, text, chance), ".json"
    if how < 0.2:
        return deep(chance), ".json"
    outer = json.loads(text)
    if how < 0.3:
        return as_text(damaged_json(outer, chance)).encode("utf-8", "surrogatepass"), ".json"
    body = as_text(damaged_json(json.loads(outer["values"]), chance))
    outer |= {"values": body, "crc32": zlib.crc32(body.encode("utf-8", "surrogatepass"))}
    return as_text(outer).encode(), ".json"


def attempt(path: Path, folder: Path) -> None:
    good = path.parents[1] / "good"
    shutil.copytree(good / "out", folder / "out")
    shutil.copy(path, last_attempt(folder / "out", "a") / "journal.json")
    peek(folder / "out", PurePosixPath("a"))
    (video,) = fake_engine(streams=1, workers=1).run([good / "a.mp4"], folder / "out")["videos"]
    assert (video["status"], video["frames"]) == ("ok", 60), video
    assert left_over(folder / "out") == []
