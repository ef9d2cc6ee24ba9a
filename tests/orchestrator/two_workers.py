"""Two workers on one long video of a job, whose engines compute as slowly as a test needs."""

import hashlib
import json
import os
import threading
from pathlib import Path

from engine import Engine, EngineConfig
from orchestrator.job.jobdir import PIECES
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.e2e.runs import clip
from tests.e2e.videos import same_video
from tests.waiting import until

CONFIG = {
    "backend": "fake",
    "min_hits": 1,
    "visualize": True,
    "video_crf": 0,  # without loss, so that images can be compared
    "split_s": 1.0,
    "workers": 1,
    "formats": ["tracks", "mot", "detections"],
}
FRAMES = 150


class Two:
    """A job over one video of 6 s, and two workers. `output` is where the results go, by default a folder."""

    def __init__(self, folder: Path, monkeypatch, *, output: str | None = None, **config) -> None:
        self.folder = folder
        self._env = monkeypatch
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "faults"))
        self.settings = Settings(state_dir=folder / "state", lease_s=2.0)
        self.video = clip(folder / "videos" / "long.mp4", FRAMES, codec="libx264", options={"g": "25", "bf": "2"})
        given = {**CONFIG, **config}
        output = output or str(folder / "out")
        self.job = jobs.begin(str(folder / "videos"), given, self.settings, output=output, workers=2)
        self.stops = {"process-1": False, "process-2": False}
        jobs.start(self.job, self.context("process-1"))
        self.threads: list[threading.Thread] = []
        self.hows: dict[str, str] = {}

    def context(self, key: str) -> jobs.Context:
        return jobs.Context(f"{key}@here", self.settings, lambda: self.stops[key])

    def begin(self, key: str, *, delay_s: float) -> None:
        """Run a step, whose model takes so long for a frame."""
        self._env.setenv("FAULT_DELAY_S", str(delay_s))

        def run() -> None:
            self.hows[key] = jobs.process(self.job, key, self.context(key)).how

        self.threads.append(threading.Thread(target=run, name=key))
        self.threads[-1].start()

    def both(self, *, helper_s: float = 0.0, tracker_s: float = 0.1) -> None:
        """The first tracks, so slowly that there is time for the second, which helps."""
        self.begin("process-1", delay_s=tracker_s)
        until(lambda: any(video.frames for each in self.job.progress() for video in each.videos), 30, self.tail)
        (self.tracker,) = self.engines()
        self.begin("process-2", delay_s=helper_s)

    def both_until_one_draws(self, *, helper_s: float) -> list[dict]:
        """The same, until the second has drawn a piece. While `held` exists, the first draws only what it infers."""
        self.held = self.folder / "held"
        self.held.touch()
        self._env.setenv("FAULT_DRAW_HOLD", str(self.held))
        self.both(helper_s=helper_s)
        until(lambda: self.events("piece drawn"), 60, self.tail)
        return self.events("piece drawn")

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()

    def events(self, name: str) -> list[dict]:
        lines = (self.job.folder / "events.jsonl").read_text().splitlines()
        return [found for line in lines if (found := json.loads(line))["event"] == name]

    def tail(self) -> str:
        return (self.job.folder / "events.jsonl").read_text()

    def helper(self) -> int:
        """The engine process of the second worker, once it is at a piece."""
        until(self.in_hand, 30, self.tail)
        until(lambda: len(self.engines()) == 2, 30)
        (other,) = set(self.engines()) - {self.tracker}
        return other

    def engines(self) -> list[int]:
        paths = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        children = sorted(int(child) for path in paths for child in path.read_text().split())
        wanted = b"orchestrator.engine_process.main"
        return [pid for pid in children if wanted in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def in_hand(self) -> list[Path]:
        """The leases of pieces at work."""
        folder = self.job.folder / PIECES
        if not folder.is_dir():
            return []
        ended = {path.name.removesuffix(".end.json") for path in folder.glob("*.end.json")}
        return [path for path in folder.glob("*[0-9].json") if path.name.removesuffix(".json") not in ended]

    def judge(self, results: Path | None = None) -> None:
        """The results are those of one worker, to the byte; of the annotated video, its times and its images.
        `results` is a folder with them, if that is not the job's output."""
        self.end()
        entry = self.job.done(0).entry
        assert (entry.status, entry.frames, entry.error) == ("ok", FRAMES, None)
        same_as_alone(self.folder / "videos", self.folder / "alone", results or self.folder / "out")


def same_as_alone(videos: Path, alone: Path, results: Path) -> None:
    """Check that the results in a folder are those of one worker, which writes into `alone`."""
    config = {key: value for key, value in CONFIG.items() if key != "split_s"}
    with Engine(EngineConfig(**config)) as engine:
        assert engine.run([videos], alone)["success"]
    for path in sorted(path for path in alone.iterdir() if path.name.startswith("long.")):
        made = results / path.name
        if path.suffix == ".mp4":
            same_video(made, path)
            continue
        assert hashlib.sha256(made.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest(), path.name
