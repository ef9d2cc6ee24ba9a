"""The process step: lease videos, have an engine process work on them, and watch over it.

The engine runs in a separate process (engine_process/main.py), so that a crash in native code costs an attempt at a
video and not the worker, and a long C call can't delay a stop: a process that does not end in time is killed, and the
video resumes later from its last checkpoint. This side touches no media; ten times per second it checks for a
cancellation, a stop and a stall.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from engine.logs import JsonFormatter
from orchestrator.engine_process.handle import EngineProcess
from orchestrator.engine_process.messages import (
    AlarmsTold,
    Done,
    Event,
    Fatal,
    Finished,
    GiveDrawing,
    GivePiece,
    GiveVideo,
    Kept,
    Measured,
    Next,
    NoMoreVideos,
    PieceDone,
    Progressed,
    Ready,
    Salvage,
    Salvaged,
    Stop,
    StreamProgress,
    Work,
)
from orchestrator.errors import EngineFailed, reason_of
from orchestrator.job.claims import Claim, Claims, frames_kept
from orchestrator.job.jobdir import Job, now
from orchestrator.job.outcomes import failed_entry, told
from orchestrator.job.pieces import PieceClaim, Pieces, forget_pieces
from orchestrator.job.records import (
    EngineFacts,
    EntryStatus,
    How,
    ModelFacts,
    Progress,
    Stage,
    VideoEntry,
    VideoProgress,
)
from orchestrator.settings import Settings
from orchestrator.worker.readings import Reading, Taken

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.1
_PROGRESS_EVERY_S = 1.0
# Share of the time that an engine computes at least if it does anything; telling of itself takes less.
_MIN_CPU_SHARE = 0.02
_SALVAGE_S = 120.0
# A worker without work waits so long for a file whose turn comes after one that another worker has.
_WAITS_S = 60.0
# One that has other work leaves it to those who wait, so long.
_YIELDS_S = 3.0


@dataclass
class Watch:
    """The conditions that the step watches while the engine works. `stopping`: this worker was told to stop."""

    job: Job
    key: str
    node: str
    settings: Settings
    stopping: Callable[[], bool]
    touch: Callable[[], None]
    """Renews the leases and shows the sign of life; call it often."""
    gives_way: Callable[[float], bool] = lambda worked_s: False
    """Whether it is another job's turn, after this many seconds of work."""
    draining: Callable[[], bool] = lambda: False
    """Whether this worker takes no more videos."""
    show: Callable[[Reading], None] = lambda reading: None
    """Receives the step's numbers from time to time."""
    cores: int | None = None
    engine: EngineFacts | None = None
    """The facts that the step's last engine reported about itself."""
    taken: Taken = field(default_factory=Taken)
    gave_way: bool = False
    began: float | None = None
    """When the first engine of the step began to work."""
    _told_at: float = -math.inf

    def tell_waiting(self) -> None:
        """Announce that this worker is idle and waits for more work."""
        if time.monotonic() - self._told_at > _PROGRESS_EVERY_S:
            self._told_at = time.monotonic()
            self.job.tell_progress(Progress(self.key, self.node, Stage.WAITING, time.time(), now(), ()))

    @property
    def must_give_way(self) -> bool:
        return self.began is not None and self.gives_way(time.monotonic() - self.began)

    @property
    def others_wait(self) -> bool:
        """Whether another worker of the job has just announced that. If clocks differ this may be missed; the other
        worker then keeps waiting."""
        present = time.time()
        told = (each for each in self.job.progress() if each.key != self.key and each.stage == Stage.WAITING)
        return any(abs(present - each.at) < 3 * _PROGRESS_EVERY_S for each in told)


