"""Two attempts at one video, the first halted between any two steps, and woken while the second works, at its commit,
or after its end. Each is a forked process that halts itself with SIGSTOP, at a named step (engine/resume/steps.py).

Whoever decides it, the results must be those of an undisturbed run, nothing that has appeared may ever be touched, and
the other must know that it has lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import av

from engine.errors import BackendError, LeaseLost
from engine.media.inputs import Video
from engine.output_folder.own_files import STATE_FOLDER
from engine.pipeline.assignment import Assignment
from engine.pipeline.reader import StreamReader
from engine.pipeline.stream import StreamRun
from engine.resume import attempts, steps
from engine.resume.attempts import label
from tests.e2e.runs import clip, fake_engine

FRAMES = 30
STEM = PurePosixPath("sub/a")
SETTINGS: dict[str, Any] = {"visualize": True, "formats": ("tracks", "mot", "detections"), "video_preset": "ultrafast"}
OUTPUTS = ("a.tracks.jsonl", "a.mot.txt", "a.detections.jsonl", "a.mp4")
COUNTED = ("status", "error", "frames", "inferred_frames", "detections", "tracks", "tracks_by_class", "duration_s")

# What an attempt reaches, in this order; `#2` is the second time.
FRESH = (
    *("begin", "claim begun", "claimed", "fence passed", "others revoked", "journal", "begun", "opened"),
    *("sinks opened", "frame 1", "frame 5", "last frame", "an output complete", "an output complete#4"),
    *("verdict written", "fence passed again", "committed", "an output appeared", "an output appeared#2"),
    *("an output appeared#4", "published", "settled"),
)
RESUMED = ("others revoked", "begun", "passed 3", "parts copied", "journal#2", "taken over", "frame 20", "committed")
STOPPED = (
    "last frame",
    "journal#2",
    "set aside",
    "a partial output appeared",
    "a partial output appeared#3",
    "settled",
)
FAILED = ("frame 5", "verdict written", "fence passed again", "committed", "settled")

# Where the second attempt is when the first one wakes; it may never get there, and be over.
MOMENTS = {"at work": "frame 5", "at its commit": "fence passed again", "just after it": "committed", "over": None}

WAYS = {"fresh": FRESH, "resumed": RESUMED, "stopped": STOPPED, "failed": FAILED}


@dataclass(frozen=True)
class Case:
    """`way` is what the first attempt does, `lease` whether there are leases that tell the first that it has lost."""

    way: str
    step: str
    moment: str
    lease: bool = True

    def __str__(self) -> str:
        return f"{self.way}, {self.step}, {self.moment}{'' if self.lease else ', no lease'}"


def cases() -> Iterator[Case]:
    """The whole matrix."""
    for lease in (True, False):
        for way, reached in WAYS.items():
            for step in reached:
                for moment in MOMENTS:
                    yield Case(way, step, moment, lease)


@dataclass
class Place:
    """A video, an output folder that `resumed` attempts find, and the results of an undisturbed run."""

    folder: Path
    video: Path = field(init=False)
    right: dict[str, bytes] = field(init=False)
    entry: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.video = clip(self.folder / "a.mp4", FRAMES, seed=3)
        begun = self.folder / "begun"
        engine = fake_engine(fail_after=20, checkpoint_s=0.0, delay_s=0.002, workers=1, **SETTINGS)
        with contextlib.suppress(BackendError):
            engine.work([Assignment(Video(str(self.video), STEM))], begun, done=lambda *_: None)
        assert attempts.peek(begun, STEM) > 5
        found: list[dict[str, Any]] = []
        fake_engine(**SETTINGS).work(
            [Assignment(Video(str(self.video), STEM))],
            self.folder / "right",
            done=lambda assignment, entry: found.append(entry),
        )
        self.entry = found[0]
        self.right = {name: (self.folder / "right" / "sub" / name).read_bytes() for name in OUTPUTS}


class Actor:
    """Work in a process of its own, which halts itself at a step. What it returns is its report."""

    def __init__(self, work: Callable[[], list[dict[str, Any]]], halt_at: str | None, report: Path) -> None:
        self.report = report
        self.over = False
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(60)
                _halting(halt_at)
                report.write_text(json.dumps(work()))
                status = 0
            except BaseException:  # noqa: BLE001 - a forked process must never return into the test
                traceback.print_exc()
            finally:
                os._exit(status)

    def wait(self) -> None:
        """Until it is halted, or over."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self.over = True
            assert os.waitstatus_to_exitcode(status) == 0, f"attempt ended with {os.waitstatus_to_exitcode(status)}"

    def wake(self) -> None:
        """Goes on to its end."""
        while not self.over:
            os.kill(self.pid, signal.SIGCONT)
            self.wait()

    def kill(self) -> None:
        if not self.over:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    @property
    def entry(self) -> dict[str, Any]:
        (entry,) = json.loads(self.report.read_text())
        assert isinstance(entry, dict)
        return entry


