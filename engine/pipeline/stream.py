"""One video in the pipeline: the state that its threads share, and its outcome."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from engine.analytics.ignore import IgnoreRegions
from engine.errors import (
    CheckpointMismatch,
    DrawingStopped,
    EngineError,
    LeaseLost,
    SinkError,
    Unencodable,
    VideoError,
    describe_os_error,
    where,
)
from engine.files.opened import OpenedFile
from engine.inference.plausible import FirstLook
from engine.media.inputs import Video
from engine.pipeline.assignment import Piece
from engine.pipeline.channel import Handoff
from engine.pipeline.facts import gate_note, media_facts
from engine.pipeline.flow_control import Window
from engine.pipeline.groups import GroupRecorder
from engine.pipeline.pieces import Ahead, PieceSink
from engine.pipeline.sequence import Place
from engine.profiling import metrics
from engine.records import Detections, EndOfStream, Frame, StartOfStream, StreamInfo, Tracks
from engine.resume import steps
from engine.resume.attempts import Attempt, identities, made_file
from engine.resume.checkpoint import Checkpoint, Checkpoints, are_there, entry_from
from engine.resume.journal import CarriedJson, MadeFile, Verdict
from engine.resume.partial_outputs import partial_path, partials_of, set_aside
from engine.sinks.base import FileSink, Sink, State
from engine.sinks.memory import Counters
from engine.stages.windows import Opening
from engine.summary import FileJson, MediaJson, SegmentJson, SequenceJson, VideoResult, VideoStatus

if TYPE_CHECKING:
    from engine.analytics import Clock, Scene
    from engine.analytics.heatmap import HeatmapState
    from engine.pipeline.recording import Recording
    from engine.sinks.heatmap import HeatmapSink
    from engine.sinks.scene_overlay import CountsJson

log = logging.getLogger(__name__)

Result = tuple[Frame, Detections | None] | EndOfStream
"""What a stream's tracker gets, in any order: a frame and what was found in it, None if it was not inferred."""


@dataclass
class Outcome:
    """How a video ended. `status` is ok, partial (the readable part) or failed; `error` says why it is not ok.
    `resumed_from` is the frame at which this run resumed, 0 if it processed the whole video; `done_before` counts the
    frames that earlier runs processed. `unfinished`: it ended for an external reason, and another run may resume it.
    `lost`: another attempt has taken over the video, and its result is not reported here. `adopted` is the entry of
    another attempt that had finished the video before this one started. `offset_s` is the container's time at which the
    annotated video starts; None without one. `segments` are those of a live source, and `outputs` the files of the last
    one. `media` is the data needed to track or draw the video again, `objects` the minimum and maximum number of
    objects; None if they were not counted."""

    key: int
    video: Video
    status: VideoStatus
    error: str | None
    elapsed_s: float
    tally: Counters
    duration_s: float
    outputs: dict[str, str] = field(default_factory=dict)
    files: dict[str, FileJson] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    dropped: int = 0
    resumed_from: int = 0
    unfinished: bool = False
    lost: bool = False
    adopted: VideoResult | None = None
    done_before: int = 0
    offset_s: float | None = None
    segments: list[SegmentJson] = field(default_factory=list)
    media: MediaJson | None = None
    objects: tuple[int, int] | None = None
    sequence: SequenceJson | None = None


class Progress(NamedTuple):
    """The progress of a video. `frames_total` is the container's claim, None if it makes none. `frames` counts finished
    frames, those before `resumed_from` by earlier runs. Frames up to `checkpoint_frames` are saved. `stem` is the path
    of its outputs, which identifies it in the output folder."""

    path: str
    frames: int
    frames_total: int | None
    elapsed_s: float
    stem: str = ""
    checkpoint_frames: int = 0
    resumed_from: int = 0