def process_videos(watch: Watch, claims: Claims, pieces: Pieces) -> How:
    """Work until no video or piece of one is left to take, now or soon, and return EXHAUSTED, CANCELLED, HANDED_BACK or
    GAVE_WAY.

    Raises EngineFailed if the engine can't run at all.
    """
    never_ready = 0
    waits_until: float | None = None
    while True:
        if watch.job.cancelled:
            return How.CANCELLED
        if watch.stopping():
            return How.HANDED_BACK
        if watch.gave_way or watch.draining():
            if not claims.left:
                return How.EXHAUSTED
            return How.GAVE_WAY if watch.gave_way else How.HANDED_BACK
        claim = claims.next(suspect=False)
        alone = claim is None
        if claim is None:
            claim = claims.next(suspect=True)
        piece = pieces.next() if claim is None else None
        if claim is None and piece is None:
            if not (claims.waits or pieces.waits):
                return How.EXHAUSTED
            if waits_until is None:
                waits_until = time.monotonic() + _WAITS_S
            if time.monotonic() > waits_until:
                return How.HANDED_BACK  # other jobs have their turn, then it is asked again
            watch.tell_waiting()
            watch.touch()
            time.sleep(max(_LOOK_EVERY_S, watch.job.look_every_s))
            continue
        waits_until = None
        run = SupervisedRun(watch, claims, pieces, claim or piece, alone=alone and piece is None)
        how = run.go()
        if how != How.EXHAUSTED:
            return How.GAVE_WAY if how == How.HANDED_BACK and watch.gave_way and not watch.stopping() else how
        never_ready = never_ready + 1 if run.died_unready else 0
        if never_ready >= watch.settings.max_attempts:
            raise EngineFailed(f"{run.died_unready} {never_ready} times while it loaded the model")