def _halting(halt_at: str | None) -> None:
    """Has this process halt itself at a step. Frames are steps here, and those that are passed over."""
    counts: Counter[str] = Counter()
    write, passed = StreamRun.write, StreamReader.pass_over

    def reached(step: str) -> None:
        counts[step] += 1
        if halt_at == (step if counts[step] == 1 else f"{step}#{counts[step]}"):
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this very thread goes no step further

    def write_and_tell(self: StreamRun, tracks: Any, clock: Any) -> None:
        write(self, tracks, clock)
        reached(f"frame {tracks.frame.index}")

    def pass_and_tell(self: StreamReader, pts: int) -> None:
        passed(self, pts)
        if self._passing:
            reached(f"passed {self._index}")

    steps.reached = reached
    StreamRun.write, StreamReader.pass_over = write_and_tell, pass_and_tell  # type: ignore[method-assign]


def _attempt(place: Place, output: Path, number: int, case: Case) -> list[dict[str, Any]]:
    """What a worker's engine does with a video, and what it tells."""
    followed = output.with_name(f"lease-{number + 1}")
    told: list[dict[str, Any]] = []
    engine = fake_engine(delay_s=0.001, workers=1, streams=1, **SETTINGS)
    write = StreamRun.write

    def fence() -> None:
        if case.lease and followed.exists():
            raise LeaseLost("the lease was lost")

    def write_and_break_off(self: StreamRun, tracks: Any, clock: Any) -> None:
        write(self, tracks, clock)
        if number == 1 and tracks.frame.index == 5 and case.way == "stopped":
            engine.stop()
        if number == 1 and tracks.frame.index == 5 and case.way == "failed":
            self.fail(OSError("no luck"))

    StreamRun.write = write_and_break_off  # type: ignore[method-assign]
    job = "job" if case.lease else f"run {number}"
    assignment = Assignment(Video(str(place.video), STEM), number, fence, job)
    engine.work([assignment], output, done=lambda _, entry: told.append(entry))
    return told


def play(place: Place, case: Case, folder: Path) -> str:
    """Plays one case in an empty folder, and judges it. Returns who decided it."""
    output = folder / "out"
    if case.way == "resumed":
        shutil.copytree(place.folder / "begun", output)
    seen: dict[str, tuple[int, int, bytes]] = {}

    def look() -> None:
        """Nothing that has appeared is touched ever after."""
        for name in OUTPUTS:
            path = output / "sub" / name
            if path.exists():
                facts = path.stat()
                present = facts.st_ino, facts.st_mtime_ns, path.read_bytes()
                assert seen.setdefault(name, present) == present, f"{name} was touched"
            else:
                assert name not in seen, f"{name} is gone"

    actors: list[Actor] = []
    try:
        first = Actor(lambda: _attempt(place, output, 1, case), case.step, folder / "first.json")
        actors.append(first)
        first.wait()
        assert not first.over, f"the first attempt never came to {case.step!r}"
        look()
        (folder / "lease-2").touch()
        second = Actor(lambda: _attempt(place, output, 2, case), MOMENTS[case.moment], folder / "second.json")
        actors.append(second)
        second.wait()
        assert second.over or case.moment != "over"
        look()
        first.wake()
        look()
        second.wake()
        look()
        _judge(place, case, output, first.entry, second.entry, set(seen))
    finally:
        for actor in actors:
            actor.kill()
    return "the first" if not first.entry["lost"] else "the second"


