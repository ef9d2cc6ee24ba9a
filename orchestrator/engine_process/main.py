"""The engine's process: everything that touches media or a model runs here, and nowhere else in the job system.

    python -m orchestrator.engine_process.main EVENTS_FD ORDERS_FD

The first order says what to do: `probe` a list of inputs, `work` through videos that are asked for one by one,
`salvage` what an ended attempt left, or make `answers` of the tracks of all. A file that crashes a library takes this
process with it and nothing else; the worker sees the pipe end and goes on. When the worker dies, this process dies with
it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.engine_process.ipc import Sender, received
from orchestrator.job.atomic_json import there

if TYPE_CHECKING:
    from engine.alarms import AlarmSettings
    from engine.config import EngineConfig

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_PROGRESS_EVERY_S = 0.5
UNREADABLE_S = 2.0


def main() -> None:
    """Entry point of the process."""
    _die_with(parent=int(sys.argv[3]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they mean the worker, which then gives its orders
    events = Sender(int(sys.argv[1]))
    orders = received(os.fdopen(int(sys.argv[2]), "rb"))
    task = next(orders, None)
    if task is None:
        return
    from engine.logs import set_up_logging

    set_up_logging(task.get("log_level", "warning"), task.get("log_format", "text"))
    try:
        {"probe": _probe, "work": _work, "salvage": _salvage, "answers": _answers}[task["kind"]](task, events, orders)
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        log.debug("the engine's process failed", exc_info=error)
        events.send("fatal", error=_sentence(error), type=type(error).__name__)
        sys.exit(3)


def _die_with(parent: int) -> None:
    """The kernel ends this process when the worker's thread that started it ends, however that came about."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _sentence(error: BaseException) -> str:
    from engine.errors import EngineError
    from models.errors import ModelError

    text = str(error)
    return text if isinstance(error, EngineError | ModelError) and text else f"{type(error).__name__}: {text}"


# -- probe ------------------------------------------------------------------------------------------------------------


def _probe(task: dict[str, Any], events: Sender, _: Iterator[dict[str, Any]]) -> None:
    """Finds the videos of the inputs and tells size, duration and frames of each, as its container claims them. Tells
    first which file it opens: should that crash or hang this process, the worker knows which to pass over."""
    from engine.analytics.settings import AnswerSettings, check_formats
    from engine.config import EngineConfig
    from engine.media.inputs import find_videos
    from engine.media.listing import LeftOut, told
    from engine.pipeline.sequence import chains
    from engine.stages.decode import never_begun

    output = Path(task["output"])
    wanted = None if task["only"] is None else set(task["only"])
    roots = _roots(task)
    left_out: list[LeftOut] = []
    found = find_videos(task["inputs"], output, roots, left_out=left_out)
    videos = [video for video in found if wanted is None or video.path in wanted]
    events.send("left_out", lines=told(left_out))
    config = EngineConfig(**task["config"])
    answering = AnswerSettings.of(config)  # a scene that is none is known before anything is done
    before = chains(videos, answering)
    check_formats(config.tables or ())
    options = never_begun(config.max_frame_bytes)
    events.send("found", count=len(videos))
    skipped = set(task["skip"])
    for index, video in enumerate(videos):
        facts = {"index": index, "path": video.path, "stem": str(video.stem)}
        facts |= {"follows": before[index]} if index in before else {}
        if video.path in skipped:
            events.send("video", **facts, error="ended or stopped the program that looked at it", size_bytes=0)
            continue
        events.send("opening", path=video.path)
        events.send("video", **facts, **_claims(video.path, roots, options))
    events.send("model", **model_facts(config))


def _roots(task: dict[str, Any]) -> list[Path]:
    """The folders below which videos must lie; none: anywhere."""
    return [Path(root) for root in task["roots"]]