class SupervisedRun:
    """One engine process, from its first video to its end."""

    def __init__(
        self, watch: Watch, claims: Claims, pieces: Pieces, first: Claim | PieceClaim | None, *, alone: bool
    ) -> None:
        self._watch = watch
        self._claims = claims
        self._pieces = pieces
        self._first = first
        self._alone = alone
        self._stop: How | None = None
        self._stop_at = 0.0
        self._stage = Stage.LOADING
        self.died_unready: str | None = None
        self._streams: tuple[StreamProgress, ...] = ()
        self._told_at = 0.0
        self._looked_at = -math.inf
        self._asked = 0  # times that the engine asked for a video and there was none yet
        self._yielded_at: float | None = None
        self._moved = (time.monotonic(), -1, 0.0)  # when the engine last got on, with how many frames and CPU seconds

    def go(self) -> How:
        watch = self._watch
        config = watch.job.for_engine
        if self._alone:
            config["streams"] = 1
        level, form = logging_of_worker()
        task = Work(
            output=str(watch.job.output),
            config=config,
            job=watch.job.id,
            roots=tuple(map(str, watch.settings.video_roots)),
            on_event=watch.settings.on_event,
            event_kinds=tuple(watch.settings.event_kinds),
            event_loiter_s=watch.settings.event_loiter_s,
            stored=watch.job.spec.stored,
            notes=str(watch.job.notes),
            jobs=str(watch.job.folder.parent),
            apart=watch.job.apart,
            overwrite=watch.job.config.get("overwrite") is True,
            log_level=level,
            log_format=form,
        )
        with EngineProcess(task, cores=watch.cores) as engine:
            try:
                return self._until_its_end(engine)
            finally:
                watch.taken.engine_ended()
                self._tell(Stage.ENDED)

    def _until_its_end(self, engine: EngineProcess) -> How:
        while True:
            try:
                event = engine.event(_LOOK_EVERY_S)
            except EOFError:
                return self._after_its_death(How.CRASHED, f"the engine {engine.ended()}")
            if event is not None:
                if isinstance(event, Finished):
                    return self._stop or How.EXHAUSTED
                self._on(event, engine)
            self._look(engine)
            if self._stop is not None and time.monotonic() > self._stop_at:
                engine.kill()
                return self._after_its_death(self._stop, "it did not stop in time")
            if time.monotonic() - self._moved[0] > self._watch.settings.stall_s:
                engine.kill()
                error = f"the engine made no progress for {self._watch.settings.stall_s:.0f} s"
                return self._after_its_death(How.STALLED, error)

    def _on(self, event: Event, engine: EngineProcess) -> None:
        if isinstance(event, Ready):
            self._check_model(event.engine.model)
            self._stage = Stage.PROCESSING
            self._watch.engine = event.engine
            self._watch.began = self._watch.began or time.monotonic()
        elif isinstance(event, Next):
            self._give_next(engine)
        elif isinstance(event, Progressed):
            self._streams = event.videos
        elif isinstance(event, Measured):
            self._watch.taken.measured(event.engine)
        elif isinstance(event, Done):
            self._keep(event)
            engine.order(Kept(event.index))
            self._answer_again(engine)
        elif isinstance(event, PieceDone):
            self._keep_piece(event)
            self._answer_again(engine)
        elif isinstance(event, AlarmsTold):
            for line in event.alarms:
                self._watch.job.note("events told", worker=self._watch.node, **line)
        elif isinstance(event, Fatal):
            self._watch.taken.engine_failed()
            self._release_all(How.HANDED_BACK)
            raise EngineFailed(event.error)
        self._note_movement(event)

    def _check_model(self, model: ModelFacts) -> None:
        """Compare the model with that of the job's start, because a job uses one. Raises EngineFailed if this machine
        has another file."""
        start = self._watch.job.start_record()
        expected = start.model.sha256 if start else None
        if expected and model.sha256 != expected:
            self._release_all(How.HANDED_BACK)
            raise EngineFailed(
                f"the file of model {model.name} is not the one that the job was started with "
                f"({(model.sha256 or '')[:12]}, not {expected[:12]}). Put that file back, or submit the folder again."
            )

    def _give_next(self, engine: EngineProcess) -> None:
        first, self._first = self._first, None
        if isinstance(first, PieceClaim):
            self._give_piece(engine, first)
            return
        claim = first
        free = self._stop is None and not self._alone and not self._watch.draining()
        if claim is None and free and not self._yields():
            claim = self._claims.next(suspect=False)
        if claim is None and free and self._claims.held and (self._claims.more_to_come or self._claims.waits):
            self._asked += 1  # answered when a video has ended, here or elsewhere
            return
        if claim is None and free and not self._claims.held and (piece := self._pieces.next()) is not None:
            self._give_piece(engine, piece)
            return
        if claim is None and free and (self._pieces.held or self._pieces.waits):
            self._asked += 1
            return
        if claim is None:
            engine.order(NoMoreVideos())
            return
        pieces = self._pieces.of(claim.video)
        engine.order(
            GiveVideo(
                index=claim.index,
                path=claim.video.path,
                stem=claim.video.stem,
                attempt=claim.lease.number,
                successor=str(claim.successor),
                behind=tuple(self._claims.behind(claim)),
                end=str(self._watch.job.folder / "end.json"),
                pieces=None if pieces is None else str(pieces.base),
                piece_s=0.0 if pieces is None else pieces.length_s,
                drawn=pieces is not None and pieces.drawn,
            )
        )
        facts = {"job": self._watch.job.id, "video": claim.video.path, "attempt": claim.lease.number}
        log.info("%s: attempt %d begun", claim.video.path, claim.lease.number, extra=facts)

    def _give_piece(self, engine: EngineProcess, claim: PieceClaim) -> None:
        piece, drawing = claim.piece, claim.drawing
        if drawing is not None:
            of = claim.video
            engine.order(GiveDrawing(of.path, claim.stem, of.stem, str(drawing.notes), str(drawing.file)))
            return
        engine.order(GivePiece(claim.video.path, claim.stem, piece.start_s, piece.end_s, str(piece.file)))

    def _keep_piece(self, done: PieceDone) -> None:
        claim, watch = self._pieces.held.get(done.stem), self._watch
        if claim is None:
            return
        if done.unfinished:
            self._pieces.release(claim, self._stop or How.HANDED_BACK)
            return
        about = {"video": claim.video.path, "piece": claim.number, "frames": done.frames, "worker": watch.node}
        if done.error is None:
            self._pieces.release(claim, How.DONE)
            watch.job.note("piece ended" if claim.drawing is None else "piece drawn", **about)
            return
        self._pieces.release(claim, How.FAILED, error=done.error)
        watch.job.note("piece failed", **about, error=done.error)

    def _yields(self) -> bool:
        """Return whether to leave newly available videos to an idle worker, because this one has others."""
        if not self._claims.held or not self._claims.has_sequences or not self._watch.others_wait:
            self._yielded_at = None
            return False
        if self._yielded_at is None:
            self._yielded_at = time.monotonic()
        return time.monotonic() - self._yielded_at < _YIELDS_S

    def _answer_again(self, engine: EngineProcess) -> None:
        asked, self._asked = self._asked, 0
        for _ in range(asked):
            self._give_next(engine)

    def _keep(self, done: Done) -> None:
        claim, entry = self._claims.held.get(done.index), done.entry
        if claim is None:
            return
        if done.lost:  # halted for too long: the result is another attempt's to tell
            self._claims.release(claim, How.LOST, error=entry.error)
            facts = {"job": self._watch.job.id, "video": entry.path}
            log.warning("%s: attempt %d: %s", entry.path, claim.lease.number, entry.error, extra=facts)
            return
        if done.unfinished:
            if self._stop != How.CANCELLED:  # the stop of this worker, or a failure of its engine: no video is to blame
                self._claims.release(claim, How.HANDED_BACK)
                return
            status = EntryStatus.PARTIAL if entry.outputs else EntryStatus.CANCELLED
            entry = replace(entry, status=status, error=f"cancelled after {entry.frames} frames")
        if self._claims.keep(claim, entry) and self._pieces.of(claim.video) is not None:
            self._watch.job.note("known ahead", video=entry.path, frames=done.known_ahead)
            forget_pieces(self._watch.job, claim.index)
        facts = {"job": self._watch.job.id, "video": entry.path, "status": entry.status.value}
        log.info("%s: %s", entry.status, told(entry.path, entry.error), extra=facts)

    def _look(self, engine: EngineProcess) -> None:
        watch = self._watch
        present = time.monotonic()
        if self._stop is None and present - self._looked_at >= watch.job.look_every_s:
            self._looked_at = present
            if watch.job.cancelled:
                self._order_stop(engine, How.CANCELLED, watch.settings.cancel_s)
        if self._stop is None and watch.stopping():
            self._order_stop(engine, How.HANDED_BACK, watch.settings.grace_s)
        watch.touch()
        if present - self._told_at > max(_PROGRESS_EVERY_S, watch.job.look_every_s):
            self._told_at = present
            self._tell(self._stage)
            self._answer_again(engine)
            if self._stop is None and not self._claims.held and self._pieces.are_of_no_use:
                self._order_stop(engine, How.EXHAUSTED, watch.settings.cancel_s)
            if self._stop is None and watch.must_give_way:
                watch.gave_way = True
                self._order_stop(engine, How.HANDED_BACK, watch.settings.grace_s)

    def _order_stop(self, engine: EngineProcess, how: How, within_s: float) -> None:
        self._stop, self._stop_at, self._stage = how, time.monotonic() + within_s, Stage.STOPPING
        engine.order(Stop(hand_over=how == How.HANDED_BACK))

    def _after_its_death(self, how: How, error: str) -> How:
        """Release the videos that the process was working on; a cancelled video's checkpoint becomes its partial
        result."""
        if how == How.CANCELLED:
            for claim in list(self._claims.held.values()):
                watch = self._watch
                self._claims.keep(claim, salvaged_entry(watch.job, claim, watch.settings, "cancelled", watch.touch))
            self._pieces.release_all(how)
            return how
        if how != How.HANDED_BACK and self._stage is Stage.LOADING:  # no video is to blame
            self.died_unready = error
            self._watch.taken.engine_failed()
            self._release_all(How.HANDED_BACK)
        else:
            self._release_all(how, error=error)
        if how in (How.CRASHED, How.STALLED):
            facts = {"job": self._watch.job.id}
            log.error("job %s: %s while it worked on %s", self._watch.job.id, error, self._present(), extra=facts)
            self._watch.job.note(how, error=error, worker=self._watch.node, videos=self._present())
            return self._stop or How.EXHAUSTED  # the step continues with what is left
        return how

    def _present(self) -> list[str]:
        return [stream.path for stream in self._streams]

    def _release_all(self, how: How, error: str | None = None) -> None:
        self._pieces.release_all(how, error=error)
        for claim in list(self._claims.held.values()):
            self._claims.release(claim, how, error=error)

    def _note_movement(self, event: Event) -> None:
        """Note when the engine last got on: with more frames, or with computing, as where it surveys or joins a long
        video. That it tells of itself is no sign of it: it does so even while its decoder hangs. One that has asked for
        work and has none does nothing wrong."""
        present, frames, cpu_s = time.monotonic(), sum(each.frames for each in self._streams), self._watch.taken.cpu_s
        since, frames_then, cpu_then_s = self._moved
        waits = self._asked > 0 and not self._claims.held and not self._pieces.held
        computes = cpu_s - cpu_then_s > _MIN_CPU_SHARE * (present - since)
        if not isinstance(event, Progressed | Measured) or frames != frames_then or computes or waits:
            self._moved = (present, frames, cpu_s)

    def _tell(self, stage: Stage) -> None:
        watch = self._watch
        by_stem = {claim.video.stem: claim for claim in self._claims.held.values()}
        videos = tuple(
            VideoProgress(
                index=claim.index,
                attempt=claim.lease.number,
                path=stream.path,
                frames=stream.frames,
                frames_total=stream.frames_total,
                resumed_from=stream.resumed_from,
                elapsed_s=stream.elapsed_s,
                stem=stream.stem,
                checkpoint_frames=stream.checkpoint_frames,
            )
            for stream in (self._streams if stage is not Stage.ENDED else ())
            if (claim := by_stem.get(stream.stem)) is not None
        )
        if stage is Stage.PROCESSING and self._pieces.held and not self._claims.held:
            stage = Stage.PIECES
        watch.job.tell_progress(Progress(watch.key, watch.node, stage, time.time(), now(), videos, watch.taken.cpu_s))
        claims = self._claims
        watch.show(watch.taken.reading(claims.endings, claims.results, len(claims.held)))


