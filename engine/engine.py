"""The engine: a configuration and a loaded model that processes videos, live streams or still images."""

from __future__ import annotations

import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from engine import results as report
from engine.analytics.naming import name_of
from engine.analytics.settings import AnswerSettings, check_formats
from engine.choices import defaults
from engine.choices.backends import gpu_number
from engine.config import EngineConfig
from engine.errors import ConfigError, DrawingStopped, InputError, OutputError, PlanError, SinkError, VideoError
from engine.files.folders import Folder
from engine.files.objects import open_input
from engine.inference.backends.base import Backend, frame_backend
from engine.inference.heads import HeadReader
from engine.inference.letterbox import Letterboxes
from engine.inference.model import LoadedModel, available_cores, check_wanted, load_model
from engine.inference.plausible import LOOKED_AT, FirstLook
from engine.inference.tensor_shape import TensorShape
from engine.inference.trt.aside import PlanAside, command_of, why_not
from engine.media.inputs import Video, find_videos
from engine.media.listing import LeftOut, told
from engine.media.source import LIVE_SCHEMES, Source, scheme
from engine.output_folder.corrections import make_room
from engine.output_folder.hashes import made_of, sealed
from engine.output_folder.own_files import STATE_FOLDER
from engine.pipeline.assignment import Assignment, Drawing, DrawingAssignment, PieceAssignment, PiecesOf, not_fenced
from engine.pipeline.channel import Closed, Handoff
from engine.pipeline.groups import GroupRecorder
from engine.pipeline.heap import keep_frames_off_the_heap
from engine.pipeline.order import Order
from engine.pipeline.outputs import Outputs, SinkFactory, paths_of, prepare
from engine.pipeline.pieces import Ahead, PieceSink, made_with
from engine.pipeline.pipeline import Pipeline, Stages
from engine.pipeline.reader import LARGE, ReaderSettings
from engine.pipeline.sequence import Place
from engine.pipeline.stream import Outcome, Progress, StreamRun
from engine.pipeline.total import Total, Totals
from engine.records import Detections, Frame, FrameBatch, Tracks
from engine.resume import attempts, fingerprint, steps
from engine.resume.attempts import Attempt
from engine.resume.checkpoint import EVERY_S, Checkpoints
from engine.resume.journal import Fingerprint
from engine.run.identities import Identities
from engine.run.recorded import Recorded
from engine.run.run import Run
from engine.sinks.base import Sink, shared_writer, sole_writer
from engine.sinks.memory import CallbackSink, Counters
from engine.stages.decode import never_begun
from engine.stages.gate import MAX_BETWEEN, GateSettings
from engine.stages.infer import ChangingRunner, Runner, runner_of
from engine.stages.postprocess import Postprocess
from engine.stages.track import Track, TrackerSettings
from engine.storage.urls import is_object
from engine.summary import AlarmsJson, ManifestJson, SummaryJson, VideoJson, VideoResult, VideoStatus
from engine.text.masks import without_password
from engine.trackers import registry

if TYPE_CHECKING:
    from engine.alarms import Alarms, AlarmSettings, Kept, StreamWatch
    from engine.analytics.answering import CameraAnswers
    from engine.pipeline.drawing import PieceVideo
    from engine.pipeline.recording import Recording
    from engine.profiling.bottleneck import Verdict
    from engine.run.follow_up import Followed
    from engine.sinks.video import AnnotatedVideo
    from engine.storage.outputs import StoredOutput

# What only some runs need is imported where they need it: it would double the time in which the others start.

log = logging.getLogger(__name__)

_MIN_WINDOW = 6


class Work(NamedTuple):
    """Where results go, and the properties that all attempts at the same results share. `place` is the folder as it was
    opened: its path may later lead to another folder or a link."""

    folder: Path
    place: Folder
    job: str