def _claims(path: str, roots: list[Path], options: dict[str, str]) -> dict[str, object]:
    """What a video says of itself. Nothing is asked of a file before it is open and known to lie below a root."""
    from engine.errors import VideoError
    from engine.files.opened import OpenedFile
    from engine.media.source import Source

    size = 0
    try:
        with OpenedFile(path, roots) as file, contextlib.closing(Source(path, options=options)) as source:
            size, source.file = file.facts.st_size, file
            info = source.open()
    except VideoError as error:
        return {"size_bytes": size, "error": str(error)}
    duration_s = info.duration_s if info.duration_s and 0 < info.duration_s < 1e9 else None
    frames = info.frames
    if frames is None and duration_s:
        frames = round(duration_s * float(info.frame_rate))
    return {
        "size_bytes": size,
        "frames": frames if frames is not None and frames >= 0 else None,
        "duration_s": round(duration_s, 3) if duration_s else None,
        "width": info.size_wh[0],
        "height": info.size_wh[1],
    }


def model_facts(config: EngineConfig) -> dict[str, str]:
    """Name and hash of the model; the reason where there is none, or it does not know the classes that are wanted. Does
    not load it."""
    from engine.errors import ConfigError, PlanError
    from engine.inference.model import check_classes, resolved_model
    from models.errors import ModelError

    if config.backend == "fake":
        return {"name": "fake", "sha256": ""}
    try:
        resolved = resolved_model(config)
        check_classes(resolved.manifest, config.classes)
        check_classes(resolved.manifest, config.blur)
        return {"name": resolved.manifest.name, "sha256": resolved.sha256}
    except (ModelError, ConfigError, PlanError) as error:
        return {"name": config.model, "error": str(error)}


# -- work -------------------------------------------------------------------------------------------------------------


def _alarms(task: dict[str, Any]) -> AlarmSettings | None:
    """Who is told of events: by the settings of this worker, never by what came with a job."""
    from engine.alarms import SECRET, AlarmSettings

    if not task.get("on_event"):
        return None
    secret = os.environ.get(SECRET, "").encode() or None
    return AlarmSettings(tuple(task["on_event"]), tuple(task.get("event_kinds", ())), secret)


class _Work:
    """Asks for videos, runs the engine over them and tells what becomes of each."""

    def __init__(self, task: dict[str, Any], events: Sender, orders: Iterator[dict[str, Any]]) -> None:
        from engine import Engine, EngineConfig

        self._events = events
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._index: dict[str, int] = {}
        self._kept: dict[int, threading.Event] = {}
        self._stopped: dict[str, Any] | None = None
        self._task = task
        self._engine: Engine | None = None
        threading.Thread(target=self._listen, args=(orders,), name="orders", daemon=True).start()
        self._engine = Engine(EngineConfig(**task["config"]), alarms=_alarms(task))
        if self._stopped is not None:
            self._stop(self._stopped)

    def run(self) -> None:
        engine = self._engine
        assert engine is not None
        model, backend = engine.model, engine.model.backend
        self._events.send(
            "ready",
            model={"name": model.manifest.name, "sha256": model.sha256},
            backend={"name": backend.name, "provider": backend.provider, "precision": model.precision},
        )
        with engine:
            engine.work(
                self._assignments(),
                self._task["output"],
                done=self._done,
                progress=self._progress(),
                roots=_roots(self._task),
            )
            if told := engine.alarms_told():
                self._events.send("alarms", alarms=told)
        self._events.send("finished")

    def _assignments(self) -> Iterator[Any]:
        """One video after the other, as the worker leases them to us."""
        from engine.media.inputs import Video
        from engine.pipeline.assignment import Assignment

        while True:
            self._events.send("next")
            answer = self._answers.get()
            if answer is None or answer.get("path") is None:
                return
            index = answer["index"]
            self._index[answer["stem"]] = index
            self._kept[index] = threading.Event()
            yield Assignment(
                Video(answer["path"], PurePosixPath(answer["stem"])),
                attempt=answer["attempt"],
                fence=Fence(Path(answer["successor"]), Path(answer["end"])),
                job=self._task["job"],
                behind=tuple(map(PurePosixPath, answer.get("behind", ()))),
            )

    def _done(self, assignment: Any, entry: Mapping[str, object]) -> None:
        """Tells a result and waits until the worker has it on disk: until then a later attempt could need the
        journal."""
        index = self._index[str(assignment.video.stem)]
        if not entry["resumed_from"]:  # it never stopped
            entry = {key: value for key, value in entry.items() if key != "resumed_from"}
        self._events.send("done", index=index, entry=entry)
        self._kept[index].wait()

    def _progress(self) -> Callable[[list[Any]], None]:
        told = 0.0

        def tell(streams: list[Any]) -> None:
            nonlocal told
            if time.monotonic() - told < _PROGRESS_EVERY_S:
                return
            told = time.monotonic()
            self._events.send(
                "progress",
                videos=[
                    {
                        "stem": str(stream.stem),
                        "path": stream.path,
                        "frames": stream.frames,
                        "frames_total": stream.frames_total,
                        "elapsed_s": round(stream.elapsed_s, 2),
                        "checkpoint_frames": stream.checkpoint_frames,
                        **({"resumed_from": stream.resumed_from} if stream.resumed_from else {}),
                    }
                    for stream in streams
                ],
            )

        return tell

    def _listen(self, orders: Iterator[dict[str, Any]]) -> None:
        for order in orders:
            if order["kind"] == "video":
                self._answers.put(order)
            elif order["kind"] == "kept":
                self._kept[order["index"]].set()
            elif order["kind"] == "stop":
                self._stopped = order
                self._answers.put(None)
                if self._engine is not None:
                    self._stop(order)
        os._exit(1)  # the worker is gone

    def _stop(self, order: dict[str, Any]) -> None:
        assert self._engine is not None
        self._engine.stop(hand_over=order["hand_over"])


