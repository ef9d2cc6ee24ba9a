"""Which model, size, precision and gate reach a target on a user's own video, and how fast each is there.

Stretches of the video are run in each setting and compared with the strongest one: every frame inferred whole, in
float32, by the model and at the size of the configuration. Only what reaches the target without a gate is tried with
one. Nothing is known of whether the strongest is right: what is measured is what another setting changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from engine.choices.precision import Precision, processor
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import BackendMissing, ConfigError, InputError, ModelError, VideoError
from engine.inference.model import LoadedModel, available_cores, load_model
from engine.media.inputs import Video, find_videos
from engine.media.source import Source, scheme
from engine.records import Detections, Ratio, Tracks
from engine.sinks.memory import CallbackSink
from engine.stages.agreement import agreeing_pairs
from engine.stages.confidence import interval
from engine.summary import VideoStatus
from engine.text.masks import without_password

PROBE_S = 12.0
"""Seconds of a video that are looked at."""
STRETCHES = 5
"""Parts of the video that these seconds are spread over. Each lasts a little longer than the time from one whole frame
of a gate to the next: the first of them is not timed."""
_MIN_S = 0.5  # of a stretch

# Shares of the model's own size, and seconds between whole frames, that are tried: the next only where the previous one
# it falls short.
_SIZES = (1.0, 0.75, 0.5)
_GATES_S = (2.0, 0.5)
_SIZE_STEP = 32


@dataclass(frozen=True)
class Setting:
    """One way to run a video. `input_hw` is the model's own size, `full_every_s` None without a gate."""

    model: str
    input_hw: tuple[int, int]
    precision: Precision = "f32"
    full_every_s: float | None = None
    own_size: bool = True

    @property
    def options(self) -> str:
        """What asks for it on the command line."""
        words = [f"--model {self.model}"]
        if not self.own_size:
            words.append("--input-size {},{}".format(*self.input_hw))
        if self.precision != "f32":
            words.append(f"--precision {self.precision}")
        if self.full_every_s is not None:
            words.append("--gate motion")
            if self.full_every_s != EngineConfig.model_fields["full_every_s"].default:
                words.append(f"--full-every {self.full_every_s:g}")
        return " ".join(words)


@dataclass(frozen=True)
class Probed:
    """A setting, the F1 of its boxes at IoU 0.5 beside those of the strongest one, in which interval that of the whole
    video lies with 95 %, and frames per second here."""

    setting: Setting
    f1: float
    low: float
    high: float
    fps: float


@dataclass(frozen=True)
class Planned:
    """What was found for `target`: `probed` begins with the strongest setting; `best` is the fastest one that reaches
    the target, None if none is faster than the strongest. `left_out` says what could not be tried, and why."""

    video: str
    target: float
    seconds: float
    frames: int
    probed: tuple[Probed, ...]
    left_out: tuple[str, ...]

    @property
    def strongest(self) -> Probed:
        return self.probed[0]

    @property
    def best(self) -> Probed | None:
        reach = [each for each in self.probed if each.f1 >= self.target]
        best = max(reach, key=lambda each: each.fps)
        return None if best is self.strongest else best

    @property
    def nearest(self) -> Probed | None:
        """Of those that fall short and are faster, the one with the highest F1."""
        short = [each for each in self.probed if each.f1 < self.target and each.fps > self.strongest.fps]
        return max(short, key=lambda each: each.f1, default=None)


