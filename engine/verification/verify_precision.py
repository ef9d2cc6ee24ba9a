"""How far a precision agrees with f32 on a user's own video, and how much faster it is there."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from statistics import median

import numpy as np

from engine.choices.precision import processor
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import ConfigError, InputError
from engine.media.inputs import find_videos
from engine.media.source import scheme
from engine.records import Detections, Tracks
from engine.text.counted import counted
from engine.text.masks import without_password
from engine.verification.agreement import Agreement
from engine.verification.faster import Measured, remember

MAX_FRAMES = 1500
_ROUNDS = 7
_INFERENCES = 4  # a round


@dataclass(frozen=True)
class Compared:
    """Boxes and tracks of a precision beside those of f32. `times` is CPU time of an inference in f32 over that in the
    precision: the median of paired rounds, and the lowest and the highest of them."""

    frames: int
    boxes_f1: float
    tracks_f1: float
    tracks: tuple[int, int]
    times: tuple[float, float, float]


def verify_precision(
    config: EngineConfig,
    video: str,
    against: str | None,
    say: Callable[[str], None],
    *,
    begun: Callable[[], None] = lambda: None,
) -> Compared:
    """Run the first frames of `video` in f32 and in the precision of `config`, side by side, and say what differs.

    `against` names the float model, where that of `config` is a quantized one. What was measured is remembered
    (engine.verification.faster). Raises InputError, ConfigError and what an engine raises.
    """
    if scheme(video) is not None:
        raise InputError(f"verify takes a file. Got {without_password(video)}.")
    if len(found := find_videos([video], config.output_folder)) != 1:
        raise InputError(f"verify takes one video. {video} holds {len(found)}.")
    if config.precision == "int8" and against is None:
        raise ConfigError("verify --precision int8 needs the float model to compare with: --against MODEL.")
    plain = config.updated(precision="f32", model=against or config.model, visualize=False, build_plan=False)
    with Engine(plain) as one, Engine(config.updated(visualize=False, build_plan=False)) as other:
        begun()
        boxes, tracks = Agreement(), Agreement()
        ids: tuple[set[int], set[int]] = (set(), set())
        frames = 0
        pairs = zip(one.stream(found[0].path), other.stream(found[0].path), strict=True)
        for ours, theirs in islice(pairs, MAX_FRAMES):
            frames += 1
            if ours.detections is not None and theirs.detections is not None:
                boxes.add(ours.detections.above(config.conf), theirs.detections.above(config.conf))
            tracks.add(_as_boxes(ours), _as_boxes(theirs))
            for known, each in zip(ids, (ours, theirs), strict=True):
                known.update(each.track_ids.tolist())
        times = _times(one, other)
        measured = Measured(
            one.model.sha256,
            config.precision,
            config.model if against is not None else "",
            processor().name,
            found[0].shown,
            frames,
            boxes.f1,
            times[0],
        )
    compared = Compared(frames, boxes.f1, tracks.f1, (len(ids[0]), len(ids[1])), times)
    _say(compared, config, say)
    remember(measured)
    return compared


def _say(compared: Compared, config: EngineConfig, say: Callable[[str], None]) -> None:
    name, (typical, low, high) = config.precision, compared.times
    say(f"{counted(compared.frames, 'frame')} in f32 and in {name}, on {processor().name or 'this processor'}:")
    say(f"  boxes   agree by {compared.boxes_f1:.4f} (F1 at IoU 0.8, same class)")
    say(f"  tracks  agree by {compared.tracks_f1:.4f} (the same, frame by frame); {compared.tracks[0]} in f32, "
        f"{compared.tracks[1]} in {name}")  # fmt: skip
    say(f"  speed   {typical:.2f} times f32 [{low:.2f} .. {high:.2f}], by CPU time of an inference")
    if typical < 1:
        say(f"{name} is slower than f32 here: there is no reason to use it.")


def _as_boxes(tracks: Tracks) -> Detections:
    order = np.argsort(-tracks.scores, kind="stable")
    boxes = np.ascontiguousarray(tracks.boxes_xyxy[order], dtype=np.float32)
    return Detections(boxes, tracks.scores[order], tracks.class_ids[order])


def _times(one: Engine, other: Engine) -> tuple[float, float, float]:
    """Return paired rounds of inferences on the tensor of a 16:9 video, nothing else at work."""
    hw = one.model.shape((1280, 720))
    work = [(each.model.backend, np.zeros((1, 3, *hw), each.model.backend.input_dtype)) for each in (one, other)]
    for backend, tensor in work:
        backend.run(tensor)
    ratios = []
    for number in range(_ROUNDS):
        spent = [0.0, 0.0]
        for i in (0, 1) if number % 2 == 0 else (1, 0):
            start = _cpu_s()
            backend, tensor = work[i]
            for _ in range(_INFERENCES):
                backend.run(tensor)
            spent[i] = _cpu_s() - start
        ratios.append(spent[0] / max(spent[1], 1e-9))
    return median(ratios), min(ratios), max(ratios)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
