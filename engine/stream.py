"""One video on its way through the pipeline: what its threads share, and how it ended."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from engine.checkpoint import Checkpoint, Checkpoints, State
from engine.errors import EngineError, Fenced, SinkError, Unencodable, VideoError, describe_os_error, where
from engine.handoff import Handoff
from engine.inputs import Video
from engine.metrics import Clock
from engine.opened import OpenedFile
from engine.partial import partial_path, partials_of, publish_partial
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.base import FileSink, Sink, discard
from engine.sinks.memory import Tally
from engine.window import Window

log = logging.getLogger(__name__)

# A container may claim a few frames more than it holds; a file that ends before this share of its claim is cut short.
_CUT_SHORT = 0.99


@dataclass
class Outcome:
    """How a video ended. `status` is ok, partial (all that could be read) or failed; `error` says why not ok.
    `resumed_from` is the frame at which this run went on, 0 where it did the whole video. `unfinished`: it ended for a
    reason not its own, and another run may go on with it."""

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
    resumed_from: int = 0
    unfinished: bool = False


@dataclass(frozen=True)
class Progress:
    """Where a video is. `frames_total` is the container's claim, None where it makes none. `frames` counts from the
    video's beginning: up to `resumed_from` an earlier run did them, and up to `checkpoint_frames` they are kept. `stem`
    is the place of its outputs, by which it is known in the output folder."""

    path: str
    frames: int
    frames_total: int | None
    elapsed_s: float
    stem: str = ""
    checkpoint_frames: int = 0
    resumed_from: int = 0


class StreamRun:
    """Everything that belongs to one video and dies with it.

    `checkpoints` keeps the video's checkpoints; None: there are none, as of a live source. `on_begin` is called before
    the video is opened, `open_file` opens it where it is a file, `fence` is called before its outputs appear; what they
    raise fails the video. Who made the run closes `file`.
    """

    def __init__(
        self,
        key: int,
        video: Video,
        sinks: dict[str, tuple[Sink, Path]],
        tally: Tally,
        window: int,
        *,
        folder: Path | None = None,
        checkpoints: Checkpoints | None = None,
        on_begin: Callable[[], None] = lambda: None,
        open_file: Callable[[], OpenedFile] | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self.key = key
        self.video = video
        self.tally = tally
        self.info: StreamInfo | None = None
        self.window = Window(window)
        self.tracks: Handoff[Tracks | EndOfStream] = Handoff(f"tracks of {video.shown}", window + 1)
        self.stop = threading.Event()
        self.hand_over = False
        self.outcome: Outcome | None = None
        self.dropped = 0
        self.resumed_from = 0
        self._unfinished = False
        self._lost = False
        self.checkpoints = checkpoints
        self._folder = folder
        self.file: OpenedFile | None = None
        self._on_begin = on_begin
        self._open_file = open_file
        self._fence = fence
        self._sinks = dict(sinks)
        self._given_up: dict[str, str] = {}  # kind of output -> why
        self._error: BaseException | None = None
        self._started = time.perf_counter()
        self._opened: list[Sink] = []

    def begin(self) -> None:
        """Tells that the video is begun, opens its file and finds its checkpoint. Raises VideoError, and what
        `on_begin` raises."""
        self._started = time.perf_counter()
        self._on_begin()
        if self.failed:
            raise VideoError("failed before it was begun")
        if self._open_file is not None:
            self.file = self._open_file()
        if self.checkpoints is not None:
            self.checkpoints.input = self.file
            self.checkpoints.begin()
            self.resumed_from = self.checkpoints.saved.frames if self.checkpoints.saved else 0

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint; before the first frame, the one to continue at."""
        return self.checkpoints.saved if self.checkpoints is not None else None

    def fail(self, error: BaseException) -> None:
        """The video fails with its first error; its source stops and what is in flight is thrown away."""
        if self._error is None:
            self._error = error
        self.stop.set()

    @property
    def failed(self) -> bool:
        return self._error is not None

    @property
    def fenced(self) -> bool:
        """Whether another attempt has taken the video over: what is on the disk is that one's."""
        return self._lost or isinstance(self._error, Fenced)

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

    def resume_sinks(self, info: StreamInfo, checkpoint: Checkpoint) -> None:
        """Opens every sink where the checkpoint left it. Raises Misfit and SinkError."""
        self.info = info
        for kind, sink in self._files().items():
            with where(f"sink {kind}", self.video.shown):
                if "lost" in checkpoint.outputs[kind]:
                    self._give_up(kind, Unencodable(checkpoint.outputs[kind]["lost"]))
                    continue
                self._opened.append(sink)
                sink.resume(info, checkpoint.outputs[kind])
        self.tally.restore(checkpoint.tally)

    def start_over(self, why: str) -> None:
        """The checkpoint is of no use: the video is done from its beginning. Raises SinkError and Fenced."""
        assert self.checkpoints is not None
        self._abort()
        self._opened.clear()
        self.resumed_from = 0
        self.checkpoints.start_over(why)

    def write(self, tracks: Tracks, clock: Clock) -> None:
        """Gives a frame's tracks to every sink; the first error fails the video."""
        if self.failed:
            return
        try:
            for sink in tuple(self._opened):
                with self._or_without(sink.kind):
                    sink.write(tracks)
                clock.lap(f"sink {sink.kind}", 1)
            self.tally.write(tracks)
            if self.checkpoints is not None:
                if tracks.state is not None and tracks.frame.mark is not None:
                    self.checkpoints.take(tracks.frame.mark, tracks.state, self.tally.state(), self._states())
                self.checkpoints.settle()
            clock.lap("tally", 1)
        except BaseException as error:  # noqa: BLE001 - a sink may run a caller's code; its error belongs to this video
            self.fail(error)

    def finish(self, end: EndOfStream) -> None:
        """Completes or discards the outputs and settles how the video ended."""
        outputs: dict[str, str] = {}
        problems = [*end.problems, *self._cut_short(end)]
        if not self.failed and self.tally.frames == 0 and not end.interrupted:
            self.fail(VideoError("has no frame that can be decoded" + (f" ({problems[0]})" if problems else "")))
        if not self.failed and end.interrupted and self.checkpoints is not None:
            outputs = self._set_aside()
        elif not self.failed and not (end.interrupted and (self.tally.frames == 0 or self.hand_over)):
            outputs = self._commit(end)
        if self._unfinished and self.checkpoint is not None:
            self._suspend()
        elif self.failed or not outputs:
            self._abort()
        self._settle(end, outputs, problems)

    def abandon(self, error: BaseException) -> None:
        """The run failed around this video: discards its outputs, but what a checkpoint holds stays."""
        self.fail(error)
        self._unfinished = self._error is error
        if self._unfinished and self.checkpoint is not None:
            self._suspend()
        else:
            self._abort()
        self._settle(EndOfStream(self.key, self.tally.frames), {}, [])

    def progress(self) -> Progress:
        kept = self.checkpoint
        return Progress(
            self.video.shown,
            max(self.tally.frames, self.resumed_from),
            self.info.frames if self.info else None,
            time.perf_counter() - self._started,
            str(self.video.stem),
            kept.frames if kept else 0,
            self.resumed_from,
        )

    @contextlib.contextmanager
    def _or_without(self, kind: str) -> Iterator[None]:
        """The rows don't suffer for an annotated video that can't be made: it is given up, and they go on."""
        try:
            yield
        except Unencodable as error:
            self._give_up(kind, error)

    def _give_up(self, kind: str, error: Unencodable) -> None:
        sink, _ = self._sinks.pop(kind)
        self._opened = [each for each in self._opened if each is not sink]
        self._given_up[kind] = str(error)
        log.warning("%s: %s", self.video.shown, error)
        try:
            self._fence()
            if self.checkpoints is not None:
                self.checkpoints.give_up(kind, str(error))
        except BaseException:
            if isinstance(sink, FileSink):
                sink.suspend()  # what is on the disk may be another attempt's
            raise
        sink.abort()
        if not self._sinks:
            self.fail(error)

    def _states(self) -> dict[str, State]:
        """What each output is to be continued at; of one that was given up, that it was."""
        states: dict[str, State] = {}
        for kind, sink in self._files().items():
            with self._or_without(kind):
                states[kind] = sink.mark()
        return {**states, **{kind: partial(dict, lost=why) for kind, why in self._given_up.items()}}

    def _files(self) -> dict[str, FileSink]:
        return {kind: sink for kind, (sink, _) in self._sinks.items() if isinstance(sink, FileSink)}

    def _commit(self, end: EndOfStream) -> dict[str, str]:
        """Lets the outputs appear, all or none. Those of an interrupted video are valid, but named `.partial`; a later
        run that completes the video takes them away."""
        outputs: dict[str, str] = {}
        try:
            for kind, file in self._files().items():
                with self._or_without(kind):
                    file.complete(end)  # what takes long comes before the first file appears
            self._fence()
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
            stale = partials_of(self.video, self._folder) if self._folder is not None else []
            for path in [*stale, *(partial_path(self._sinks[kind][1]) for kind in outputs)]:
                discard(path)
        return outputs

    def _set_aside(self) -> dict[str, str]:
        """Interrupted: makes the last checkpoint and leaves the parts to the next run; unless they are handed over, the
        `.partial` outputs appear too."""
        assert self.checkpoints is not None
        assert self._folder is not None
        self._unfinished = True
        outputs: dict[str, str] = {}
        try:
            for kind, sink in self._files().items():
                with self._or_without(kind):
                    sink.drain()
            self.checkpoints.settle()
            checkpoint = self.checkpoint
            if checkpoint is None:
                return {}
            self.tally.restore(checkpoint.tally)  # what the outputs hold, should a few frames more have been seen
            if not self.hand_over:
                self._fence()
                outputs = {
                    kind: str(path) for kind, path in publish_partial(self.video, self._folder, self.file).items()
                }
        except BaseException as error:  # noqa: BLE001 - as in write
            self.fail(error)
        return outputs

    def _suspend(self) -> None:
        for sink in self._files().values():
            sink.suspend()

    def _abort(self) -> None:
        """Discards the outputs; where another attempt has taken over, they are its own."""
        try:
            self._fence()
        except Exception as error:
            log.debug("%s: not ours to discard", self.video.shown, exc_info=error)
            self._lost = True
        if self.fenced:
            self._suspend()
            return
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
        problems = [*problems, *self._given_up.values()]
        status = "failed" if self.failed else "partial" if problems else "ok"
        reason = _sentence(self._error) if self._error is not None else "; ".join(problems) or None
        notes = [note for sink, _ in self._sinks.values() for note in getattr(sink, "notes", [])]
        notes += self._given_up.values()
        if self.checkpoints is not None:
            notes = [*self.checkpoints.notes, *notes]
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
            self.resumed_from,
            self._unfinished or end.interrupted,
        )


def _sentence(error: BaseException) -> str:
    """The reason as it stands in the result. An error that is not the engine's own is named with its type."""
    text = str(error)
    return text if isinstance(error, EngineError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
