"""One video on its way through the pipeline: what its threads share, and how it ended."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import EngineError, SinkError, VideoError, describe_os_error, where
from engine.handoff import Handoff
from engine.inputs import Video
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.base import Sink, discard
from engine.sinks.memory import Tally
from engine.window import Window

log = logging.getLogger(__name__)

# A container may claim a few frames more than it holds; a file that ends before this share of its claim is cut short.
_CUT_SHORT = 0.99


@dataclass
class Outcome:
    """How a video ended. `status` is ok, partial (all that could be read) or failed; `error` says why not ok."""

    key: int
    video: Video
    status: str
    error: str | None
    elapsed_s: float
    tally: Tally
    duration_s: float
    outputs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    dropped: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a video is. `frames_total` is the container's claim, None where it makes none."""

    path: str
    frames: int
    frames_total: int | None
    elapsed_s: float


class StreamRun:
    """Everything that belongs to one video and dies with it."""

    def __init__(self, key: int, video: Video, sinks: dict[str, tuple[Sink, Path]], tally: Tally, window: int) -> None:
        self.key = key
        self.video = video
        self.tally = tally
        self.info: StreamInfo | None = None
        self.window = Window(window)
        self.tracks: Handoff[Tracks | EndOfStream] = Handoff(f"tracks of {video.shown}", window + 1)
        self.stop = threading.Event()
        self.outcome: Outcome | None = None
        self.dropped = 0
        self._sinks = sinks
        self._error: BaseException | None = None
        self._started = time.perf_counter()
        self._opened: list[Sink] = []

    def fail(self, error: BaseException) -> None:
        """The video fails with its first error; its source stops and what is in flight is thrown away."""
        if self._error is None:
            self._error = error
        self.stop.set()

    @property
    def failed(self) -> bool:
        return self._error is not None

    def open_sinks(self, info: StreamInfo) -> None:
        """Opens every sink. Raises SinkError."""
        self.info = info
        for sink, path in self._sinks.values():
            with where(f"sink {sink.kind}", self.video.shown):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise SinkError(f"{path.parent} can't be made: {describe_os_error(error)}") from error
                self._opened.append(sink)
                sink.open(info)

    def write(self, tracks: Tracks) -> None:
        """Gives a frame's tracks to every sink; the first error fails the video."""
        if self.failed:
            return
        try:
            for sink in self._opened:
                sink.write(tracks)
            self.tally.write(tracks)
        except BaseException as error:  # noqa: BLE001 - a sink may run a caller's code; its error belongs to this video
            self.fail(error)

    def finish(self, end: EndOfStream) -> None:
        """Completes or discards the outputs and settles how the video ended."""
        outputs: dict[str, str] = {}
        problems = [*end.problems, *self._cut_short(end)]
        if not self.failed and self.tally.frames == 0 and not end.interrupted:
            self.fail(VideoError("has no frame that can be decoded" + (f" ({problems[0]})" if problems else "")))
        if not self.failed and not (end.interrupted and self.tally.frames == 0):
            outputs = self._commit(end)
        if self.failed or not outputs:
            self._abort()
        self._settle(end, outputs, problems)

    def abandon(self, error: BaseException) -> None:
        """The run failed around this video: discards its outputs."""
        self.fail(error)
        self._abort()
        self._settle(EndOfStream(self.key, self.tally.frames), {}, [])

    def progress(self) -> Progress:
        total = self.info.frames if self.info else None
        return Progress(self.video.shown, self.tally.frames, total, time.perf_counter() - self._started)

    def _commit(self, end: EndOfStream) -> dict[str, str]:
        """Lets the outputs appear, all or none. Those of an interrupted video are valid, but named `.partial`; a later
        run that completes the video takes them away."""
        outputs: dict[str, str] = {}
        try:
            for kind, (sink, path) in self._sinks.items():
                final = partial_path(path) if end.interrupted else path
                sink.commit(end, final)
                outputs[kind] = str(final)
        except BaseException as error:  # noqa: BLE001 - as in write
            self.fail(error)
            for done in outputs.values():
                discard(Path(done))
            return {}
        if not end.interrupted:
            for kind in outputs:
                discard(partial_path(self._sinks[kind][1]))
        return outputs

    def _abort(self) -> None:
        for sink in self._opened:
            try:
                sink.abort()
            except Exception as error:  # it must not hide why the video failed
                log.debug("%s: abort of %s failed", self.video.shown, sink.kind, exc_info=error)

    def _cut_short(self, end: EndOfStream) -> list[str]:
        info = self.info
        if info is None or info.live or end.interrupted:
            return []
        if info.frames and end.frames + end.discarded < _CUT_SHORT * info.frames - 1:
            return [f"ends early: {end.frames} of {info.frames} frames"]
        # Matroska counts its duration from 0, MPEG-TS from its first frame: what is whole in either sense is whole.
        if not info.frames and info.duration_s and self.tally.last_pts_s < _CUT_SHORT * info.duration_s - 2:
            return [f"ends early: {self.tally.last_pts_s:.1f} of {info.duration_s:.1f} seconds"]
        return []

    def _settle(self, end: EndOfStream, outputs: dict[str, str], problems: list[str]) -> None:
        if end.interrupted:
            problems = [f"interrupted after {self.tally.frames} frames", *problems]
        status = "failed" if self.failed else "partial" if problems else "ok"
        reason = _sentence(self._error) if self._error is not None else "; ".join(problems) or None
        notes = [note for sink, _ in self._sinks.values() for note in getattr(sink, "notes", [])]
        duration_s = (self.info.duration_s if self.info else None) or self.tally.last_pts_s
        self.outcome = Outcome(
            self.key,
            self.video,
            status,
            reason,
            time.perf_counter() - self._started,
            self.tally,
            duration_s,
            outputs,
            notes,
            end.interrupted,
            end.dropped,
        )


def partial_path(path: Path) -> Path:
    """a.tracks.jsonl -> a.partial.tracks.jsonl, a.mp4 -> a.partial.mp4. A sink without a file has no name to change."""
    if not path.name:
        return path
    for suffix in (".tracks.jsonl", ".detections.jsonl", ".mot.txt", ".mp4"):
        if path.name.endswith(suffix):
            return path.with_name(f"{path.name.removesuffix(suffix)}.partial{suffix}")
    return path.with_name(f"{path.name}.partial")


def _sentence(error: BaseException) -> str:
    """The reason as it stands in the result. An error that is not the engine's own is named with its type."""
    text = str(error)
    return text if isinstance(error, EngineError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