def plan(
    config: EngineConfig,
    video: str,
    target: float,
    *,
    others: Sequence[str] = (),
    probe_s: float = PROBE_S,
    tell: Callable[[Probed], object] = lambda probed: None,
    begun: Callable[[], object] = lambda: None,
) -> Planned:
    """Probe `video` with the model of `config` and with `others`, names or files as of the key `model`.

    `tell` is given each setting once it is measured, the strongest first, `begun` is called when the strongest is
    loaded. Raises InputError, VideoError, and what loading the model of `config` raises; a model or size of the others
    that can't be had is left out.
    """
    if scheme(video) is not None:
        raise InputError(f"plan runs a video many times and takes a file. Got {without_password(video)}.")
    if len(found := find_videos([video], config.output_folder)) != 1:
        raise InputError(f"plan takes one video. {video} holds {len(found)}.")
    plain = config.updated(gate="off", skip_frames=False, precision="f32", visualize=False, resume=False)
    probe = _Probe(found[0], _stretches(found[0], plain, probe_s))
    probed: list[Probed] = []
    left_out: list[str] = []

    def measured(base: EngineConfig, setting: Setting, loaded: LoadedModel) -> Probed:
        probed.append(probe.measure(base, setting, loaded))
        tell(probed[-1])
        return probed[-1]

    for base, setting, loaded in _loaded(plain, [config.model, *others], left_out, begun):
        try:
            if measured(base, setting, loaded).f1 < target:
                continue
            for every_s in _GATES_S:
                if measured(base, replace(setting, full_every_s=every_s), loaded).f1 >= target:
                    break
        finally:
            loaded.backend.close()
    seconds = sum(end - start for start, end in probe.stretches)
    return Planned(found[0].shown, target, seconds, probe.frames, tuple(probed), tuple(dict.fromkeys(left_out)))


def _loaded(
    plain: EngineConfig, models: Sequence[str], left_out: list[str], begun: Callable[[], object]
) -> Iterator[tuple[EngineConfig, Setting, LoadedModel]]:
    """Yield what can be had here of models, precisions and sizes, the strongest first. Who takes it closes it."""
    workers = plain.workers or available_cores()
    strongest = load_model(plain, workers)
    begun()
    own_hw = strongest.shape.model_hw
    yield plain, Setting(plain.model, own_hw), strongest
    for model in dict.fromkeys(models):
        hw: tuple[int, int] | None = own_hw if model == plain.model else None
        for precision in _precisions(plain):
            for share in _SIZES:
                if (model, precision, share) == (plain.model, "f32", 1.0):
                    continue
                changes: dict[str, object] = {"model": model, "precision": precision}
                if model != plain.model:  # what was said of how the first one is fed is not of another
                    changes |= dict.fromkeys(
                        ("layout", "class_names", "input_size", "input_scale", "input_mean", "channel_order")
                    )
                if share != 1.0:
                    if hw is None:
                        break  # it can't be had at its own size
                    changes["input_size"] = _smaller(hw, share)
                try:
                    base = plain.updated(**changes)
                    loaded = load_model(base, workers)
                except (BackendMissing, ConfigError, ModelError) as error:
                    left_out.append(str(error))
                    break
                if share == 1.0 and hw is None:
                    hw = loaded.shape.model_hw
                yield base, Setting(model, loaded.shape.model_hw, precision, own_size=share == 1.0), loaded


def _precisions(config: EngineConfig) -> list[Precision]:
    """Return those that can be expected to pay on this processor, where the configuration leaves it to that."""
    if config.device.startswith("cuda") or config.backend not in ("auto", "openvino"):
        return ["f32"]
    every: tuple[Precision, ...] = ("f32", "bf16", "int8")
    return [each for each in every if processor().pays(each)]


def _smaller(hw: tuple[int, int], share: float) -> tuple[int, int]:
    height, width = (max(_SIZE_STEP, round(side * share / _SIZE_STEP) * _SIZE_STEP) for side in hw)
    return height, width


def _stretches(video: Video, config: EngineConfig, probe_s: float) -> list[tuple[float, float]]:
    """Return where stretches of `probe_s` seconds in all begin and end, in the middle of equal parts of what is asked
    for; where nobody knows how long it is, its beginning."""
    source = Source(video.path, open_timeout_s=config.open_timeout_s, read_timeout_s=config.read_timeout_s)
    try:
        claimed = source.open().duration_s
    except VideoError as error:
        raise VideoError(f"{video.shown} {error}") from error
    finally:
        source.close()
    start, end = config.start_s, config.part_ends_s
    if claimed is not None:
        end = claimed if end is None else min(end, claimed)
    if end is None or end - start <= probe_s:
        return _cut(start, start + probe_s if end is None else max(end, start + _MIN_S), probe_s)
    length, part = probe_s / STRETCHES, (end - start) / STRETCHES
    begins = (start + (number + 0.5) * part - length / 2 for number in range(STRETCHES))
    return [(begin, begin + length) for begin in begins]