class Fence:
    """Raises LeaseLost once another attempt has followed this one, or the job has ended without it."""

    def __init__(self, *signs: Path) -> None:
        self._signs = signs

    def __call__(self) -> None:
        from engine.errors import LeaseLost

        deadline = time.monotonic() + UNREADABLE_S
        while True:
            try:
                if any(map(there, self._signs)):
                    raise LeaseLost("another worker has taken this video over")
                return
            except OSError as error:  # a share that is away for a moment
                if time.monotonic() > deadline:
                    raise LeaseLost(f"the job's directory can't be read: {error.strerror}") from error
                time.sleep(UNREADABLE_S / 20)


def _work(task: dict[str, Any], events: Sender, orders: Iterator[dict[str, Any]]) -> None:
    _Work(task, events, orders).run()


# -- salvage ----------------------------------------------------------------------------------------------------------


def _salvage(task: dict[str, Any], events: Sender, _: Iterator[dict[str, Any]]) -> None:
    """Makes valid partial outputs of what a killed attempt had reached at its last checkpoint."""
    from engine.media.inputs import Video
    from engine.resume.partial_outputs import salvage

    video = Video(task["path"], PurePosixPath(task["stem"]))
    fence = Fence(Path(task["successor"]))
    made, entry = salvage(video, Path(task["output"]), job=task["job"], fence=fence, roots=_roots(task))
    events.send("salvaged", outputs={kind: str(path) for kind, path in made.items()}, entry=entry)


# -- answers ----------------------------------------------------------------------------------------------------------


def _answers(task: dict[str, Any], events: Sender, _: Iterator[dict[str, Any]]) -> None:
    """Writes the tables of a job, and what else it asks for of its tracks; tells its counts, and the clock of each
    video."""
    from engine.analytics.settings import AnswerSettings
    from engine.config import EngineConfig
    from engine.follow_up import follow_up

    told = 0.0

    def tick() -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            events.send("reading")

    config = EngineConfig(**task["config"])
    settings = AnswerSettings.of(config)
    clocks = [settings.clock_entry(video) if "stem" in video else None for video in task["videos"]]
    roots, output = _roots(task), Path(task["output"])
    found = follow_up(task["videos"], output, config, task["model"], settings=settings, roots=roots, tick=tick)
    events.send("answered", clocks=clocks, found=found)


if __name__ == "__main__":
    main()