class Engine:
    """Detects and tracks objects. Loads its model once; use it as a context manager, or call `close`.

    The constructor raises ConfigError, ModelError or BackendMissing.
    """

    def __init__(
        self,
        config: EngineConfig | None = None,
        *,
        stats: bool = False,
        model: LoadedModel | None = None,
        checkpoint_s: float = EVERY_S,
        alarms: AlarmSettings | None = None,
        audit: bool = True,
    ) -> None:
        """`stats` adds the verdict to the summary and the manifest of a run. `alarms` names the receivers of events
        during a run. `model` passes a loaded model, `checkpoint_s` sets the seconds between two checkpoints of a video;
        tests use both. Without `audit`, a gate infers no extra whole frames, for callers that compare it with whole
        frames themselves."""
        keep_frames_off_the_heap()
        self.config = config or EngineConfig()
        self._answering = AnswerSettings.of(self.config)  # first: a scene that can't be read is known at once
        check_formats(self.config.tables or ())
        self._stats = stats
        self._audit = audit
        self._checkpoint_s = checkpoint_s
        self._cores = available_cores()
        self._alarms: Alarms | None = None
        self._aside: PlanAside | None = None
        self._plan: Backend | None = None  # the one that was built beside a run
        self.model = model or load_model(self.config, self.config.workers or self._cores)
        try:
            self._fit()
            if alarms is not None:
                from engine.alarms import Alarms

                self._alarms = Alarms(alarms)
                self._check_loiter(alarms)
        except BaseException:
            if model is None:
                self.close()
            raise
        self.last_run: Run | None = None
        self._runs: list[Run] = []  # under way
        self._stop_next: bool | None = None  # a stop that waits for the next run, and whether that is to hand over
        # Reentrant: a signal handler may call `stop` on the thread that is just here.
        self._lock = threading.RLock()

    def _fit(self) -> None:
        """Arrange the stages around the model. Raises ConfigError if configuration and model don't fit."""
        self.workers = self.config.workers or (defaults.GPU_WORKERS if self.model.backend.on_gpu else self._cores)
        if self.model.note:
            log.info(self.model.note)
        self.streams = self.config.streams or min(defaults.MAX_STREAMS, max(defaults.MIN_STREAMS, self._cores))
        self.batch = self._batch_size()
        class_mask = self.model.class_mask(self.config.classes)
        check_wanted(self.model.manifest, self.config, self._answering.classes_named())
        self._answering.check_clips(self.config, self.model.manifest.classes)
        self._heads = HeadReader(self.model.layout, self.config.lowest_conf, class_mask)
        self._runner: Runner = runner_of(self.model, self._heads)
        self._changing: ChangingRunner | None = None
        if self.config.build_plan:
            self._runner = self._changing = ChangingRunner(self._runner, self.model.backend.provider)
            self._build_plan()
        self._tracker = TrackerSettings.of(self.config, self.model.manifest.classes)
        self._postprocess = Postprocess(
            self.model.layout,
            reported=self.config.conf,
            groups=self._tracker.groups,
            nms_iou=self.config.nms_iou,
            max_detections=self.config.max_detections,
            class_agnostic=self.config.class_agnostic,
            class_count=len(self.model.manifest.classes),
            look_until=LOOKED_AT * (self.config.frames_between_inferences + 1),
        )
        unused = [name for name in ("class_agnostic", "nms_iou") if self.config.changed(name)]
        if unused and not self.model.layout.needs_nms:
            log.warning(
                "%s chooses its boxes itself, without NMS: %s %s not used.",
                self.model.manifest.name,
                " and ".join(unused),
                "is" if len(unused) == 1 else "are",
            )
        if self.config.wanted_conf < self.config.conf and not self.model.layout.needs_nms:
            log.warning(
                "%s chooses its boxes itself: those with a score below the threshold in its file, if it has one, reach "
                "neither %s nor the stored detections.",
                self.model.manifest.name,
                self.config.tracker,
            )
        threads = max(1, self._cores // self.streams)
        self._outputs = Outputs(self.config, self.model.manifest.classes, streams=self.streams, threads=threads)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model and stop sending events."""
        if self._aside is not None:
            self._aside.close()
        self.model.backend.close()
        if self._plan is not None:
            self._plan.close()
        if self._alarms is not None:
            self._alarms.close()

    def alarms_told(self) -> list[AlarmsJson]:
        """Wait a bounded time for events in flight, and return the outcome of all events so far."""
        return self._alarms.settle() if self._alarms is not None else []

    def run(
        self,
        inputs: Iterable[str | os.PathLike[str]],
        output: str | os.PathLike[str] | None = None,
        *,
        progress: Callable[[list[Progress]], None] | None = None,
        begun: Callable[[], None] | None = None,
        stored: StoredOutput | None = None,
    ) -> SummaryJson:
        """Process files, folders, globs and URLs into `output` and return the summary. With `stored`, they are written
        to its folder and sent from there.

        Raises InputError if there is nothing to process, and OutputError if the folder can't be written or another run
        is writing to it. The fate of each video is in the summary; if the manifest can't be written, the summary's
        `error` says so. `progress` is called several times per second on this thread; an exception from it ends the
        run. `begun` is called once the videos are found and the folder can be written.
        """
        inputs = [inputs] if isinstance(inputs, str | os.PathLike) else inputs  # one, given alone
        folder = Path(output if output is not None else self.config.output_folder)
        if stored is not None:
            folder = stored.folder
        elif is_object(folder):
            raise OutputError(f"{folder} is in object storage: pass a StoredOutput, as `yolo-engine run` does.")
        named = [os.fspath(item) for item in inputs]
        left_out: list[LeftOut] = []
        videos = find_videos(named, folder, left_out=left_out, stored=None if stored is None else stored.place)
        for line in told(left_out):
            log.warning(line)
        unused = self._answering.check_videos([_name_of(video) for video in videos])
        if unused is not None:
            log.warning(unused)
        self._outputs.refuse_overwriting(named, videos, folder)
        if stored is not None:
            _check_stored(stored, videos, self.config)
        prepare(folder)
        with sole_writer(folder), Folder.at(folder) as place, self._begin(len(videos)) as run:
            if begun is not None:
                begun()
            return self._run(run, videos, folder, place, progress, left_out, stored)

    def _run(
        self,
        run: Run,
        videos: list[Video],
        folder: Path,
        place: Folder,
        progress: Callable[[list[Progress]], None] | None,
        left_out: list[LeftOut],
        stored: StoredOutput | None = None,
    ) -> SummaryJson:
        """`place` is the folder as it was opened: its path may later lead to another folder."""
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        start = time.perf_counter()
        broken_off = threading.Event()
        pipeline = run.pipeline
        work = Work(folder, place, secrets.token_hex(8))
        tries = [self._attempt(video, work) for video in videos]
        kept = {key: checkpoints for key, (_, checkpoints) in enumerate(tries) if checkpoints is not None}
        order = Order(videos, self._answering, lambda: pipeline.stopped)
        earlier: dict[int, VideoResult] = {}
        for key in order.keys:
            if key in kept and order.may_be_done(key, earlier):
                kept[key].before = order.place(key, videos[key]).digest if order.is_sequence else None
                if entry := kept[key].done():
                    earlier[key] = entry
                    order.done(key, attempts.carried_by(place, videos[key].stem))
        identities = Identities(lambda: broken_off.is_set() or run.interrupted)
        totals = run.totals = Totals(videos, [(videos[key], entry.frames) for key, entry in earlier.items()])
        salvaging = ThreadPoolExecutor(1, "salvage")
        recorded, waiting = self._recorded(place, folder, started_at), self._waiting(place)

        def tick(streams: list[Progress]) -> None:
            recorded.look()
            if waiting is not None:
                waiting.look()
            if self.config.goes_on:
                _follow_up()  # loaded now, while this thread has nothing to do, rather than when all wait for it
            if progress is not None:
                progress(streams)

        try:
            salvaged = salvaging.submit(_salvage, place, attempts.labels(place))
            for key in earlier:
                identities.read_again(key, videos[key])

            def begun() -> Iterator[StreamRun]:
                for key in order.following(earlier):
                    placed = order.place(key, videos[key]) if order.is_sequence else None
                    stream = self._run_of(pipeline, key, videos[key], work, *tries[key], identities, place=placed)
                    recorded.add(stream)
                    yield stream

            def ended(stream: StreamRun) -> None:
                self._settle(stream, work)
                if stored is not None and stream.outcome is not None and not stream.outcome.unfinished:
                    _send(stored, stream.video, stream.outcome.outputs)
                identities.close(stream)
                frames = self._entry(stream).frames
                adopted = stream.outcome is not None and stream.outcome.adopted is not None
                totals.ended(str(stream.video.stem), frames, frames if adopted else stream.done_before)
                order.done(stream.key, stream.carried)

            outcomes = pipeline.run(begun(), tick, ended)
            elapsed_s = time.perf_counter() - start
            identities.shutdown(cancel=run.interrupted)
            salvaging.shutdown(cancel_futures=run.interrupted)
            if not salvaged.cancelled():
                salvaged.result()
        finally:
            broken_off.set()
            identities.shutdown(cancel=True)
            salvaging.shutdown(cancel_futures=True)
        if stored is not None:
            for key, entry in earlier.items():
                _send(stored, videos[key], entry.outputs)
        inputs_read = {videos[key].shown: identity for key, identity in identities.known().items()}
        summary = report.summarise(outcomes, self.model, elapsed_s, earlier).to_json()
        if self._alarms is not None:
            summary["alarms"] = self._alarms.settle()
        if waiting is not None:
            waiting.look()  # nothing waits any more
        if left_out:
            summary["left_out"] = [{"path": each.path, "why": each.why} for each in left_out]
        if self._stats or self.config.report:  # a report says where the time went
            verdict = run.verdict()
            summary["verdict"] = verdict.to_json() if verdict is not None else None
        counts = {videos[key].shown: checkpoints.attempts for key, checkpoints in kept.items()}
        settled = not any(outcome.unfinished or outcome.lost for outcome in outcomes)
        counted: Sequence[CameraAnswers] = ()
        if settled and self.config.goes_on:  # else what is made would be of a part
            followed = _follow_up()(
                recorded.with_earlier(summary["videos"]),
                folder,
                self.config,
                summary["model"],
                settings=self._answering,
                reported=bool(self.config.report),
            )
            summary, counted = {**summary, **followed.made}, followed.cameras
            if followed.error is not None:
                summary["success"], summary["error"] = False, followed.error
        manifest = report.build_manifest(
            {**summary, "videos": recorded.with_earlier(summary["videos"])},
            self.config,
            inputs_read,
            started_at,
            counts,
            self._answering,
            self.model.manifest.classes,
            None if stored is None else _as_asked(self.config, stored),
        )
        try:
            if not _stands(place, folder):
                raise OutputError(
                    f"{folder} was removed, or moved away, during the run: manifest.json is not written, and results "
                    "that had appeared before are where it went. Bring it back and run again: what is done is kept."
                )
            if any(outcome.lost for outcome in outcomes):
                raise OutputError(f"Another run has written to {folder} meanwhile: its manifest.json is kept.")
            try:
                if self.config.report and settled:
                    summary["report"] = manifest["report"] = self._report(folder, manifest, counted)
            finally:  # a run without its page is one all the same
                if stored is not None:
                    stored.tell_pages()
                manifest["files"] = made_of(folder, manifest)
                if stored is not None:
                    manifest = stored.told(manifest)
                make_room(place, "manifest.json", overwrite=self.config.overwrite)  # it may have come meanwhile
                report.write_json(place, "manifest.json", sealed(manifest))
            if stored is not None:
                stored.finish(settled=settled)
        except (InputError, OutputError) as error:  # what was done is told all the same
            summary["success"], summary["error"] = False, str(error)
            settled = settled and stored is None  # what could not be sent is sent by the next run
        if stored is not None:
            summary = stored.told(summary)
        if settled:
            failed = {outcome.key for outcome in outcomes if outcome.status is VideoStatus.FAILED}
            for key, video in enumerate(videos):
                if key not in failed:  # of those, what could go is gone
                    attempts.forget(place, video.stem, work.job, *([kept[key].done_by] if key in earlier else []))
            attempts.clean(place)
        return summary

    def _recorded(self, place: Folder, folder: Path, started_at: str) -> Recorded:
        """Return the writer of the manifest of a run's live sources while it is under way."""

        def put(summary: SummaryJson) -> None:
            if not _stands(place, folder):  # it is told at the end
                return
            manifest = report.build_manifest(
                summary, self.config, {}, started_at, None, self._answering, self.model.manifest.classes
            )
            make_room(place, "manifest.json", overwrite=self.config.overwrite)
            report.write_json(place, "manifest.json", sealed(manifest))

        facts = {"name": self.model.manifest.name, "sha256": self.model.sha256}
        return Recorded(facts, lambda: report.backend_of(self.model), put)

    def _waiting(self, place: Folder) -> Kept | None:
        """Return the store for events of live sources, after queueing those that a killed run left in it."""
        if self._alarms is None:
            return None
        from engine.alarms import Kept  # as the alarms themselves

        kept = Kept(self._alarms, place, STATE_FOLDER)
        kept.tell_again()
        return kept

    def _report(self, folder: Path, manifest: ManifestJson, counted: Sequence[CameraAnswers]) -> str:
        """Write the report of a run and return its path. Raises InputError and OutputError."""
        from engine.report import write_report  # templates: a run without a report starts without them

        language, overwrite = self.config.report_language, self.config.overwrite
        written = write_report(
            folder, manifest, self._answering, language=language, counted=counted, overwrite=overwrite
        )
        return str(written.report)

    def work(
        self,
        assignments: Iterable[Assignment | PieceAssignment | DrawingAssignment],
        output: str | os.PathLike[str],
        *,
        begun: Callable[[Assignment], None] | None = None,
        done: Callable[[Assignment, VideoJson], None],
        piece_done: Callable[[PieceAssignment | DrawingAssignment, Outcome], None] = lambda assignment, outcome: None,
        progress: Callable[[list[Progress]], None] | None = None,
        roots: Sequence[Path] = (),
    ) -> None:
        """Process videos as they are assigned, into `output`, until there are no more or `stop` is called.

        With `roots`, only files below one of them are read, after resolving links; any other fails. `output` must then
        be resolved, so that no link can have been inserted into it.

        `assignments` is iterated by one thread at a time, when a stream is free, and may block; it should end after
        `stop`. `begun` is called before a video is opened, `done` when it has ended, with its summary entry, which also
        has "attempts", "input" (size and hash), "resumed_from" and "unfinished" (it was ended by `stop` or by a failure
        around it). Both are called on threads of the engine. An exception from `begun` fails its video, one from `done`
        ends the work. `progress` is as in `run`. For a piece of a video only `piece_done` is called; its detections are
        then in its file, unless it failed or was interrupted.

        Nothing else in the folder is touched, and several processes may work in it at once, on different videos. An
        unfinished video (because of `stop` or of a failure around it) leaves its checkpoint to the next attempt; a
        finished one leaves its journal until the caller removes it (engine.resume), and is not processed again. Raises
        OutputError if the folder can't be written or a `run` holds it, and whatever ended the work, once all started
        videos are settled.
        """
        folder = Path(output)
        prepare(folder)
        run = self._begin(self.streams)
        pipeline = run.pipeline
        under_way: dict[int, Assignment] = {}
        pieces: dict[int, PieceAssignment | DrawingAssignment] = {}
        broken_off = threading.Event()
        identities = Identities(lambda: broken_off.is_set() or pipeline.stopped, roots)

        def runs() -> Iterator[StreamRun]:
            coming = enumerate(assignments)
            while not pipeline.stopped and (following := next(coming, None)) is not None:
                key, assignment = following
                if isinstance(assignment, PieceAssignment):
                    pieces[key] = assignment
                    yield self._run_of_piece(pipeline, key, assignment, roots)
                    continue
                if isinstance(assignment, DrawingAssignment):
                    pieces[key] = assignment
                    of = Video(assignment.video.path, assignment.of)
                    yield self._run_of_drawing(pipeline, key, assignment.video, of, [assignment.drawing], roots)
                    continue
                under_way[key] = assignment
                work = Work(folder, place, assignment.job)
                attempt = self._attempt(assignment.video, work, assignment)
                on_begin = partial(begun, assignment) if begun is not None else None
                behind = self._place_of(assignment)
                apart = self._drawn_apart(pipeline, key, assignment, attempt[1], roots)
                ahead = self._ahead(assignment.pieces, apart=apart is not None)
                yield self._run_of(
                    pipeline, key, assignment.video, work, *attempt, identities, on_begin, behind, ahead, apart
                )

        def ended(run: StreamRun) -> None:
            if (piece := pieces.pop(run.key, None)) is not None:
                if run.file is not None:
                    run.file.close()
                assert run.outcome is not None
                piece_done(piece, run.outcome)
                return
            assignment, read = under_way.pop(run.key), identities.of(run)
            if read is None and run.file is not None and run.outcome is not None and not run.outcome.unfinished:
                read = report.file_identity(run.file)  # a stop broke it off, but the video was finished
            identities.close(run)
            entry_now = self._entry(run)
            entry: VideoJson = {
                **entry_now.to_json(),
                "attempts": assignment.attempt,
                "input": read,
                "resumed_from": entry_now.resumed_from,
                "unfinished": run.outcome is not None and run.outcome.unfinished,
                "lost": run.outcome is not None and run.outcome.lost,
            }
            if run.ahead is not None:
                entry["known_ahead"] = run.ahead.used
            steps.reached("settled")
            try:
                done(assignment, entry)
            finally:
                self._settle(run, Work(folder, place, assignment.job))

        with run, shared_writer(folder), Folder.at(folder) as place:
            if roots and not place.is_without_links(folder):
                raise OutputError(
                    f"{folder} leads through a symbolic link by now, and results are never written there."
                )
            try:
                pipeline.run(runs(), progress, ended)
            finally:
                broken_off.set()
                identities.shutdown(cancel=True)
        if pipeline.fatal is not None:
            raise pipeline.fatal

    def process(
        self, videos: list[Video], sinks: SinkFactory, progress: Callable[[list[Progress]], None] | None = None
    ) -> list[Outcome]:
        """Run the pipeline over `videos` into each one's sinks, and return their outcomes in order."""
        with self._begin(len(videos)) as run:
            return self._process(run.pipeline, videos, sinks, progress)

    def _process(
        self,
        pipeline: Pipeline,
        videos: list[Video],
        sinks: SinkFactory,
        progress: Callable[[list[Progress]], None] | None = None,
    ) -> list[Outcome]:
        def begun(key: int, video: Video) -> StreamRun:
            tally = self._counters()
            try:
                return StreamRun(key, video, sinks(video), tally, pipeline.window)
            except Exception as error:  # noqa: BLE001 - `sinks` is a caller's; its error belongs to this video
                run = StreamRun(key, video, {}, tally, pipeline.window)
                run.fail(error)
                return run

        return pipeline.run((begun(key, video) for key, video in enumerate(videos)), progress)

    def _run_of(
        self,
        pipeline: Pipeline,
        key: int,
        video: Video,
        work: Work,
        attempt: Attempt,
        checkpoints: Checkpoints | None,
        identities: Identities,
        on_begin: Callable[[], None] | None = None,
        place: Place | None = None,
        ahead: Ahead | None = None,
        video_of: Callable[..., AnnotatedVideo] | None = None,
    ) -> StreamRun:
        """Return a run of a video into files of a folder."""
        name = _name_of(video)
        return StreamRun(
            key,
            video,
            self._outputs.sinks(video, work.folder, self._answering.scene(name), video_of=video_of),
            self._counters(objects=True),
            pipeline.window,
            attempt=attempt,
            checkpoints=checkpoints,
            recording=self._recording(video, work.place) if scheme(video.path) is not None else None,
            on_begin=on_begin or (lambda: None),
            open_file=(lambda: identities.open(key, video)) if scheme(video.path) is None else None,
            entry_of=lambda outcome: report.entry_of(outcome, self.model.manifest.classes),
            scene=self._answering.scene(name),
            clock=lambda creation_time: self._answering.clock(name, creation_time),
            place=place,
            watch=self._watch(video),
            ahead=ahead,
        )

    def _run_of_piece(
        self, pipeline: Pipeline, key: int, assignment: PieceAssignment, roots: Sequence[Path]
    ) -> StreamRun:
        """Return a run of a piece, of which the detections are kept and nothing else."""
        video, piece, recorder = assignment.video, assignment.piece, GroupRecorder()
        return StreamRun(
            key,
            video,
            {PieceSink.kind: (PieceSink(self._made_with, recorder), piece.file)},
            self._counters(),
            pipeline.window,
            open_file=lambda: open_input(video.path, roots),
            piece=piece,
            recorder=recorder,
        )

    def _run_of_drawing(
        self,
        pipeline: Pipeline,
        key: int,
        piece: Video,
        of: Video,
        drawings: Sequence[Drawing],
        roots: Sequence[Path],
        *,
        whole: bool = False,
        gives_up: bool = False,
    ) -> StreamRun:
        """Return a run that draws pieces of the video `of`: several if it is read from its beginning, `whole`."""
        drawing = _drawing()
        sink = drawing.PieceDrawing(drawings, self._piece_video(of), gives_up=gives_up)
        part, gone = None, None
        try:
            part = None if whole else drawing.Notes.read(drawings[0].notes).part
        except SinkError as error:  # as where somebody has finished the video meanwhile
            gone = error
        run = StreamRun(
            key,
            piece,
            {drawing.PieceDrawing.kind: (sink, Path())},
            self._counters(),
            pipeline.window,
            open_file=lambda: open_input(of.path, roots),
            piece=part,
            draws=True,
        )
        if gone is not None:
            run.fail(gone)
        return run

    def _drawn_apart(
        self,
        pipeline: Pipeline,
        key: int,
        assignment: Assignment,
        checkpoints: Checkpoints | None,
        roots: Sequence[Path],
    ) -> Callable[..., AnnotatedVideo] | None:
        """Return what makes an annotated video of which others draw pieces; None if it is made in one go."""
        pieces, video = assignment.pieces, assignment.video
        if pieces is None or not pieces.drawn or checkpoints is None:
            return None

        def draw(drawings: Sequence[Drawing], whole: bool) -> str | None:
            piece = Video(video.path, video.stem.with_name(f"{video.stem.name}.drawn"))
            run = self._run_of_drawing(pipeline, ~key, piece, video, drawings, roots, whole=whole, gives_up=True)
            outcome = pipeline.draw(run)
            if outcome.unfinished:
                raise DrawingStopped("stopped while its video was drawn")
            return outcome.error if outcome.status is VideoStatus.FAILED else None

        return partial(_drawing().VideoInPieces.of, pieces=pieces, draw=draw, make=self._piece_video(video))

    def _piece_video(self, of: Video) -> Callable[[Path], PieceVideo]:
        """Return what makes the video of a piece of `of`, given its file."""
        return partial(self._outputs.annotated, _drawing().PieceVideo.of, scene=self._answering.scene(_name_of(of)))

    def _ahead(self, pieces: PiecesOf | None, *, apart: bool = False) -> Ahead | None:
        """`apart`: the annotated video is drawn later, from images that are decoded for it."""
        if pieces is None:
            return None
        needs_images = (self.config.visualize and not apart) or self.config.crops
        return Ahead(pieces, self._made_with, len(self.model.manifest.classes), needs_images=needs_images)

    def _check_loiter(self, alarms: AlarmSettings) -> None:
        """Raise ConfigError if loitering events are requested but no duration is set."""
        zones = [zone for scene in self._answering.scenes for zone in scene.zones]
        if "loiter" in alarms.kinds and alarms.loiter_s is None and all(zone.loiter_s is None for zone in zones):
            raise ConfigError(
                "Events of kind loiter need to know after how long: give --loiter 30s (event_loiter_s in the workers' "
                "settings), or loiter_s to a zone of the scene."
            )

    def _watch(self, video: Video) -> StreamWatch | None:
        """Return the watch for a video's events; None if there is no receiver."""
        if self._alarms is None:
            return None
        from engine.alarms import StreamWatch, WatchSettings

        name = _name_of(video)
        return StreamWatch(
            name,
            self.model.manifest.classes,
            self._answering.scene(name),
            WatchSettings(
                self._alarms.settings.kinds,
                self._alarms.settings.loiter_s,
                registry.lifetime(self.config.tracker, self.config.model_dump(include=set(registry.KEYS))),
            ),
            partial(self._answering.clock, name),
            self._alarms,
        )

    def _place_of(self, assignment: Assignment) -> Place | None:
        """Return the video's place after the previous one of its camera."""
        if self._answering.camera is None:
            return None
        return Place(assignment.video, self._answering, assignment.before)

    def _attempt(
        self, video: Video, work: Work, assignment: Assignment | None = None
    ) -> tuple[Attempt, Checkpoints | None]:
        """Return an attempt at a video, not started, and its checkpoints; None if it is not a file or they are
        disabled."""
        fence = assignment.fence if assignment is not None else not_fenced
        attempt = Attempt(
            work.folder, video.stem, job=work.job, fence=fence, overwrite=self.config.overwrite, place=work.place
        )
        file = is_object(video.path) or (scheme(video.path) is None and os.path.isfile(video.path))
        if not (file and self.config.resume and self.config.save_intermediate_results):
            return attempt, None
        paths = {kind: path for kind, (_, path) in self._outputs.sinks(video, work.folder).items()}
        count = None if assignment is None else assignment.attempt
        classes = len(self.model.manifest.classes)
        return attempt, Checkpoints(video, attempt, self._shared_fingerprint, paths, classes=classes, count=count)

    def _recording(self, video: Video, place: Folder) -> Recording:
        """Return the recording for a URL, in case it proves to be live."""
        from engine.pipeline.recording import Recording, Rules

        rules = Rules(
            segment_s=self.config.segment,
            checkpoint_s=self._checkpoint_s if self.config.save_intermediate_results else None,
            counters=self._counters,
        )
        scene = self._answering.scene(name_of({"path": video.path, "stem": video.stem}))

        def sinks(segment: Video) -> dict[str, tuple[Sink, Path]]:
            clock = self._answering.clock(str(segment.stem), None)  # its name tells when it began
            return self._outputs.sinks(segment, place.shown, scene, clock, whole=False)

        return Recording(video, place, sinks, rules)

    @cached_property
    def _made_with(self) -> bytes:
        return made_with(self._shared_fingerprint)

    @cached_property
    def _shared_fingerprint(self) -> Fingerprint:
        return fingerprint.of_run(self.config, self.model, self._answering.scenes)

    def _entry(self, run: StreamRun) -> VideoResult:
        assert run.outcome is not None
        return report.entry_of(run.outcome, self.model.manifest.classes)

    def _settle(self, run: StreamRun, work: Work) -> None:
        """Clean up the attempts at a video that has ended, except for the parts that its next run needs."""
        outcome, attempt = run.outcome, run.attempt
        assert outcome is not None
        assert attempt is not None
        judged = attempt.verdict is not None and attempt.verdict["entry"]["status"] != VideoStatus.FAILED
        if attempt.verdict is not None and not attempt.stands:  # who has taken it over was done with it in the meantime
            outcome.lost = True
        if not outcome.lost and (run.checkpoints is None or not (outcome.unfinished or judged)):
            attempts.forget(work.folder, run.video.stem, work.job)
        attempt.close()

    def _new_pipeline(self, videos: int) -> Pipeline:
        streams = max(1, min(self.streams, videos))
        if self._changing is not None:
            self._changing.forget()
        track = Track(
            self._tracker,
            lambda key, state: pipeline.keep_state(key, state),
            lambda key, stretch, level: pipeline.open_gate(key, stretch, level),
            lambda frame: pipeline.infer_again(frame),
        )
        pipeline = Pipeline(
            Stages(self._runner, self._postprocess, track),
            shape_of=lambda image: self.model.shape((image.width, image.height)),
            open_source=self._source,
            batch=self.batch,
            streams=streams,
            workers=self.workers,
            window=self._window(streams),
            hosts=self.workers >= self._cores and self.batch == 1 and not self.model.backend.on_gpu,
            reader=ReaderSettings.of(self.config, max(1, self._cores // streams))._replace(
                between=self.config.frames_between_inferences,
                checkpoint_s=self._checkpoint_s,
                max_decode_s=self.config.max_decode_s,
                both=self.config.fill == "both",
                gate=self._gate(),
                scan=self.config.scan,
            ),
        )
        return pipeline

    def _gate(self) -> GateSettings | None:
        """Return the gate's settings; None: every frame is inferred."""
        config, model = self.config, self.model
        if config.gate == "off":
            return None
        model_hw = tuple(
            max(model.shape.stride, round(side * config.gate_scale / model.shape.stride) * model.shape.stride)
            for side in model.shape.model_hw
        )
        in_parts = model.shape.rect and frame_backend(model.backend) is None
        fine = TensorShape((model_hw[0], model_hw[1]), model.shape.stride, rect=True) if in_parts else None
        boxes = Letterboxes(model.manifest.input, model.backend.input_dtype)
        return GateSettings(
            full_every_s=Fraction(config.full_every_s).limit_denominator(1000),
            shape_of=model.shape,
            fine_shape_of=fine,
            letterbox_of=lambda image, hw: boxes.of(image, hw)[1],
            stride=model.shape.stride,
            largest=int(LARGE * config.max_frame_bytes),
            audit=self._audit,
        )

    def _begin(self, videos: int) -> Run:
        """Return a run over this number of videos, to be used as a context manager. From here on, `stop` ends it."""
        run = Run(self._new_pipeline(videos), on_gpu=self.model.backend.on_gpu, ended=self._ended)
        with self._lock:
            self._runs.append(run)
            self.last_run = run
            hand_over, self._stop_next = self._stop_next, None
            if hand_over is not None:
                run.stop(hand_over=hand_over)
        return run

    def _ended(self, run: Run) -> None:
        with self._lock:
            self._runs.remove(run)

    def stop(self, hand_over: bool = False) -> None:
        """End every `run`, `work`, `process` and `stream` under way; call it from another thread or a signal handler.
        Complete results are kept. If none is under way, the next one ends at once.

        Unfinished videos keep a checkpoint at their last frame, from which the next run resumes, and appear as
        `.partial` outputs; with `hand_over` they don't appear.
        """
        with self._lock:
            for run in self._runs:
                run.stop(hand_over=hand_over)
            if not self._runs:
                self._stop_next = hand_over

    @property
    def interrupted(self) -> bool:
        """Whether the last run was ended by `stop`."""
        return self.last_run is not None and self.last_run.interrupted

    def total(self, streams: list[Progress]) -> Total | None:
        """Return the progress of the current `run` as a whole, from the arguments of `progress`; None before it has
        started."""
        return self.last_run.total(streams) if self.last_run is not None else None

    def verdict(self) -> Verdict | None:
        """Return what limited the last run, and what a change would gain (engine.profiling); None if no frame was
        processed. Available with and without `stats`."""
        return self.last_run.verdict() if self.last_run is not None else None

    def gpu_s(self) -> dict[str, float]:
        """Return the seconds that the GPU has spent on each part so far; {} without a GPU."""
        return report.backend_of(self.model).get("gpu_s", {})

    def stream(self, source: str | os.PathLike[str]) -> Iterator[Tracks]:
        """Yield the tracks of one file or URL frame by frame, as they are computed. Stops when the caller stops
        iterating.

        Raises InputError if there is no such input, and VideoError if it fails on the way.
        """
        videos = find_videos([os.fspath(source)], self.config.output_folder)
        if len(videos) != 1:
            raise InputError(f"stream takes one video. {without_password(os.fspath(source))} holds {len(videos)}.")
        outcomes: list[Outcome] = []
        errors: list[BaseException] = []
        with self._begin(1) as run:
            pipeline = run.pipeline
            ready: Handoff[Tracks] = Handoff("stream", pipeline.window)

            def produce() -> None:
                try:
                    made = self._process(
                        pipeline, videos, lambda video: {"callback": (CallbackSink(ready.put), Path())}
                    )
                    outcomes.extend(made)
                except BaseException as error:  # noqa: BLE001 - it is raised again on the caller's thread
                    errors.append(error)
                finally:
                    ready.close()

            thread = threading.Thread(target=produce, name="stream", daemon=True)
            thread.start()
            try:
                while True:
                    try:
                        yield ready.get()
                    except Closed:
                        break
            finally:
                pipeline.stop()
                ready.close(discard=True)
                thread.join()
        if errors:
            raise errors[0]
        never_begun = outcomes[0].unfinished and run.interrupted
        if outcomes[0].status is VideoStatus.FAILED and not never_begun:
            raise VideoError(f"{videos[0].shown} {outcomes[0].error}")

    def detect(self, image_rgb: NDArray[np.uint8]) -> Detections:
        """Return the detections in one still image, (H, W, 3) uint8 RGB. Raises ValueError for any other array, and
        BackendError if the model's output can't be boxes."""
        if not isinstance(image_rgb, np.ndarray):
            raise ValueError(f"image_rgb must be (H, W, 3) uint8. Got a {type(image_rgb).__name__}.")
        if image_rgb.ndim != 3 or image_rgb.shape[2] != 3 or image_rgb.dtype != np.uint8 or not image_rgb.size:
            raise ValueError(f"image_rgb must be (H, W, 3) uint8. Got {image_rgb.shape} {image_rgb.dtype}.")
        image = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_rgb), "rgb24")
        found = self.detect_in(Frame(0, 0, 0, 1, Fraction(1), image))
        look = FirstLook()
        look.see(found.signs)
        look.conclude()
        return found.above(self.config.conf)

    def detect_in(self, frame: Frame) -> Detections:
        """Return the detections in one decoded frame as a run passes them to the tracker, including the low scores that
        a tracker uses. Raises ValueError for a frame without an image, and DecodeError and BackendError."""
        if (image := frame.image) is None:
            raise ValueError("frame must have an image.")
        batch = FrameBatch([frame], self.model.shape((image.width, image.height)))
        (found,) = self._postprocess.process(self._runner.run(batch))
        return found

    def _build_plan(self) -> None:
        """Have a plan built, where there is none and it could be used."""
        reason = why_not(self.config, self.model.backend.name)
        if self.model.plan_now is None or reason is not None:
            log.info("no TensorRT plan is built: %s", reason or "the model is no file")
            return
        command = command_of(self.config, self.config.batch or defaults.GPU_BATCH)
        self._aside = PlanAside(command, gpu_number(self.config.device), self._take_plan)

    def _take_plan(self) -> None:
        """Open the plan that was built, and change over to it. Raises PlanError, BackendMissing and BackendError."""
        assert self.model.plan_now is not None
        self.change_over(self.model.plan_now())

    def change_over(self, plan: Backend) -> None:
        """Infer by a plan from the next batch on; the engine closes it with itself. For `build_plan` alone. Raises
        PlanError if it does not take the batches of this engine."""
        assert self._changing is not None
        shape, fixed_hw = self.model.shape, plan.fixed_hw
        if fixed_hw is not None and (shape.rect or fixed_hw != shape.model_hw):
            plan.close()
            raise PlanError(f"it takes images of {fixed_hw[1]}x{fixed_hw[0]} only, and this run has others")
        if self.batch > 1 and not plan.batch_safe:
            plan.close()
            raise PlanError("it computes over the whole batch, and this run has batches of several images")
        self._plan = plan
        self._changing.change(runner_of(self.model._replace(backend=plan), self._heads), plan.provider)
        log.info("%s computes from now on", plan.provider)

    def _batch_size(self) -> int:
        backend = self.model.backend
        if not backend.batch_safe:
            if self.config.batch is not None and self.config.batch > 1:
                raise ConfigError(
                    f"batch must be 1 for {self.model.manifest.name}: it computes over the whole batch, so "
                    f"images would change each other's results. Got {self.config.batch}."
                )
            return 1
        return self.config.batch or (defaults.GPU_BATCH if backend.on_gpu else 1)

    def _window(self, streams: int) -> int:
        """Return the number of frames in flight per stream: all streams keep the workers busy, and the last one alone
        nearly does."""
        in_flight = max(8, 2 * self.batch * self.workers + 2)
        window = self.config.window or max(_MIN_WINDOW, math.ceil(in_flight / streams))
        # Frames that wait for the next one that is looked at must not keep it out.
        waiting = self.config.frames_between_inferences if self.config.fill == "both" else 0
        return window + (MAX_BETWEEN if self.config.gate == "motion" else waiting)

    def _counters(self, *, objects: bool = False) -> Counters:
        return Counters(self.config.conf, objects=objects)

    def _source(self, path: str) -> Source:
        config = self.config
        return Source(
            path,
            open_timeout_s=config.open_timeout_s,
            read_timeout_s=config.read_timeout_s,
            reconnect_attempts=config.reconnect_attempts,
            audio=config.visualize,
            options=never_begun(config.max_frame_bytes),
        )