def _cut(start: float, end: float, probe_s: float) -> list[tuple[float, float]]:
    """Return equal stretches that follow each other, each as long as those of a longer video, about."""
    count = max(1, min(STRETCHES, round((end - start) / max(probe_s / STRETCHES, _MIN_S))))
    edges = np.linspace(start, end, count + 1).tolist()
    return list(pairwise(edges))


class _Probe:
    """The stretches of one video, as the strongest setting, which is measured first, sees them."""

    def __init__(self, video: Video, stretches: Sequence[tuple[float, float]]) -> None:
        self.stretches = list(stretches)
        self.frames = 0
        self._video = video
        self._classes: tuple[str, ...] = ()
        self._expected: list[dict[int, Detections]] = []

    def measure(self, base: EngineConfig, setting: Setting, loaded: LoadedModel) -> Probed:
        """Run a setting over the stretches. Raises VideoError if that fails."""
        if not self._expected:
            return self._measure_strongest(base, setting, loaded)
        agreed, steps, seconds = Ratio(), 0, 0.0
        for (start, end), expected in zip(self.stretches, self._expected, strict=True):
            seen, took_s = self._run(_with(base, setting, start, end), loaded)
            steps, seconds = steps + max(0, len(seen) - 1), seconds + took_s
            agreed.add(*_agreement(expected, seen))
        low, high = interval(agreed)
        return Probed(setting, agreed.value, low, high, steps / seconds if seconds else 0.0)

    def _measure_strongest(self, base: EngineConfig, setting: Setting, loaded: LoadedModel) -> Probed:
        """Run what all others are compared with. Stretches that are not there go: a header may claim too much."""
        self._classes = tuple(loaded.manifest.classes)
        there, steps, seconds = [], 0, 0.0
        problem = VideoError(f"{self._video.shown} has no frame where plan looks: name another video.")
        for start, end in self.stretches:
            try:
                seen, took_s = self._run(_with(base, setting, start, end), loaded)
            except VideoError as error:
                problem = error
                continue
            if seen:
                there.append((start, end))
                self._expected.append(seen)
                steps, seconds = steps + len(seen) - 1, seconds + took_s
        if not there:
            raise problem
        self.stretches, self.frames = there, sum(map(len, self._expected))
        return Probed(setting, 1.0, 1.0, 1.0, steps / seconds if seconds else 0.0)

    def _run(self, config: EngineConfig, loaded: LoadedModel) -> tuple[dict[int, Detections], float]:
        """Return what is found in each frame, by its number, and the seconds from the first of them to the last: what
        comes before them is opened and passed over."""
        seen: dict[int, Detections] = {}
        times: list[float] = []
        ids = self._numbers(loaded)

        def take(tracks: Tracks) -> None:
            times.append(time.perf_counter())
            assert tracks.detections is not None
            found = tracks.detections.above(config.conf)
            seen[tracks.frame.index] = replace(found, class_ids=ids[found.class_ids])

        engine = Engine(config, model=loaded, audit=False)
        (outcome,) = engine.process([self._video], lambda video: {"callback": (CallbackSink(take), Path())})
        if outcome.status is VideoStatus.FAILED:
            raise VideoError(f"{self._video.shown} {outcome.error}")
        return seen, times[-1] - times[0] if times else 0.0

    def _numbers(self, loaded: LoadedModel) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Return for each class of a model the number that the strongest one has for a class of its name; beyond all
        of those where it has none."""
        known = {name: number for number, name in enumerate(self._classes)}
        names = enumerate(loaded.manifest.classes)
        return np.array([known.get(name, len(known) + number) for number, name in names], np.int32)


def _with(base: EngineConfig, setting: Setting, start: float, end: float) -> EngineConfig:
    gate = {} if setting.full_every_s is None else {"gate": "motion", "full_every_s": setting.full_every_s}
    return base.updated(start_s=start, end_s=None, duration_s=end - start, **gate)


def _agreement(expected: dict[int, Detections], seen: dict[int, Detections]) -> tuple[int, int]:
    """Return boxes of both sides that agree, and all of them, over the frames of a stretch."""
    none = Detections()
    agreeing = boxes = 0
    for index in expected.keys() | seen.keys():
        one, other = expected.get(index, none), seen.get(index, none)
        agreeing += 2 * len(agreeing_pairs(one, other))
        boxes += len(one) + len(other)
    return agreeing, boxes
