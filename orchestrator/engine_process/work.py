"""Do the videos of a job, as its worker leases them."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from engine.alarms import SECRET, AlarmSettings
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import LeaseLost
from engine.media.inputs import Video
from engine.observe.meter import Meter
from engine.pipeline.assignment import Assignment, Drawing, DrawingAssignment, Piece, PieceAssignment, PiecesOf
from engine.pipeline.stream import Outcome, Progress
from engine.resume.attempts import label
from engine.storage.shared_output import SharedOutput
from engine.storage.written import Foreign
from engine.summary import VideoJson, VideoStatus
from orchestrator.engine_process.exchange import exchange_of
from orchestrator.engine_process.fence import Fence
from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import (
    AlarmsTold,
    Done,
    Finished,
    GiveDrawing,
    GivePiece,
    GiveVideo,
    Kept,
    Measured,
    Next,
    NoMoreVideos,
    Order,
    PieceDone,
    Progressed,
    Ready,
    Stop,
    StreamProgress,
    Work,
)
from orchestrator.engine_process.reading import ticker
from orchestrator.engine_process.storage import storage_of
from orchestrator.errors import reason_of
from orchestrator.job.files import any_path
from orchestrator.job.records import BackendFacts, EngineFacts, EntryStatus, ModelFacts, VideoEntry

PROGRESS_EVERY_S = 0.5
_MEASURED_EVERY = 4  # times that progress is told


def work(task: Work, events: Sender, orders: Iterator[Order]) -> None:
    """Ask for videos, run the engine over them and tell what becomes of each."""
    _Work(task, events, orders).run()


def _alarms(task: Work) -> AlarmSettings | None:
    """Return who is told of events: by the settings of this worker, never by what came with a job."""
    if not task.on_event:
        return None
    secret = os.environ.get(SECRET, "").encode() or None
    return AlarmSettings(task.on_event, task.event_kinds, task.event_loiter_s, secret)


class _Work:
    def __init__(self, task: Work, events: Sender, orders: Iterator[Order]) -> None:
        self._events = events
        self._answers: queue.SimpleQueue[GiveVideo | GivePiece | GiveDrawing | None] = queue.SimpleQueue()
        self._index: dict[str, int] = {}
        self._kept: dict[int, threading.Event] = {}
        self._stored: SharedOutput | None = None
        self._exchange = exchange_of(task)
        self._stopped: Stop | None = None
        self._task = task
        self._engine: Engine | None = None
        threading.Thread(target=self._listen, args=(orders,), name="orders", daemon=True).start()
        self._engine = Engine(EngineConfig(**task.config), alarms=_alarms(task))
        if self._stopped is not None:
            self._engine.stop(hand_over=self._stopped.hand_over)

    def run(self) -> None:
        engine = self._engine
        assert engine is not None
        model, backend = engine.model, engine.model.backend
        computing = BackendFacts(backend.name, backend.provider, model.precision)
        facts = EngineFacts(ModelFacts(model.manifest.name, model.sha256), computing)
        self._events.send(Ready(facts))
        meter = Meter(engine)
        with engine, self._storage(engine.config.blur is not None):
            engine.work(
                self._assignments(),
                self._task.output,
                done=self._done,
                piece_done=self._piece_done,
                progress=self._progress(meter),
                roots=list(map(Path, self._task.roots)),
            )
            if told := engine.alarms_told():
                self._events.send(AlarmsTold(tuple(told)))
            self._events.send(Measured(meter.read()))
        self._events.send(Finished())

    def _assignments(self) -> Iterator[Assignment | PieceAssignment | DrawingAssignment]:
        """Yield one video after the other, as the worker leases them to us."""
        while True:
            self._events.send(Next())
            given = self._answers.get()
            if given is None:
                return
            if isinstance(given, GivePiece):
                piece = Piece(given.start_s, given.end_s, Path(given.file))
                yield PieceAssignment(Video(given.path, PurePosixPath(given.stem)), piece)
                continue
            if isinstance(given, GiveDrawing):
                drawing = Drawing(Path(given.notes), Path(given.file))
                try:
                    self._exchange.fetch(drawing.notes)
                except OSError as error:
                    self._events.send(PieceDone(given.stem, 0, f"its notes can't be read: {reason_of(error)}"))
                    continue
                yield DrawingAssignment(Video(given.path, PurePosixPath(given.stem)), drawing, PurePosixPath(given.of))
                continue
            self._index[given.stem] = given.index
            self._kept[given.index] = threading.Event()
            pieces = None if given.pieces is None else PiecesOf(Path(given.pieces), given.piece_s, given.drawn)
            if pieces is not None:
                self._exchange.begin(pieces)
            yield Assignment(
                Video(given.path, PurePosixPath(given.stem)),
                attempt=given.attempt,
                fence=Fence(any_path(given.successor), any_path(given.end)),
                job=self._task.job,
                before=partial(self._exchange.left, given.behind),
                pieces=pieces,
            )

    def _done(self, assignment: Assignment, entry: VideoJson) -> None:
        """Tell a result and wait until the worker has it on disk: until then a later attempt could need the journal."""
        if assignment.pieces is not None:
            self._exchange.end(assignment.pieces)
        index = self._index[str(assignment.video.stem)]
        flags = {name: bool(entry.get(name, False)) for name in ("lost", "unfinished")}
        # "resumed_from" is left out where it never stopped.
        left_out = (*flags, "known_ahead", *(() if entry["resumed_from"] else ("resumed_from",)))
        told = VideoEntry.from_json({key: value for key, value in entry.items() if key not in left_out})
        if not flags["lost"] and (self._task.apart or not flags["unfinished"]):
            try:
                told = self._sent(assignment, told)
                self._exchange.leave(assignment.video.stem)
            except LeaseLost as error:
                told, flags["lost"] = replace(told, error=str(error)), True
        self._events.send(Done(index, told, **flags, known_ahead=entry.get("known_ahead", 0)))
        self._kept[index].wait()

    def _storage(self, keeps_videos: bool) -> contextlib.AbstractContextManager[object]:
        """Return the place of the results in storage, if that is where they go. It is taken as long as this process
        works: a run that finds it idle would take it over."""
        if self._task.stored is None:
            return contextlib.nullcontext()
        self._stored = storage_of(self._task, keeps_videos=keeps_videos)
        return self._stored

    def _sent(self, assignment: Assignment, entry: VideoEntry) -> VideoEntry:
        """Send a video's outputs to storage, if results go there, and return its entry. Raises LeaseLost, and
        OutputError if storage can't be written, for which no video is to blame."""
        if self._stored is None or not entry.outputs:
            return entry
        paths = map(Path, entry.outputs.values())
        try:
            self._stored.send_video(label(assignment.video.stem), paths, assignment.fence, ticker(self._events))
        except Foreign as error:
            return replace(entry, status=EntryStatus.FAILED, error=str(error), outputs={})
        return entry

    def _piece_done(self, assignment: PieceAssignment | DrawingAssignment, outcome: Outcome) -> None:
        error = outcome.error if outcome.status is VideoStatus.FAILED else None
        stem = str(assignment.video.stem)
        if error is None and not outcome.unfinished:
            made = assignment.piece if isinstance(assignment, PieceAssignment) else assignment.drawing
            try:
                self._exchange.send(made.file)
            except OSError as problem:
                error = f"it can't be sent: {reason_of(problem)}"
        self._events.send(PieceDone(stem, outcome.tally.frames, error, unfinished=outcome.unfinished))

    def _progress(self, meter: Meter) -> Callable[[list[Progress]], None]:
        told, times = 0.0, 0

        def tell(streams: list[Progress]) -> None:
            nonlocal told, times
            if time.monotonic() - told < PROGRESS_EVERY_S:
                return
            told = time.monotonic()
            self._events.send(Progressed(tuple(map(_progress_of, streams))))
            times += 1
            if times % _MEASURED_EVERY == 0:
                self._events.send(Measured(meter.read()))

        return tell

    def _listen(self, orders: Iterator[Order]) -> None:
        for order in orders:
            if isinstance(order, GiveVideo | GivePiece | GiveDrawing):
                self._answers.put(order)
            elif isinstance(order, NoMoreVideos):
                self._answers.put(None)
            elif isinstance(order, Kept):
                self._kept[order.index].set()
            elif isinstance(order, Stop):
                self._stopped = order
                self._answers.put(None)
                if self._engine is not None:
                    self._engine.stop(hand_over=order.hand_over)
        os._exit(1)  # the worker is gone


def _progress_of(stream: Progress) -> StreamProgress:
    return StreamProgress(
        stem=stream.stem,
        path=stream.path,
        frames=stream.frames,
        frames_total=stream.frames_total,
        elapsed_s=round(stream.elapsed_s, 2),
        checkpoint_frames=stream.checkpoint_frames,
        resumed_from=stream.resumed_from or None,
    )