class Watcher(Protocol):
    """Observes the tracks of a stream as they arrive. It never raises and never blocks."""

    def open(self, info: StreamInfo, identity: str | None, state: dict[str, object] | None = None) -> None:
        """Start, or continue from `state`. `identity` is shared by all attempts at these results; None: there are no
        others."""

    def see(self, tracks: Tracks) -> None: ...

    def state(self) -> dict[str, object] | None:
        """Return its state as JSON values, for a checkpoint."""
        ...

    def end(self) -> None: ...


class StreamRun:
    """Everything that belongs to one video and ends with it.

    `attempt` is where its outputs grow, and how they are published; None: the caller owns the sinks. `checkpoints`
    stores the video's checkpoints; None: there are none, as for a live source. `on_begin` is called before the video is
    opened, `open_file` opens it if it is a file; an exception from either fails the video. The creator of the run
    closes `file`. `entry_of` returns an outcome as a summary entry, and is required with an attempt. `recording`
    replaces the sinks if the source proves to be live; its segments have their own attempts. `scene` is what to count
    in it, `place` the file's place in its camera's sequence, and `carried` what it passes on to the next file. `clock`
    returns its wall clock, given the container's creation time. For a video in pieces, `ahead` has the detections of
    others; `piece`: this is a piece, and only its detections are needed, beside what `recorder` is told of it. `draws`:
    its frames are drawn as was noted, and not inferred. `hosted`: its tracker and sinks have no thread of their own;
    whoever has the `turn` gives them its `results`. `ended` gets its end when all is written.
    """

    def __init__(
        self,
        key: int,
        video: Video,
        sinks: dict[str, tuple[Sink, Path]],
        tally: Counters,
        window: int,
        *,
        attempt: Attempt | None = None,
        checkpoints: Checkpoints | None = None,
        recording: Recording | None = None,
        on_begin: Callable[[], None] = lambda: None,
        open_file: Callable[[], OpenedFile] | None = None,
        entry_of: Callable[[Outcome], VideoResult] | None = None,
        scene: Scene | None = None,
        clock: Callable[[str | None], Clock] | None = None,
        place: Place | None = None,
        watch: Watcher | None = None,
        ahead: Ahead | None = None,
        piece: Piece | None = None,
        recorder: GroupRecorder | None = None,
        draws: bool = False,
    ) -> None:
        self.key = key
        self.ahead = ahead
        self.piece = piece
        self.recorder = recorder
        self.draws = draws
        self.video = video
        self.ignore = IgnoreRegions.of(scene)
        self._scene = scene
        self._clock = clock
        self.place = place
        self._watch = watch
        self.carried: CarriedJson | None = None
        self.tally = tally
        self.info: StreamInfo | None = None
        self.expected: int | None = None  # frames to come, as the container claims
        self.window = Window(window)
        self.opening = Opening()
        # The window bounds what waits here, and the decoder of a live source the frames that it dropped.
        self.results: Handoff[Result | StartOfStream] = Handoff(f"results of {video.shown}", sys.maxsize)
        self.ended: Handoff[EndOfStream] = Handoff(f"end of {video.shown}", 1)
        self.hosted = False
        self.turn = threading.Lock()
        self.stop = threading.Event()
        self.hand_over = False
        self.outcome: Outcome | None = None
        self.dropped = 0
        self.resumed_from = 0
        self.done_before = 0
        self._unfinished = False
        self.checkpoints = checkpoints
        self.attempt = attempt
        self.file: OpenedFile | None = None
        self._on_begin = on_begin
        self._open_file = open_file
        self._entry_of = entry_of
        self._sinks = dict(sinks)
        self._given_up: dict[str, str] = {}  # kind of output -> why
        self._made: dict[str, FileJson] = {}  # the finished files by kind
        self.recording = recording
        self._error: BaseException | None = None
        self._look = FirstLook()
        self._started = time.perf_counter()
        self._opened: list[Sink] = []

    def begin(self) -> None:
        """Announce the start of the video, open its file, and find its checkpoint or, if it is already done, its
        outcome. Raises VideoError, and whatever `on_begin` raises."""
        self._started = time.perf_counter()
        self._on_begin()
        if self.failed:
            raise VideoError("failed before it started")
        if self._open_file is not None:
            self.file = self._open_file()
        if self.place is not None:
            self.place.begin()
            self.tally.go_on(self.place.tracks_before())
        if self.checkpoints is not None:
            self.checkpoints.input = self.file
            self.checkpoints.before = self.place.digest if self.place is not None else None
        if self.attempt is not None:
            steps.reached("begin")
            self.attempt.begin()
            if self.attempt.verdict is not None and self._adopts(self.attempt, self.attempt.verdict):
                return
            if self.checkpoints is not None:
                self.checkpoints.begin()
                if (saved := self.checkpoints.saved) is not None:
                    self.resumed_from, self.done_before = saved.frames, saved.tally.frames
            else:
                self.attempt.sweep()
            steps.reached("begun")

    @property
    def folder(self) -> Path | None:
        """The folder in which its outputs grow; None: the caller owns the sinks."""
        return self.attempt.folder.path("") if self.attempt is not None and self.attempt.begun else None

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last checkpoint; before the first frame, the one to resume from."""
        return self.checkpoints.saved if self.checkpoints is not None else None

    def fail(self, error: BaseException) -> None:
        """Fail the video with its first error; its source stops and frames in flight are discarded."""
        if self._error is None:
            self._error = error
        self.stop.set()
        self.opening.close()

    @property
    def waits(self) -> bool:
        """Whether writing a frame may wait for others: for a caller, or for the segments of a live source."""
        return not all(isinstance(sink, FileSink | PieceSink) for sink in self._opened)

    @property
    def failed(self) -> bool:
        return self._error is not None

    def check_size(self, size_wh: tuple[int, int]) -> None:
        """Refuse a video whose frame size does not fit its scene, before any work. Raises VideoError."""
        if self._scene is not None and (problem := self._scene.problem_of(size_wh)):
            raise VideoError(problem)

    def clock_of(self, creation_time: str | None) -> Clock | None:
        """Return the wall clock of its first frame; None if nothing tells it."""
        found = self._clock(creation_time) if self._clock is not None else None
        return found if found is not None and found.start is not None else None

    @property
    def judged(self) -> bool:
        """Whether enough of its boxes were checked to know that the output is read correctly."""
        return self._look.done or self.piece is not None  # for a piece, whoever tracks the video decides

    @property
    def fenced(self) -> bool:
        """Whether another attempt has taken over the video: the files on the disk are that attempt's."""
        return isinstance(self._error, LeaseLost)

    def open_sinks(self, info: StreamInfo) -> None:
        """Open every sink. Raises SinkError."""
        self.info = info
        steps.reached("opened")
        if self._watch is not None:
            self._watch.open(info, self.checkpoints.identity if self.checkpoints is not None else None)
        if not info.live:
            self.recording = None
        if self.recording is not None:
            self._sinks = {self.recording.kind: (self.recording, Path())}
        for sink, path in self._sinks.values():
            with where(f"sink {sink.kind}", self.video.shown):
                self._place(sink, path)
                self._opened.append(sink)
                self._follow(sink)
                sink.open(info)
        steps.reached("sinks opened")

    def resume_sinks(self, info: StreamInfo, checkpoint: Checkpoint) -> None:
        """Open every sink where the checkpoint left it. Raises CheckpointMismatch and SinkError."""
        assert self.checkpoints is not None
        self.info = info
        for kind, (sink, path) in tuple(self._sinks.items()):
            if isinstance(sink, FileSink):
                with where(f"sink {kind}", self.video.shown):
                    if kind not in checkpoint.outputs and kind == "heatmap":  # it is made from the rows then
                        del self._sinks[kind]
                        continue
                    if kind not in checkpoint.outputs:
                        raise CheckpointMismatch(f"the checkpoint contains no {kind}")
                    if "lost" in checkpoint.outputs[kind]:
                        self._drop_output(kind, Unencodable(checkpoint.outputs[kind]["lost"]))
                        continue
                    self._place(sink, path)
                    part = self.checkpoints.part(kind)
                    self._opened.append(sink)
                    self._follow(sink)
                    sink.resume(info, checkpoint.outputs[kind], part)
        self.tally.restore(checkpoint.tally)
        if self._watch is not None:
            self._watch.open(info, self.checkpoints.identity, checkpoint.events)
        self.checkpoints.taken_over()

    def start_over(self, why: str) -> None:
        """Drop a checkpoint that can't be used, and start the video over. Raises SinkError and LeaseLost."""
        assert self.checkpoints is not None
        self._abort()
        self._opened.clear()
        self.resumed_from = self.done_before = 0
        self.checkpoints.start_over(why)

    def write(self, tracks: Tracks, clock: metrics.Clock) -> None:
        """Give a frame's tracks to every sink; the first error fails the video."""
        if self.failed or self._implausible(tracks):
            return
        try:
            for sink in tuple(self._opened):
                try:
                    sink.write(tracks)
                except Unencodable as error:
                    self._drop_output(sink.kind, error)
                clock.lap(f"sink {sink.kind}", 1)
            self.tally.write(tracks)
            if self._watch is not None:
                self._watch.see(tracks)
            if self.checkpoints is not None:
                if tracks.state is not None and tracks.frame.mark is not None:
                    events = self._watch.state() if self._watch is not None else None
                    self.checkpoints.take(tracks.frame.mark, tracks.state, self.tally.state(), self._states(), events)
                self.checkpoints.settle()
            clock.lap("tally", 1)
        except BaseException as error:  # noqa: BLE001 - a sink may run a caller's code; its error belongs to this video
            self.fail(error)

    def idle(self) -> None:
        """Note that a live source sent nothing for a while."""
        if self.recording is not None and not self.failed:
            self.recording.idle()

    def finish(self, end: EndOfStream) -> None:
        """Complete or discard the outputs, and settle the outcome."""
        steps.reached("last frame")
        if self._watch is not None and not (end.interrupted and self.checkpoints is not None):
            self._watch.end()  # else it continues, and so does what is under way
        self._conclude(end)
        outputs: dict[str, str] = {}
        problems = list(end.problems)
        if not self.failed and self.tally.frames == 0 and not end.interrupted:
            self.fail(VideoError("has no frame that can be decoded" + (f" ({problems[0]})" if problems else "")))
        if not self.failed and end.interrupted and self.checkpoints is not None:
            outputs = self._set_aside()
        elif not self.failed and not (end.interrupted and (self.tally.frames == 0 or self.hand_over)):
            outputs = self._commit(end, problems)
        if self._unfinished and self.checkpoint is not None:
            self._suspend()
        elif self.failed or not outputs:
            self._give_up(end)
        self._settle(end, outputs, problems)

    def _implausible(self, tracks: Tracks) -> bool:
        """Return whether the first boxes show that the model's output is misread; the video then fails."""
        try:
            if tracks.detections is not None:
                self._look.see(tracks.detections.signs)
        except EngineError as error:
            self.fail(error)
        return self.failed

    def _conclude(self, end: EndOfStream) -> None:
        """Check a short video by all its frames, once there are no more."""
        if self.failed or end.interrupted:
            return
        try:
            self._look.conclude()
        except EngineError as error:
            self.fail(error)

    def abandon(self, error: BaseException) -> None:
        """Discard the outputs because the run failed around this video; its checkpoint is kept."""
        self.fail(error)
        self._unfinished = self._error is error
        if self._unfinished and self.checkpoint is not None:
            self._suspend()
        else:
            self._give_up(EndOfStream(self.key, self.tally.frames))
        self._settle(EndOfStream(self.key, self.tally.frames), {}, [])

    @property
    def media_so_far(self) -> MediaJson | None:
        """The data on its images and times so far; None before its first frame."""
        return None if self.info is None else media_facts(self.info, self.tally, EndOfStream(self.key, 0))

    def progress(self) -> Progress:
        kept = self.checkpoint
        return Progress(
            self.video.shown,
            max(self.tally.frames, self.done_before),
            self.expected,
            time.perf_counter() - self._started,
            str(self.video.stem),
            kept.frames if kept else 0,
            self.done_before,
        )

    @contextlib.contextmanager
    def _or_without(self, kind: str) -> Iterator[None]:
        """Drop an annotated video that can't be encoded, so that the rows continue without it."""
        try:
            yield
        except Unencodable as error:
            self._drop_output(kind, error)

    def _drop_output(self, kind: str, error: Unencodable) -> None:
        sink, _ = self._sinks.pop(kind)
        self._opened = [each for each in self._opened if each is not sink]
        self._given_up[kind] = str(error)
        log.warning("%s: %s", self.video.shown, error)
        try:
            if self.checkpoints is not None:
                self.checkpoints.give_up(kind, str(error))  # first: until then a checkpoint may name its part
        finally:
            sink.abort()
        if not self._sinks:
            self.fail(error)

    def _states(self) -> dict[str, State]:
        """Return the state from which each output can be resumed; for a dropped output, that it was dropped."""
        states: dict[str, State] = {}
        for kind, sink in self._files().items():
            with self._or_without(kind):
                states[kind] = sink.mark()
        return {**states, **{kind: _lost(why) for kind, why in self._given_up.items()}}

    def _files(self) -> dict[str, FileSink]:
        return {kind: sink for kind, (sink, _) in self._sinks.items() if isinstance(sink, FileSink)}

    def _place(self, sink: Sink, path: Path) -> None:
        """Create the folder that an output needs; it grows in the attempt's folder. Raises SinkError and
        OutputError."""
        if not isinstance(sink, FileSink):
            return
        if self.attempt is not None:
            self.attempt.make_way(path)
            sink.grow_in(self.attempt.folder.path(""))
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{path.parent} can't be made: {describe_os_error(error)}") from error

    def _follow(self, sink: Sink) -> None:
        """Let the heatmap and the drawn counts continue from those of the previous file."""
        if self.place is None:
            return
        if sink.kind == "heatmap":
            cast("HeatmapSink", sink).before = self.place.heatmap_before
        if isinstance(sink, FileSink) and sink.scene is not None:
            sink.scene.before = self.place.counts_before

    def _heatmap_left(self) -> HeatmapState | None:
        """Return the state from which the next file's heatmap continues; None without a heatmap, or if this file has no
        valid one."""
        if self.failed or self.place is None or "heatmap" not in self._sinks:
            return None
        sink, _ = self._sinks["heatmap"]
        return cast("HeatmapSink", sink).left(self.place.offset_us)

    def _counts_left(self) -> CountsJson | None:
        """Return the state from which the counts on the next file's video continue; None as above."""
        video = self._files().get("video")
        return None if self.failed or video is None or video.scene is None else video.scene.left()

    def _adopts(self, attempt: Attempt, verdict: Verdict) -> bool:
        """Return whether another attempt has finished the video, and complete whatever it may have left undone. False
        if its result no longer fits this video. Raises SinkError and LeaseLost."""
        same_end = bool(attempt.job) and attempt.job == verdict.get("job")
        if not same_end and not (self.checkpoints is not None and self.checkpoints.holds(verdict)):
            attempt.disregard()
            return False
        attempt.publish()
        if not are_there(attempt.output, verdict):
            attempt.disregard()
            return False
        entry = entry_from(attempt.output, verdict, self.video.shown)
        self.carried = verdict.get("carried")
        if self.checkpoints is not None:
            self.checkpoints.attempts = verdict.get("attempts", 1)
        if entry.status is not VideoStatus.FAILED:
            self._take_away_partials()
        attempt.leave()
        self.outcome = Outcome(
            self.key,
            self.video,
            entry.status,
            entry.error,
            time.perf_counter() - self._started,
            self.tally,
            entry.duration_s,
            entry.outputs,
            entry.files,
            entry.notes,
            adopted=entry,
        )
        return True

    def _commit(self, end: EndOfStream, problems: list[str]) -> dict[str, str]:
        """Publish the outputs. Those of an interrupted video are valid, but named `.partial`; a later run that
        completes the video removes them."""
        paths = {kind: partial_path(path) if end.interrupted else path for kind, (_, path) in self._sinks.items()}
        outputs = {kind: str(path) for kind, path in paths.items()}
        try:
            if self.attempt is None:
                for kind, (sink, _) in self._sinks.items():
                    sink.commit(end, paths[kind])
                return outputs
            if self.recording is not None:
                self.recording.commit(end, Path())
                outputs = self.recording.outputs
            made: dict[str, MadeFile] = {}
            files = self._files()
            with ThreadPoolExecutor(max(1, len(files)), "complete") as pool:  # most wait for the disk
                found = {kind: pool.submit(self._completed, sink, end, paths[kind]) for kind, sink in files.items()}
                for kind in files:
                    with self._or_without(kind):
                        made[kind] = found[kind].result()
                    steps.reached("an output complete")
            if self.failed:
                return {}
            outputs = {kind: path for kind, path in outputs.items() if kind in self._sinks}
            self._made = identities(made)
            self._settle(end, outputs, problems)
            self.attempt.commit(self._verdict(made))
            self.attempt.publish()
            steps.reached("published")
            if not end.interrupted and self.recording is None:
                self._take_away_partials()
            self.attempt.sweep()
            self.attempt.tidy()
        except DrawingStopped as error:  # the notes are there, and another run continues with them
            self._unfinished = True
            self.fail(error)
            return {}
        except BaseException as error:  # noqa: BLE001 - as in write
            self.fail(error)
            return {}
        return outputs

    def _completed(self, sink: FileSink, end: EndOfStream, path: Path) -> MadeFile:
        """Complete an output, and return what it is. Touches nothing else of the video: others are completed
        meanwhile."""
        assert self.attempt is not None
        return made_file(sink.complete(end), path.relative_to(self.attempt.output))

    def _verdict(self, made: dict[str, MadeFile]) -> Verdict:
        assert self.outcome is not None
        assert self._entry_of is not None
        verdict: Verdict = {"entry": self._entry_of(self.outcome).to_json(), "made": made}
        if self.checkpoints is not None:
            verdict = self.checkpoints.judge(verdict)
        if self.place is not None and self.info is not None and (media := self.outcome.media) is not None:
            end_s = media["examined_s"][1]
            left = self._heatmap_left(), self._counts_left()
            self.carried = self.place.leave(self.tally.left(), *left, self.info.time_base, end_s)
            verdict["carried"] = self.carried
        return verdict

    def _give_up(self, end: EndOfStream) -> None:
        """Publish nothing of this attempt. That the video failed by itself is also a verdict and holds for all
        attempts; it is not recorded if another attempt has taken over the video."""
        attempt = self.attempt
        if self.failed and not self._unfinished and attempt is not None and attempt.begun and attempt.verdict is None:
            self._settle(end, {}, [])
            try:
                attempt.commit(self._verdict({}))
                attempt.publish()  # nothing; but it tells whether another has begun it again
            except LeaseLost as error:
                self._error = error
            except VideoError as error:  # a full disk: it has failed all the same
                log.debug("%s: its failure can't be kept", self.video.shown, exc_info=error)
        self._abort()

    def _take_away_partials(self) -> None:
        """Remove what interrupted runs left, because the complete outputs exist; but not if a later run has started
        again."""
        assert self.attempt is not None
        found = partials_of(self.video, self.attempt.output)
        found += [partial_path(path) for _, path in self._sinks.values() if path.name]
        if self.attempt.stands:
            for path in found:
                self.attempt.take_away(path)

    def _set_aside(self) -> dict[str, str]:
        """End as interrupted: write the last checkpoint and leave the parts to the next run. Unless the video is handed
        over, also publish the `.partial` outputs, which are returned."""
        assert self.checkpoints is not None
        assert self.attempt is not None
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
                files = {
                    kind: (path, checkpoint.outputs[kind]["offset"], self.attempt.part(path))
                    for kind, (sink, path) in self._sinks.items()
                    if isinstance(sink, FileSink) and "apart" not in checkpoint.outputs[kind]
                }
                outputs = {kind: str(path) for kind, path in set_aside(self.file, self.attempt, files).items()}
        except BaseException as error:  # noqa: BLE001 - as in write
            self.fail(error)
        return outputs

    def _suspend(self) -> None:
        for sink in self._files().values():
            sink.suspend()

    def _abort(self) -> None:
        """Discard unpublished outputs; if another attempt has taken over, it continues from there."""
        if self.attempt is not None and self.attempt.verdict is not None and self.attempt.verdict["made"]:
            return  # whoever comes next lets appear what has not yet
        if self.fenced:
            self._suspend()
            if self.recording is not None:
                self.recording.abort()  # its segments are nobody else's
            return
        for sink in self._opened:
            try:
                sink.abort()
            except Exception as error:  # it must not hide why the video failed
                log.debug("%s: abort of %s failed", self.video.shown, sink.kind, exc_info=error)

    def _settle(self, end: EndOfStream, outputs: dict[str, str], problems: list[str]) -> None:
        if end.interrupted:
            problems = [f"interrupted after {self.tally.frames} frames", *problems]
        problems = [*problems, *self._given_up.values()]
        status = VideoStatus.PARTIAL if problems else VideoStatus.OK
        if self.failed:
            status = VideoStatus.FAILED
        reason = _sentence(self._error) if self._error is not None else "; ".join(problems) or None
        notes = [note for sink, _ in self._sinks.values() for note in getattr(sink, "notes", [])]
        notes = [*end.notes, *notes, *self._given_up.values()]
        if self.tally.non_finite:
            notes.append(
                f"the model gave {self.tally.non_finite:,} values that are not finite numbers; they are ignored"
            )
        if (told := gate_note(self.tally)) is not None:
            notes.append(told)
        if self.place is not None:
            notes += self.place.notes()
        if self.attempt is not None:
            notes = [*self.attempt.notes, *notes]
        if self.checkpoints is not None:
            notes = [*self.checkpoints.notes, *notes]
        claimed_s = self.info.duration_s if self.info is not None and not end.retimed else None
        segments: list[SegmentJson] = []
        if self.recording is not None and self.info is not None:
            outputs, segments = self.recording.outputs, self.recording.entries()
        self.outcome = Outcome(
            self.key,
            self.video,
            status,
            reason,
            time.perf_counter() - self._started,
            self.tally,
            claimed_s or self.tally.span_s,
            outputs,
            {kind: each for kind, each in self._made.items() if kind in outputs},
            notes,
            end.interrupted,
            end.dropped,
            self.resumed_from,
            self._unfinished or end.interrupted,
            self.fenced,
            done_before=self.done_before,
            offset_s=self._files()["video"].offset_s if "video" in outputs and self.recording is None else None,
            segments=segments,
            media=media_facts(self.info, self.tally, end) if self.info is not None else None,
            objects=self.tally.objects if outputs else None,
            sequence=self.place.facts(self.tally.continued) if self.place is not None else None,
        )


def _lost(why: str) -> State:
    """Return a checkpoint's entry for an output that was dropped."""
    return lambda: {"lost": why}


def _sentence(error: BaseException) -> str:
    """Return the reason as the result states it. A foreign error is named with its type."""
    text = str(error)
    return text if isinstance(error, EngineError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