def salvaged_entry(
    job: Job, claim: Claim, settings: Settings, why: str, meanwhile: Callable[[], None] = lambda: None
) -> VideoEntry:
    """Return the result of a video whose engine was killed: the contents of its last checkpoint as valid partial
    files."""
    saved = Salvaged({})
    level, form = logging_of_worker()
    task = Salvage(
        path=claim.video.path,
        stem=claim.video.stem,
        output=str(job.output),
        job=job.id,
        successor=str(claim.successor),
        roots=tuple(map(str, settings.video_roots)),
        log_level=level,
        log_format=form,
    )
    try:
        with EngineProcess(task) as engine:
            for event in engine.events(_SALVAGE_S, _SALVAGE_S, meanwhile):
                saved = event if isinstance(event, Salvaged) else saved
    except (TimeoutError, OSError) as error:
        log.warning("%s: what it had reached can't be saved: %s", claim.video.path, reason_of(error))
    if saved.entry is not None:  # it was done, and its worker died before it could say so
        return replace(saved.entry, outputs=saved.outputs, attempts=claim.lease.number)
    frames = frames_kept(job, claim.video)
    status = EntryStatus.PARTIAL if saved.outputs else EntryStatus.CANCELLED
    entry = failed_entry(claim.video, f"{why} after {frames} frames", attempts=claim.lease.number, status=status)
    return replace(entry, frames=frames, outputs=saved.outputs)


def logging_of_worker() -> tuple[str, str]:
    """Return level and format for the log of an engine process."""
    root = logging.getLogger()
    form = "json" if any(isinstance(handler.formatter, JsonFormatter) for handler in root.handlers) else "text"
    # What the engine tells at `info` is logged here, with the job.
    return "debug" if root.isEnabledFor(logging.DEBUG) else "warning", form
