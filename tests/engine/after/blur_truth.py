"""How many people of a ground-truth sequence stay visible under blur: boxes alone, no pictures.

    python -m tests.engine.after.blur_truth mot17-09 ...

Detections of a sequence go through the tracker and through what decides what is hidden; each box of the ground truth is
then compared with what is hidden in its frame.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from engine import EngineConfig
from engine.records import Detections, Frame
from engine.sinks.blur import BlurSettings, BlurWindow, padded
from engine.stages.track import StreamTracker, TrackerSettings
from tests.assets import require_asset

RATE = 30
GRID = 4  # pixels a side


@dataclass(frozen=True)
class Seen:
    """Objects' frames in all, and of how many less than half, or less than nine tenths, is hidden."""

    objects: int
    half: int
    nine_tenths: int


def truth_of(name: str, visibility: float = 0.25) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Pedestrians of a sequence by frame, from 0, of which so much can be seen, as xyxy; and its detections, with a
    score."""
    folder = require_asset(f"trackers/detections/{name}")
    truth, found = {}, {}
    rows = np.loadtxt(folder / "gt.txt", delimiter=",")
    rows = rows[(rows[:, 6] == 1) & (rows[:, 7] == 1) & (rows[:, 8] >= visibility)]
    detections = np.loadtxt(folder / "det.txt", delimiter=",")
    for frame in range(int(max(rows[:, 0].max(), detections[:, 0].max()))):
        here = rows[rows[:, 0] == frame + 1][:, 2:6]
        truth[frame] = np.concatenate([here[:, :2], here[:, :2] + here[:, 2:]], axis=1)
        here = detections[detections[:, 0] == frame + 1][:, 2:7]
        found[frame] = np.concatenate([here[:, :2], here[:, :2] + here[:, 2:4], here[:, 4:]], axis=1)
    return truth, found


def hidden_by(
    found: dict[int, np.ndarray], settings: BlurSettings, config: EngineConfig, *, drop: float = 0.0, seed: int = 0
) -> dict[int, np.ndarray]:
    """What is hidden in each frame. `drop` is the share of detections that are taken away at random."""
    random = np.random.default_rng(seed)
    tracker = StreamTracker(TrackerSettings.of(config, ("person",)))
    window: BlurWindow[int] = BlurWindow(settings.hold_s)
    hidden: dict[int, np.ndarray] = {}
    for index, rows in found.items():
        rows = rows[random.random(len(rows)) >= drop]
        rows = rows[np.argsort(-rows[:, 4], kind="stable")]
        image = SimpleNamespace(width=1920, height=1080)
        frame = Frame(0, index, index, 1, Fraction(1, RATE), image, step_s=Fraction(1, RATE))
        given = Detections(rows[:, :4].astype(np.float32), rows[:, 4].astype(np.float32), np.zeros(len(rows), np.int32))
        tracks = tracker.follow(frame, given)
        seen = list(zip(tracks.track_ids.tolist(), tracks.boxes_xyxy, strict=True))
        low = given.above(settings.conf).boxes_xyxy.astype(np.float64)
        followed = given.above(settings.followed_conf).boxes_xyxy.astype(np.float64)
        for number, boxes in window.push(index, frame.time_s, 1, seen, low, followed):
            hidden[number] = padded(boxes, settings.pad)
    for number, boxes in window.flush():
        hidden[number] = padded(boxes, settings.pad)
    return hidden


def tracks_alone(found: dict[int, np.ndarray], config: EngineConfig, **options: float) -> dict[int, np.ndarray]:
    """What a sink hides that takes the tracks' boxes and nothing else."""
    bare = BlurSettings(frozenset({"person"}), pad=0.0, hold_s=0.0, conf=1.01, followed_conf=1.01)
    return hidden_by(found, bare, config, **options)


def visible(truth: dict[int, np.ndarray], hidden: dict[int, np.ndarray], size_wh: tuple[int, int]) -> Seen:
    width, height = size_wh
    objects = half = nine_tenths = 0
    for frame, boxes in truth.items():
        covered = np.zeros((height // GRID + 1, width // GRID + 1), dtype=bool)
        for x1, y1, x2, y2 in hidden.get(frame, np.empty((0, 4))):
            if x2 > 0 and y2 > 0:
                covered[
                    int(max(y1, 0)) // GRID : int(y2) // GRID + 1, int(max(x1, 0)) // GRID : int(x2) // GRID + 1
                ] = 1
        for box in boxes:
            x1, y1 = (np.maximum(box[:2], 0) // GRID).astype(int)
            x2, y2 = (np.minimum(box[2:], [width, height]) // GRID).astype(int)
            part = covered[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
            share = part.mean() if part.size else 1.0
            objects += 1
            half += share < 0.5
            nine_tenths += share < 0.9
    return Seen(objects, int(half), int(nine_tenths))


SIZES = {"mot17-05": (640, 480)}


def figures(name: str, drop: float = 0.0) -> tuple[Seen, Seen]:
    """(blur as it is by default, the tracks' boxes alone)"""
    truth, found = truth_of(name)
    size = SIZES.get(name, (1920, 1080))
    config = EngineConfig(blur=["person"], backend="fake")
    settings = BlurSettings.of(config)
    assert settings is not None
    full = visible(truth, hidden_by(found, settings, config, drop=drop), size)
    return full, visible(truth, tracks_alone(found, config, drop=drop), size)


def main() -> None:
    for name in sys.argv[1:]:
        for drop in (0.0, 0.2):
            for what, seen in zip(("blur", "tracks alone"), figures(name, drop), strict=True):
                sys.stdout.write(
                    f"{name}, {drop:.0%} of detections dropped, {what}: {seen.objects:,} objects' frames, "
                    f"{seen.half:,} ({seen.half / seen.objects:.2%}) less than half hidden, "
                    f"{seen.nine_tenths:,} ({seen.nine_tenths / seen.objects:.2%}) less than nine tenths\n"
                )


if __name__ == "__main__":
    main()
