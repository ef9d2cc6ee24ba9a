"""Finds the model, size, precision and gate that reach a target on a user's own video, and the speed of each.

Samples of the video are run in each setting and compared with the strongest one: every frame inferred whole, in
float32, with the model and size of the configuration. Only settings that reach the target without a gate are tried with
one. Whether the strongest setting is right is unknown; measured is how much another one changes.
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
"""Seconds of a video that are sampled."""
STRETCHES = 5
"""The number of samples. Each lasts a little longer than the interval between a gate's whole frames, because the first
frame is not timed."""
_MIN_S = 0.5  # of a sample

# Fractions of the model's own size, and seconds between whole frames, to try.
_SIZES = (1.0, 0.75, 0.5)
_GATES_S = (2.0, 0.5)
_SIZE_STEP = 32


@dataclass(frozen=True)
class Setting:
    """One way to run a video. `input_hw` is the model's input size; `full_every_s` is None without a gate."""

    model: str
    input_hw: tuple[int, int]
    precision: Precision = "f32"
    full_every_s: float | None = None
    own_size: bool = True

    @property
    def options(self) -> str:
        """The command line options for this setting."""
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
    """A measured setting: the F1 at IoU 0.5 of its boxes against the strongest setting's, the 95 % confidence interval
    for the whole video, and frames per second here."""

    setting: Setting
    f1: float
    low: float
    high: float
    fps: float


@dataclass(frozen=True)
class Planned:
    """The result for `target`: `probed` begins with the strongest setting; `best` is the fastest one that reaches the
    target, None if none is faster than the strongest. `left_out` says what could not be tried, and why."""

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
        """The one with the highest F1 among faster settings that miss the target."""
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

    `tell` is called with each measured setting, the strongest first; `begun` is called when the strongest is loaded.
    Raises InputError, VideoError, and the errors of loading the model of `config`; other models or sizes that can't be
    loaded are left out.
    """
    if scheme(video) is not None:
        raise InputError(f"plan runs a video many times and takes a file. Got {without_password(video)}.")
    if len(found := find_videos([video], config.output_folder)) != 1:
        raise InputError(f"plan takes one video. {video} contains {len(found)}.")
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
    """Yield the combinations of model, precision and size that can be loaded here, the strongest first. The caller
    closes them."""
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
                if model != plain.model:  # the input options of the first model don't apply to another
                    changes |= dict.fromkeys(
                        ("layout", "class_names", "input_size", "input_scale", "input_mean", "channel_order")
                    )
                if share != 1.0:
                    if hw is None:
                        break  # not even its own size can be loaded
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
    """Return the precisions expected to be faster on this processor, unless the configuration fixes one."""
    if config.device.startswith("cuda") or config.backend not in ("auto", "openvino"):
        return ["f32"]
    every: tuple[Precision, ...] = ("f32", "bf16", "int8")
    return [each for each in every if processor().pays(each)]


def _smaller(hw: tuple[int, int], share: float) -> tuple[int, int]:
    height, width = (max(_SIZE_STEP, round(side * share / _SIZE_STEP) * _SIZE_STEP) for side in hw)
    return height, width


def _stretches(video: Video, config: EngineConfig, probe_s: float) -> list[tuple[float, float]]:
    """Return (start, end) of samples that last `probe_s` seconds in total, in the middle of equal parts of the
    requested range; if the duration is unknown, its beginning."""
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
    """Return equal consecutive samples, each about as long as those of a longer video."""
    count = max(1, min(STRETCHES, round((end - start) / max(probe_s / STRETCHES, _MIN_S))))
    edges = np.linspace(start, end, count + 1).tolist()
    return list(pairwise(edges))


class _Probe:
    """The samples of one video, with the results of the strongest setting, which is measured first."""

    def __init__(self, video: Video, stretches: Sequence[tuple[float, float]]) -> None:
        self.stretches = list(stretches)
        self.frames = 0
        self._video = video
        self._classes: tuple[str, ...] = ()
        self._expected: list[dict[int, Detections]] = []

    def measure(self, base: EngineConfig, setting: Setting, loaded: LoadedModel) -> Probed:
        """Run a setting over the samples. Raises VideoError if that fails."""
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
        """Run the reference setting. Samples without frames are dropped, because a header may claim too much."""
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
        """Return the detections by frame number, and the seconds from the first frame to the last, without the time for
        opening and skipping."""
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
        """Map each class of a model to the strongest model's class of the same name; to a number beyond all of its
        classes if it has none."""
        known = {name: number for number, name in enumerate(self._classes)}
        names = enumerate(loaded.manifest.classes)
        return np.array([known.get(name, len(known) + number) for number, name in names], np.int32)


def _with(base: EngineConfig, setting: Setting, start: float, end: float) -> EngineConfig:
    gate = {} if setting.full_every_s is None else {"gate": "motion", "full_every_s": setting.full_every_s}
    return base.updated(start_s=start, end_s=None, duration_s=end - start, **gate)


def _agreement(expected: dict[int, Detections], seen: dict[int, Detections]) -> tuple[int, int]:
    """Return the number of agreeing boxes, counting both sides, and of all boxes, over the frames of a sample."""
    none = Detections()
    agreeing = boxes = 0
    for index in expected.keys() | seen.keys():
        one, other = expected.get(index, none), seen.get(index, none)
        agreeing += 2 * len(agreeing_pairs(one, other))
        boxes += len(one) + len(other)
    return agreeing, boxes