def _judge(
    place: Place, case: Case, output: Path, first: dict[str, Any], second: dict[str, Any], seen: set[str]
) -> None:
    told = [entry for entry in (first, second) if not entry["lost"]]
    for entry in (first, second):
        assert entry["lost"] == ("taken" in (entry["error"] or "") or "lease" in (entry["error"] or "")), entry
    assert told, (first, second)
    verdicts = [entry for entry in told if not entry["unfinished"]]
    if case.way == "failed" and not case.lease and len(verdicts) == 2:  # another run has done it anew: both are true
        assert verdicts.pop(0)["error"] == "OSError: no luck"
    assert verdicts, told
    early = case.step in FRESH[: FRESH.index("committed")] or (case.way == "resumed" and case.step != "committed")
    if case.lease and early and case.way in ("fresh", "resumed"):
        assert first["lost"], "the first attempt has told a result"
    folder = output / STATE_FOLDER / label(STEM)
    if verdicts[0]["status"] == "failed":  # by the first attempt, in time
        assert case.way == "failed"
        assert all(entry["error"] == "OSError: no luck" for entry in verdicts), verdicts
        assert not seen
        assert not list(output.glob("sub/*"))
        return
    assert seen == set(OUTPUTS)
    for entry in verdicts:
        assert {key: entry[key] for key in COUNTED} == {key: place.entry[key] for key in COUNTED}
        assert {Path(path).name for path in entry["outputs"].values()} == set(OUTPUTS)
    assert sorted(path.name for path in (output / "sub").iterdir()) == sorted(OUTPUTS)
    resumed = any(entry.get("resumed_from") for entry in verdicts)
    for name, content in place.right.items():
        made = output / "sub" / name
        if name.endswith(".mp4") and resumed:  # it has a key frame more
            assert _times(made) == _times(place.folder / "right" / "sub" / name)
        else:
            assert made.read_bytes() == content, f"{name} is not what an undisturbed run makes"
    # Dead attempts are swept: what is left is the verdict, and perhaps who has adopted it.
    left = sorted(sorted(os.listdir(folder / name)) for name in os.listdir(folder))
    assert left in ([["committed", "verdict.json"]], [["committed", "verdict.json"], ["ticket"]]), left
    for job in ("job", "run 1", "run 2"):
        attempts.forget(output, STEM, job)
    assert not (output / STATE_FOLDER).exists()


def _times(path: Path) -> list[tuple[int | None, int | None]]:
    with av.open(str(path)) as container:
        return [(packet.pts, packet.duration) for packet in container.demux(video=0) if packet.size]


def main() -> int:
    """Plays the whole matrix: `python -m tests.chaos.halted [PART OF A NAME]`."""
    import tempfile

    wanted, failed, begun = " ".join(sys.argv[1:]), 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="halted-") as root:
        place = Place(Path(root))
        played = [case for case in cases() if wanted in str(case)]
        for number, case in enumerate(played):
            folder = Path(root) / f"case-{number}"
            folder.mkdir()
            try:
                play(place, case, folder)
            except AssertionError as error:
                failed += 1
                print(f"FAILED {case}: {str(error)[:600]}", flush=True)
            shutil.rmtree(folder)
    print(f"{len(played) - failed} of {len(played)} cases passed in {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