def _check_stored(stored: StoredOutput, videos: Sequence[Video], config: EngineConfig) -> None:
    """Raise OutputError if an object would be replaced that no run has written, and InputError for a live source."""
    for video in videos:
        if scheme(video.path) in LIVE_SCHEMES:
            raise InputError(
                f"{video.shown} is a live source, which is recorded to a folder on disk: name one with --output, and "
                f"copy its segments to {stored.place.url} once they are complete."
            )
        stored.refuse_foreign(paths_of(config, video, stored.folder).values())


def _as_asked(config: EngineConfig, stored: StoredOutput) -> dict[str, object]:
    """Return a configuration as it was asked for, as JSON values: a run into storage has another output folder, and may
    overwrite all there."""
    return stored.told(config.updated(overwrite=stored.overwrite).model_dump(mode="json"))


def _send(stored: StoredOutput, video: Video, outputs: Mapping[str, str]) -> None:
    stored.video_done(map(Path, outputs.values()), stored.folder / STATE_FOLDER / attempts.label(video.stem))


def _salvage(place: Folder, labels: list[str]) -> None:
    """Turn the recordings of live sources that a killed run left into valid files. Never raise."""
    if labels:
        from engine.pipeline.recording import salvage

        salvage(place, labels)


def _drawing() -> ModuleType:
    """Return what draws videos in pieces, loaded."""
    from engine.pipeline import drawing

    return drawing


def _follow_up() -> Callable[..., Followed]:
    """Return what follows a run, loaded: a run without any starts and ends without it."""
    from engine.run.follow_up import follow_up

    return follow_up


def _name_of(video: Video) -> str:
    """Return the video's name in all tables."""
    return name_of({"path": video.path, "stem": video.stem})


def _stands(place: Folder, folder: Path) -> bool:
    try:
        return place.is_at(folder)
    except OSError:
        return False
