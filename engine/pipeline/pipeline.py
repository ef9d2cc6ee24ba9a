"""The pipeline: threads, the queues between them, and the one place where they start, fail and stop.

    decoders (one per stream) --frames--> workers: batch, preprocess, infer, postprocess
    workers --results of each stream--> its tracker and sinks
    tracker --frames between two that disagree--> workers

Where there is a worker for each core, a stream's tracker and sinks have no thread of their own: the worker that brings
a result takes it on, with all that others bring meanwhile, and those go on at once. A thread that is woken for each
frame often waits behind a worker while another core is idle, since the system moves it too late; and a frame is in the
cache of the core that inferred it. They have a thread where there are fewer workers, where a card computes, which is to
get its next batch at once, where results come in batches, of which one stream would wait for another, and where a sink
may wait: for a caller's code, or the segments of a live source. For the same reasons, workers then decode as well: when
few frames of a stream are in flight, its decoder is queued in front of all frames, and who takes it decodes some. It
stays on a thread of its own if it may wait for something else: a network, or the gate for its audit. A frame whose
detections are known needs no inference: who decodes takes it on.

A frame enters its stream's window when it is decoded and leaves it when its sinks have it, so memory is bounded
whatever the queues hold. An EndOfStream follows the last frame of each stream all the way.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import av

from engine.errors import BackendError, CheckpointMismatch, EngineError, NotFinite, VideoError, where
from engine.files.opened import OpenedFile
from engine.media.source import Source
from engine.pipeline.batch import Batcher
from engine.pipeline.channel import Closed, Handoff
from engine.pipeline.feed import Feed
from engine.pipeline.pieces import key_of
from engine.pipeline.reader import LARGE, ReaderSettings, StreamReader
from engine.pipeline.stream import Outcome, Progress, Result, StreamRun
from engine.profiling.metrics import DRAIN, IDLE, INPUT, ROOM, Clock, Metrics
from engine.profiling.thread_usage import Usage
from engine.records import Detections, EndOfStream, Frame, FrameBatch, StartOfStream, StreamInfo, TrackerState, Tracks
from engine.resume.checkpoint import Checkpoint
from engine.stages.decode import frame_bytes
from engine.stages.infer import Runner
from engine.stages.postprocess import Postprocess
from engine.stages.track import Track

log = logging.getLogger(__name__)

_TICK_S = 0.1
_IDLE_S = 1.0

_MIN_LIVE = 2

# Frames that a worker decodes at once: each time it turns to decoding, its caches fill anew.
_BURST = 3

# Where frames don't gather, since their detections are known, other streams have their turn after so many.
_LONG_BURST = 64

# Dropped frames of a live source, which are in no window, while its sink stands still: minutes of them. Then the source
# has to wait.
_MAX_LOST = 10_000


class Stages:
    """The stages that all streams share."""

    def __init__(self, runner: Runner, postprocess: Postprocess, track: Track) -> None:
        self.runner = runner
        self.postprocess = postprocess
        self.track = track


class Pipeline:
    """Runs videos through the stages. Single use: `run` once, `stop` from anywhere.

    streams  videos decoded in parallel
    workers  threads that each turn batches of frames into detections
    window   maximum frames of a stream in flight
    hosts    whether workers decode, track and write as well: there is one for each core, and each brings one result
             at a time
    reader   how each stream is read
    """

    def __init__(
        self,
        stages: Stages,
        *,
        shape_of: Callable[[av.VideoFrame], tuple[int, int]],
        open_source: Callable[[str], Source],
        batch: int,
        streams: int,
        workers: int,
        window: int,
        hosts: bool = False,
        reader: ReaderSettings | None = None,
    ) -> None:
        self.metrics = Metrics()
        self.window = window
        self._stages = stages
        self._open_source = open_source
        self._streams = streams
        self._workers = workers
        self._hosts = hosts
        self._reader = reader or ReaderSettings()
        # A stream's frames, its end, and its decoder.
        self._frames: Handoff[Frame | EndOfStream | Feed] = Handoff("frames", streams * (window + 2))
        self._batcher = Batcher(self._frames, batch, shape_of)
        self._active: dict[int, StreamRun] = {}
        self._feeds: dict[int, Feed] = {}
        self._outcomes: list[Outcome] = []
        # Reentrant: a signal handler calls `stop` on the thread that may just be inside `progress`.
        self._lock = threading.RLock()
        # Of its own: the next video may be long in coming.
        self._turn = threading.Lock()
        self._large = threading.Lock()
        self._hand_over = False
        self._stopping = threading.Event()
        self._fatal: Exception | None = None

    def run(
        self,
        runs: Iterable[StreamRun],
        tick: Callable[[list[Progress]], None] | None = None,
        ended: Callable[[StreamRun], object] | None = None,
    ) -> list[Outcome]:
        """Process every video and return the outcomes, ordered by key. `tick` is called while waiting, `ended` on the
        video's own thread once its outcome is known. `runs` is iterated by one of these threads at a time.

        The failure of one video does not affect the others. A failure of inference ends the run: unfinished videos are
        returned as failed. An exception from `tick` also ends the run, and is raised here; no thread outlives the run.
        """
        queue = iter(runs)
        slots: list[threading.Thread] = []
        workers: list[threading.Thread] = []
        self.metrics.start()
        try:
            self._start("worker", self._workers, self._work, workers)
            self._start("decode", self._streams, lambda clock: self._slot(queue, ended, clock), slots)
            while alive := [thread for thread in slots if thread.is_alive()]:
                alive[0].join(_TICK_S)
                if tick is not None:
                    tick(self.progress())
        except BaseException:
            self._fail(VideoError("the run was aborted"))
            raise
        finally:
            self._frames.close()
            for thread in slots + workers:
                thread.join()
            self.metrics.stop()
        for run in queue:
            run.abandon(self._fatal or VideoError("interrupted before it started"))
            self._outcomes.append(_outcome(run))
        return sorted(self._outcomes, key=lambda outcome: outcome.key)

    def stop(self, *, hand_over: bool = False) -> None:
        """End every stream after its current frame and start no other. Returns at once. `hand_over`: unfinished videos
        keep only their checkpoint, for another run to resume."""
        self._hand_over |= hand_over
        self._stopping.set()
        with self._lock:
            for run in self._active.values():
                run.hand_over = self._hand_over
                run.stop.set()

    def progress(self) -> list[Progress]:
        with self._lock:
            return [run.progress() for run in self._active.values()]

    def usage(self) -> Usage:
        """Return how the threads spent their time."""
        with self._lock:
            videos = len(self._outcomes) + len(self._active)
        return self.metrics.usage(streams=self._streams, workers=self._workers, videos=videos)

    def statuses(self) -> dict[str, int]:
        """Return how many videos have ended, by status."""
        with self._lock:
            return dict(Counter(outcome.status.value for outcome in self._outcomes))

    def queues(self) -> dict[str, int]:
        """Return how many records wait for the workers, and for the trackers and sinks of all streams."""
        with self._lock:
            results = sum(len(run.results) for run in self._active.values())
        return {"frames": len(self._frames), "results": results}

    # -- threads --------------------------------------------------------------------------------------------------

    def _start(self, name: str, count: int, target: Callable[[Clock], None], started: list[threading.Thread]) -> None:
        """Start threads and add each to `started`, so that they can be joined even if a later one can't start."""

        def guarded() -> None:
            try:
                with self.metrics.clock(name) as clock:
                    target(clock)
            except Closed:
                pass
            except BaseException as error:  # whatever it is, the others must not wait for this one
                log.debug("%s thread failed", name, exc_info=error)
                self._fail(error)

        for i in range(count):
            thread = threading.Thread(target=guarded, name=f"{name}-{i}", daemon=True)
            thread.start()
            started.append(thread)

    def _slot(self, queue: Iterator[StreamRun], ended: Callable[[StreamRun], object] | None, clock: Clock) -> None:
        """Process one video after the other, waiting for its sinks each time."""
        while not self._stopping.is_set():
            with self._turn:
                run = None if self._stopping.is_set() else next(queue, None)
            clock.lap(IDLE)
            if run is None:
                return
            with self._lock:
                self._active[run.key] = run
            log.info("%s: begun", run.video.shown, extra={"video": run.video.shown})
            try:
                run.begin()
                if run.outcome is None:
                    self._one(run, clock)
            except Closed:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever a file brings about stays with that file
                run.fail(error)
            if run.outcome is None:
                run.abandon(self._fatal or VideoError("the run was aborted"))
            outcome = _outcome(run)
            _log(outcome)
            try:
                if ended is not None:
                    ended(run)
            finally:
                with self._lock:
                    del self._active[run.key]
                    self._outcomes.append(outcome)
            clock.lap("finish")

    def _one(self, run: StreamRun, clock: Clock) -> None:
        source = self._open_source(run.video.path)
        source.file = run.file
        try:
            if self._stopping.is_set():
                run.hand_over = self._hand_over
                run.stop.set()
            self._feed(run, source, clock)
        finally:
            source.close()

    def draw(self, run: StreamRun) -> Outcome:
        """Draw pieces of a video on this thread, within the run of that video, and return the outcome."""
        with self._lock:
            self._active[run.key] = run
        try:
            run.begin()
            with Metrics().clock("draw") as clock:
                self._one(run, clock)
        except BaseException as error:  # noqa: BLE001 - as in _slot
            run.fail(error)
        finally:
            with self._lock:
                del self._active[run.key]
        if run.outcome is None:
            run.abandon(VideoError("the run was aborted"))
        if run.file is not None:
            run.file.close()
        return _outcome(run)

    def _draw(self, run: StreamRun, source: Source, clock: Clock) -> None:
        """Decode pieces of a video into their sink, on this thread."""
        part = run.piece
        begins = 0.0 if part is None else part.start_s
        settings = self._reader._replace(start_s=begins, end_s=None if part is None else part.end_s)
        with where("source", run.video.shown):
            reader = StreamReader(source, run, settings)
            reader.open()
            if part is not None:
                reader.go_to_piece()
        run.open_sinks(reader.info)
        for frame in reader.frames(clock.lap):
            run.write(Tracks.none_of(frame), clock)
            if run.failed:
                break
        run.finish(reader.end())

    def _feed(self, run: StreamRun, source: Source, clock: Clock) -> None:
        """Decode a video into the pipeline, including its end, and wait until its sinks are done."""
        if run.draws:
            self._draw(run, source, clock)
            return
        with where("source", run.video.shown):
            part = run.piece
            settings = self._reader if part is None else self._reader._replace(start_s=part.start_s, end_s=part.end_s)
            reader = StreamReader(source, run, settings)
            reader.open()
        with self._alone_if_large(run, reader):
            self._read(run, reader, clock)

    def _alone_if_large(self, run: StreamRun, reader: StreamReader) -> contextlib.AbstractContextManager[object]:
        """Hold a stream of large images until no other such stream is being decoded, or it is stopped."""
        if reader.info.live or not self._is_large(reader.picture_bytes):
            return contextlib.nullcontext()
        while not self._large.acquire(timeout=_TICK_S):
            if run.stop.is_set() or self._fatal is not None:
                return contextlib.nullcontext()  # nothing more of it is decoded
        return contextlib.closing(_Held(self._large))

    def _read(self, run: StreamRun, reader: StreamReader, clock: Clock) -> None:
        with where("source", run.video.shown):
            reader.survey()
            reader.look_back()
        if run.checkpoint is not None:
            self._continue(run, reader, run.checkpoint)
        if run.checkpoint is None:
            with where("source", run.video.shown):
                if run.piece is None:
                    reader.go_to_start()
                else:
                    reader.go_to_piece()
            run.open_sinks(reader.info)
        run.hosted = self._hosts and not reader.info.live and not run.waits
        feed = self._feeds[run.key] = Feed(run, reader, pauses=self._may_pause(run))
        sink: list[threading.Thread] = []
        try:
            if not run.hosted:
                self._start("sink", 1, lambda clock: self._sink(run, clock), sink)
            clock.lap("open")
            if feed.pauses:
                self._frames.put_first(feed)
            else:
                self._decode(feed, clock)
            end = run.ended.get()
        finally:
            with feed.turn:  # nobody decodes any more
                del self._feeds[run.key]
            run.results.close(discard=True)
            for thread in sink:
                thread.join()
            with run.turn:  # nobody writes any more
                clock.lap(DRAIN)
        with where("sink", run.video.shown):
            run.finish(end)

    def _may_pause(self, run: StreamRun) -> bool:
        """Return whether workers may decode a stream: its decoder waits for nothing but a file on a disk."""
        waits = self._reader.gate is not None or (self._reader.both and self._reader.between)
        return run.hosted and type(run.file) is OpenedFile and not waits

    def _decode(self, feed: Feed, clock: Clock) -> None:
        """Decode the next frames of a stream into the pipeline, and its end if these are the last."""
        with feed.turn:
            if feed.run.key not in self._feeds:  # the run was aborted
                return
            feed.clock = clock
            try:
                if not self._burst(feed, clock):
                    return
            except Closed:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever a file brings about stays with that file
                feed.run.fail(error)  # the end follows all the same, behind the frames in flight
            self._end(feed)

    def _burst(self, feed: Feed, clock: Clock) -> bool:
        """Decode all frames, or until a feed that pauses is to rest or to let other streams go first. Return whether
        the stream has no more."""
        run, info, pauses = feed.run, feed.reader.info, feed.pauses
        decoded = 0
        while not (pauses and self._rests(run)):
            if pauses and decoded == _LONG_BURST:
                self._frames.put(feed)
                return False
            if (frame := feed.next()) is None:
                return True
            decoded += 1
            if not feed.begun:
                self._start_tracking(run, info, frame)
            feed.begun = True
            large = self._narrow(run, frame, live=info.live)
            if large and pauses and self._rests(run):  # a worker must not wait for others here
                feed.give_back(frame)
                return False
            if info.live:
                self._put_live(run, frame)
            elif run.window.enter(held=0 if frame.plan is None else frame.plan.held):
                self._pass_on(run, frame, clock)
                if frame.plan is not None and frame.plan.probed:
                    self._frames.put(probe_of(frame))
            else:
                raise Closed(run.video.shown)
            del frame  # while the next is decoded, it is held by those alone who still work on it
            if large and not (info.live or pauses):
                run.window.wait_for_room()
        return False

    def _end(self, feed: Feed) -> None:
        """Have a stream's end follow its frames; if it can't be told, as its file can't be looked at any more, give the
        stream up."""
        try:
            end = feed.reader.end()
        except BaseException as error:  # noqa: BLE001 - as in _decode
            feed.run.fail(error)
            feed.run.ended.close()
        else:
            self._frames.put(end)

    def _rests(self, run: StreamRun) -> bool:
        """Return whether enough frames of a stream are in flight, so that its decoder rests until fewer are than all
        streams together need to keep the workers busy."""
        few = math.ceil(1.5 * self._workers / max(1, len(self._feeds)))
        return run.window.rest(few + _BURST, few)

    def _leave(self, run: StreamRun) -> None:
        """Make room in a stream's window, and have its decoder go on if it has paused."""
        if run.window.leave() and (feed := self._feeds.get(run.key)) is not None:
            self._frames.put_first(feed)

    def _pass_on(self, run: StreamRun, frame: Frame, clock: Clock) -> None:
        """Queue a frame for inference, or for the tracker where its detections are known."""
        if frame.recalled is None:
            self._frames.put(frame)
            return
        with self._lock:
            if run.ahead is not None:
                run.ahead.used += 1
        clock.lap(ROOM)
        self._give((frame, self._regarded(frame, frame.recalled.detections)), clock)

    def _start_tracking(self, run: StreamRun, info: StreamInfo, frame: Frame) -> None:
        """Announce, before a stream's first frame, where it starts and with which tracker, if not from the beginning
        with a new one."""
        track = self._stages.track
        tracker = run.place.tracker(track, frame, info) if run.place is not None else None
        if tracker is not None or frame.index:  # a beginning is passed over
            run.results.put(StartOfStream(run.key, frame.index, tracker or track.fresh()))

    def keep_state(self, key: int, state: TrackerState) -> None:
        """Keep a stream's tracker after its last frame, for the next file of its camera."""
        with self._lock:
            run = self._active.get(key)
        if run is not None and run.place is not None:
            run.place.state = state

    def infer_again(self, frame: Frame) -> None:
        """Have a frame inferred whole that was not, before all others: its stream waits for it. Its image is in the
        stream's window, so that this takes no more memory and needs no room."""
        with contextlib.suppress(Closed):  # the run has ended
            self._frames.put_first(probe_of(frame))

    def open_gate(self, key: int, stretch: int, level: int) -> None:
        """Tell a stream's decoder how far its gate is open after a window of the audit."""
        with self._lock:
            run = self._active.get(key)
        if run is not None:
            run.opening.tell(stretch, level)

    def _narrow(self, run: StreamRun, frame: Frame, *, live: bool) -> bool:
        """Admit large frames one by one, so that the bytes in flight are bounded whatever the images' size. Return
        whether the frame is a large one."""
        image = frame.image
        if image is None or not self._is_large(size := frame_bytes(image.format.name, image.width, image.height)):
            return False
        # A live source does not wait: it would lose each frame that comes while another is worked on.
        run.window.narrow(max((self._reader.max_frame_bytes or 0) // size, _MIN_LIVE if live else 1))
        return True

    def _is_large(self, size: int) -> bool:
        return self._reader.max_frame_bytes is not None and size > LARGE * self._reader.max_frame_bytes

    def _put_live(self, run: StreamRun, frame: Frame) -> None:
        """Queue a frame of a live source without waiting: the oldest queued frame makes room for it."""
        if not run.window.enter(wait=False):
            oldest = self._frames.drop_oldest(lambda queued: isinstance(queued, Frame) and queued.stream == run.key)
            run.dropped += 1
            victim = frame if oldest is None else oldest
            assert isinstance(victim, Frame)
            victim.image, victim.audio = None, ()
            while len(run.results) > _MAX_LOST and not run.stop.wait(_TICK_S):
                pass
            run.results.put((victim, None))
            if oldest is None:
                return
        self._frames.put(frame)

    def _continue(self, run: StreamRun, reader: StreamReader, checkpoint: Checkpoint) -> None:
        """Resume reader, tracker and sinks from a checkpoint. If one of them can't, the video is started over."""
        try:
            try:
                tracker = self._stages.track.restored(checkpoint.tracker)
            except ValueError as error:
                raise CheckpointMismatch(f"the tracker's state can't be used: {error}") from error
            if not reader.go_to(checkpoint.mark):
                raise CheckpointMismatch("the video decodes to different frames than before the checkpoint")
            run.resume_sinks(reader.info, checkpoint)
            seen = checkpoint.tally.agreements
            if seen is not None:
                run.opening.tell(seen.stretch, seen.level)
            known = checkpoint.tracker
            run.results.put(StartOfStream(run.key, checkpoint.frames, tracker, known.filled, seen, known.reported))
        except CheckpointMismatch as why:
            run.start_over(str(why))
            reader.open()

    def _work(self, clock: Clock) -> None:
        while True:
            taken = self._batcher.take()
            clock.lap(INPUT)
            if isinstance(taken, Feed):
                self._decode(taken, clock)
                clock.lap(ROOM)
                del taken
                continue
            results: deque[Result] = deque()
            if isinstance(taken, FrameBatch):
                if (left := self._not_known(taken, results, clock)) is not None:
                    self._infer(left, results, clock)
                del left
            else:
                results.append(taken if isinstance(taken, EndOfStream) else (taken, None))
            del taken  # or images would be held here that the sinks are done with
            while results:
                self._give(results.popleft(), clock)
            clock.lap(ROOM)

    def _not_known(self, batch: FrameBatch, results: deque[Result], clock: Clock) -> FrameBatch | None:
        """Add the results of the frames whose images others have already inferred, and return the rest."""
        if all(frame.known is None for frame in batch.frames):
            return batch
        left = []
        for frame in batch.frames:
            found = None
            if frame.known is not None and not self._stages.postprocess.looks_at(frame):
                assert frame.image is not None
                frame.key = key_of(frame.image)
                found = frame.known.get(frame.key)
            if found is None:
                left.append(frame)
                continue
            with self._lock:
                run = self._active.get(frame.stream)
                if run is not None and run.ahead is not None:
                    run.ahead.used += 1
            results.append((frame, self._regarded(frame, found)))
        clock.lap("recall", len(batch.frames) - len(left))
        return FrameBatch(left, batch.tensor_hw) if left else None

    def _infer(self, batch: FrameBatch, results: deque[Result], clock: Clock) -> None:
        """Add the results of a batch."""
        stages, frames = self._stages, len(batch.frames)
        try:
            found = stages.postprocess.process(stages.runner.run(batch, clock.lap))
        except (VideoError, NotFinite) as error:
            self._reject(batch, error, results, clock)
            return
        results += [
            (frame, self._regarded(frame, detections)) for frame, detections in zip(batch.frames, found, strict=True)
        ]
        clock.lap("postprocess", frames)

    def _regarded(self, frame: Frame, found: Detections) -> Detections:
        """Return the detections that are not in regions ignored by the video's scene."""
        run = self._active.get(frame.stream)
        if run is None or run.ignore is None:
            return found
        if frame.recalled is not None:
            return run.ignore.filtered(found, frame.recalled.size_wh)
        return found if frame.image is None else run.ignore.filtered(found, (frame.image.width, frame.image.height))

    def _reject(self, batch: FrameBatch, error: VideoError | NotFinite, results: deque[Result], clock: Clock) -> None:
        """Fail the video whose frame or output can't be read. Frames of other streams are processed one by one."""
        if len(batch.frames) > 1:
            for frame in batch.frames:
                self._infer(FrameBatch([frame], batch.tensor_hw), results, clock)
            return
        frame = batch.frames[0]
        with self._lock:
            run = self._active.get(frame.stream)
        if run is None:  # it was given up
            return
        error.frame = frame.index
        run.fail(error)
        frame.image = None
        if not frame.probe:
            self._leave(run)
        results.append((frame, None))

    def _give(self, result: Result, clock: Clock) -> None:
        """Pass a result on to its stream's tracker and sinks, and take it on where they have no thread."""
        run = self._active.get(result.stream if isinstance(result, EndOfStream) else result[0].stream)
        if run is None:
            return
        with contextlib.suppress(Closed):  # it was given up
            run.results.put(result)
            del result
            # Who finds another thread at it leaves the result to that one, which looks once more after its turn.
            while run.hosted and len(run.results) and run.turn.acquire(blocking=False):
                try:
                    while len(run.results):
                        self._follow(run, run.results.get(), clock)
                except Closed:
                    raise
                except BaseException as error:  # whatever it is, it is no fault of the record that this thread brought
                    log.debug("tracking failed", exc_info=error)
                    self._fail(error)
                    raise Closed(run.video.shown) from error
                finally:
                    run.turn.release()

    def _sink(self, run: StreamRun, clock: Clock) -> None:
        while self._follow(run, self._next_result(run, clock), clock):
            pass

    def _next_result(self, run: StreamRun, clock: Clock) -> Result | StartOfStream:
        while True:
            try:
                return run.results.get(_IDLE_S if run.recording is not None else None)
            except TimeoutError:
                run.idle()
            finally:
                clock.lap(INPUT)

    def _follow(self, run: StreamRun, result: Result | StartOfStream, clock: Clock) -> bool:
        """Track a stream's next result, write what is then in order, and return whether more is to come."""
        track = self._stages.track
        if isinstance(result, StartOfStream):
            track.start(result)
            return True
        items = deque(track.end(result) if isinstance(result, EndOfStream) else track.process(*result))
        del result
        clock.lap("track", sum(not isinstance(item, EndOfStream) for item in items))
        while items:
            item = items.popleft()
            if isinstance(item, EndOfStream):
                run.ended.put(item)
                return False
            run.write(item, clock)
            del item  # the image goes now, unless a caller of `stream` has it
            self._leave(run)
        return True

    # -- failure --------------------------------------------------------------------------------------------------

    def _fail(self, error: BaseException) -> None:
        """End a run that can't continue: wake every thread, and fail each unfinished video for this reason."""
        if self._fatal is None:
            self._fatal = error if isinstance(error, EngineError) else BackendError(f"{type(error).__name__}: {error}")
        self._stopping.set()
        self._frames.close(discard=True)
        with self._lock:
            active = list(self._active.values())
        for run in active:
            run.stop.set()
            run.window.close()
            run.opening.close()
            run.results.close(discard=True)
            run.ended.close(discard=True)

    @property
    def stopped(self) -> bool:
        """Whether the run was ended before its end."""
        return self._stopping.is_set()

    @property
    def fatal(self) -> Exception | None:
        """The error that ended the run, or None."""
        return self._fatal


def probe_of(frame: Frame) -> Frame:
    """Return a copy of a gated frame that is inferred whole, beside it."""
    return replace(frame, plan=None, infer=True, probe=True, mark=None, audio=(), look=False)


class _Held:
    """A lock that is held until it is closed."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def close(self) -> None:
        self._lock.release()


def _log(outcome: Outcome) -> None:
    facts = {
        "video": outcome.video.shown,
        "status": outcome.status,
        "error": outcome.error,
        "frames": outcome.tally.frames,
        "elapsed_s": round(outcome.elapsed_s, 3),
    }
    reason = f": {outcome.error}" if outcome.error else ""
    log.info("%s: %s%s", outcome.video.shown, outcome.status, reason, extra=facts)


def _outcome(run: StreamRun) -> Outcome:
    assert run.outcome is not None
    return run.outcome
