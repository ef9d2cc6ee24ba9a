"""How many streams at 30 frames per second one GPU can process, and the latency of their tracks.

Each stream is a file whose packets come when a camera would send them. A frame is late by the time from its packet's
arrival until its tracks exist. A number of streams is sustained if no frame is missing and 95 % of the frames are at
most MAX_LATE_MS late. The largest number is found by doubling and then bisection, and repeated in each round; if a
round fails, with one stream fewer.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from benchmarks.clips import _kept
from benchmarks.gpu.setting import Setting
from benchmarks.record import Row, checked
from engine import Engine
from engine.media.inputs import Video
from engine.media.source import Source
from engine.sinks.memory import CallbackSink

RATE = 30
MAX_LATE_MS = 100.0
# Streams are staggered: each starts a fraction of a frame's duration after the previous one.
APART_S = 1 / RATE / 7


@dataclass
class Arrivals:
    """When each frame's packet arrived, and the latency of its tracks, by stream."""

    came_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    late_ms: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    lock: threading.Lock = field(default_factory=threading.Lock)


class PacedSource(Source):
    """A file that arrives like a camera's stream: a packet every 1 / RATE seconds, however slowly it is read."""

    def __init__(self, path: str, arrivals: Arrivals) -> None:
        super().__init__(path)
        self._arrivals = arrivals
        self._key = 0

    def open(self, key: int = 0) -> Any:
        self._key = key
        return super().open(key)

    def packets(self) -> Iterator[Any]:
        start_s = time.monotonic() + self._key * APART_S
        for number, packet in enumerate(super().packets()):
            due_s = start_s + number / RATE
            time.sleep(max(0.0, due_s - time.monotonic()))
            self._arrivals.came_s[self._key].append(due_s)
            yield packet


class LiveEngine(Engine):
    """An engine whose inputs arrive in real time."""

    arrivals = Arrivals()

    def _source(self, path: str) -> Source:
        return PacedSource(path, self.arrivals)


@dataclass(frozen=True)
class Trial:
    streams: int
    frames: int
    missing: int
    p50_ms: float
    p95_ms: float

    @property
    def sustained(self) -> bool:
        return self.missing == 0 and self.p95_ms <= MAX_LATE_MS


def measure(setting: Setting) -> Iterator[Row]:
    frames = max(1, round(setting.live_s * RATE))
    video = camera_clip(setting.video, frames)
    with setting.engines() as engines:
        for name, engine in engines.items():
            yield row_of(setting, name, engine, video, frames)


def row_of(setting: Setting, name: str, engine: Engine, video: Path, frames: int) -> Row:
    attempt(engine, video, frames, 1)  # warms up
    streams = most_sustained(lambda count: attempt(engine, video, frames, count).sustained, setting.most_streams)
    rounds = setting.context.profile.rounds
    trials: list[Trial] = []
    while len(trials) < rounds:
        trial = attempt(engine, video, frames, max(1, streams))
        if trial.sustained or streams <= 1:
            trials.append(trial)
        else:
            streams, trials = streams - 1, []
    last = trials[-1]
    missing = sum(trial.missing for trial in trials)
    return setting.context.row(
        "live",
        f"{streams} streams at {RATE} fps, {name}" + ("" if streams < setting.most_streams else " (more not tried)"),
        figures={"engine": [trial.p95_ms for trial in trials]},
        unit="ms late, 95 of 100 frames",
        better="lower",
        ours="engine",
        input=f"{video.name}, {frames} frames a stream",
        answer=checked(
            missing == 0,
            "the frames sent",
            f"{last.frames} frames a round, {missing} missing; {MAX_LATE_MS:g} ms are allowed",
            missing=missing,
            p50_ms=last.p50_ms,
        ),
        **setting.told(backend=name, streams=streams, sustained=all(trial.sustained for trial in trials)),
    )


def most_sustained(holds: Any, most: int) -> int:
    """Return the largest number that is sustained, if all below it are; 0 if not even 1 is."""
    good, count = 0, 1
    while count <= most and holds(count):
        good, count = count, count * 2
    bad = min(count, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good


def attempt(engine: Engine, video: Path, frames: int, streams: int) -> Trial:
    """Run this many streams concurrently to their end."""
    arrivals = Arrivals()
    live = LiveEngine(engine.config.updated(streams=streams), model=engine.model)
    live.arrivals = arrivals

    def late(tracks: Any) -> None:
        now_s, key = time.monotonic(), tracks.frame.stream
        with arrivals.lock:
            arrivals.late_ms[key].append((now_s - arrivals.came_s[key][tracks.frame.index]) * 1e3)

    videos = [Video(str(video), PurePosixPath(str(number))) for number in range(streams)]
    live.process(videos, lambda each: {"callback": (CallbackSink(late), Path())})
    found = [each for values in arrivals.late_ms.values() for each in values]
    p50, p95 = np.percentile(found, [50, 95]) if found else (float("inf"), float("inf"))
    expected = frames * streams
    return Trial(streams, expected, expected - len(found), float(p50), float(p95))


def camera_clip(video: Path, frames: int) -> Path:
    """Return the video over and over as a camera would send it: H.264 without B-frames, a key frame each second."""
    return _kept(video, f"camera-{RATE}-{frames}", lambda target: encode(video, target, frames), suffix=".mp4")


def encode(video: Path, target: Path, frames: int) -> None:
    import av

    with av.open(str(target), "w") as out:
        options = {"preset": "superfast", "tune": "zerolatency", "bf": "0", "g": str(RATE)}
        stream, number = None, 0
        while number < frames:
            before = number
            with av.open(str(video)) as source:
                for frame in source.decode(video=0):
                    if number == frames:
                        break
                    if stream is None:
                        stream = out.add_stream("libx264", rate=RATE, options=options)
                        (stream.width, stream.height), stream.pix_fmt = (frame.width, frame.height), "yuv420p"
                    picture = frame.reformat(stream.width, stream.height, "yuv420p")
                    picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, RATE), 0
                    out.mux(stream.encode(picture))
                    number += 1
            if number == before:
                raise ValueError(f"{video.name} has no frames")
        assert stream is not None
        out.mux(stream.encode(None))
