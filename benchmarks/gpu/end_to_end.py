"""End to end with the tracker: the engine on each backend, into a folder, compared with the plain loop on the same GPU.

On one video, then on several at the same time. The frames must be as many as the plain loop's, detections within
TOLERANCE of its number with the same boxes, and the plain tracker, given the engine's own detections, must report
exactly the engine's tracks. Each of several videos must have the tracks of one alone.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.answers import f1, found_in, same_bytes, tracks_hold
from benchmarks.clips import in_words
from benchmarks.gpu.setting import CONF, NMS_IOU, Setting
from benchmarks.peers.plain_loop import Counts, plain_loop
from benchmarks.record import Answer, Row, checked
from benchmarks.reference_detector import FAMILIES, ReferenceDetector
from benchmarks.reference_sort import ReferenceSort
from benchmarks.rounds import alternate
from engine import Engine
from engine.inference.model import resolved_model

TOLERANCE = 0.03
MIN_F1 = 0.95
PAUSE_S = 0.1
PLAIN = "plain loop"


def measure(setting: Setting) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name, setting.engines(streams=setting.streams) as engines:
        case = Case(setting, engines, Path(name))
        yield case.one_video()
        yield case.several_videos()


class Case:
    """The sides that are timed together, and the results of their last runs."""

    def __init__(self, setting: Setting, engines: dict[str, Engine], folder: Path) -> None:
        self.setting, self.engines, self.folder = setting, engines, folder
        self.first = next(iter(engines))
        self.counts = Counts()
        self.detector: ReferenceDetector | None = None
        resolved = resolved_model(engines[self.first].config)
        if resolved.manifest.layout in FAMILIES:
            self.detector = ReferenceDetector(
                resolved.path,
                resolved.manifest.layout,
                conf=CONF,
                nms_iou=NMS_IOU,
                providers=setting.providers,
                size_hw=(resolved.manifest.input.height, resolved.manifest.input.width),
            )
        self.copies = [folder / "videos" / f"{number}{setting.video.suffix}" for number in range(setting.streams)]
        self.copies[0].parent.mkdir()
        for copy in self.copies:
            shutil.copyfile(setting.video, copy)

    def run_engine(self, name: str, videos: list[Path]) -> dict[str, Any]:
        summary = self.engines[name].run(videos, self.folder / name)
        if not summary["success"]:
            raise RuntimeError(f"{name}: {[video['error'] for video in summary['videos'] if video['error']]}")
        return summary

    def run_plain(self) -> None:
        assert self.detector is not None
        self.counts = plain_loop(self.setting.video, self.detector, self.folder / "plain.mot.txt")

    def one_video(self) -> Row:
        videos = self.copies[:1]
        frames = self.run_engine(self.first, videos)["totals"]["frames"]
        work: dict[str, Any] = {
            f"engine, {name}": lambda name=name: self.run_engine(name, videos) for name in self.engines
        }
        if self.detector is not None:
            work[PLAIN] = self.run_plain
        samples = alternate(work, rounds=self.setting.context.profile.rounds, pause_s=PAUSE_S)
        return self.setting.context.row(
            "end to end",
            "1 video",
            figures={name: [frames / seconds for seconds in samples[name].wall_s] for name in work},
            unit="fps",
            better="higher",
            ours=f"engine, {self.first}",
            input=in_words(self.setting.video),
            answer=self.answer(frames),
            **self.setting.told(
                workers=self.engines[self.first].workers,
                batch=self.engines[self.first].batch,
                engine_verdict=self.verdict(),
            ),
        )

    def answer(self, frames: int) -> Answer:
        """Compare each engine with the plain loop; the worst result counts."""
        accuracy: dict[str, float] = {"frames": frames}
        right = True
        for name, engine in self.engines.items():
            config = engine.config.updated(formats=("tracks", "detections"))
            checking = Engine(config, model=engine.model)
            summary = checking.run(self.copies[:1], self.folder / f"{name} checked")
            paths = {kind: Path(path) for kind, path in summary["videos"][0]["outputs"].items()}
            sort = ReferenceSort(config.max_age, config.min_hits, config.iou_threshold)
            same = tracks_hold(paths["detections"], paths["tracks"], sort)
            accuracy[f"{name}_tracks_same"] = float(same)
            right &= same and summary["totals"]["frames"] == frames
            if self.detector is None:
                continue
            theirs, ours = self.counts, summary["totals"]
            accuracy[f"{name}_detections_difference"] = (ours["detections"] - theirs.detections) / max(
                1, theirs.detections
            )
            agree = f1(found_in(paths["detections"], frames), theirs.found) if theirs.frames == frames else 0.0
            accuracy[f"{name}_detections_f1"] = agree
            right &= agree >= MIN_F1 and abs(accuracy[f"{name}_detections_difference"]) <= TOLERANCE
        return checked(
            right,
            "the plain loop, and the plain tracker on the engine's detections",
            f"{frames} frames, the tracks of the plain tracker",
            **accuracy,
        )

    def several_videos(self) -> Row:
        videos = self.copies
        alone = self.tracks_of(self.run_engine(self.first, videos[:1]))[0].read_bytes()
        summaries: dict[str, dict[str, Any]] = {}

        def run(name: str) -> None:
            summaries[name] = self.run_engine(name, videos)

        work = {f"engine, {name}": lambda name=name: run(name) for name in self.engines}
        samples = alternate(work, rounds=self.setting.context.profile.rounds, pause_s=PAUSE_S)
        frames = summaries[self.first]["totals"]["frames"]
        kept = self.folder / "alone.tracks.jsonl"
        kept.write_bytes(alone)
        differing = sum(not same_bytes(path, kept) for path in self.tracks_of(summaries[self.first]))
        return self.setting.context.row(
            "end to end",
            f"{len(videos)} videos at the same time",
            figures={name: [frames / seconds for seconds in samples[name].wall_s] for name in work},
            unit="fps",
            better="higher",
            ours=f"engine, {self.first}",
            input=f"{len(videos)} times {in_words(self.setting.video)}",
            answer=checked(
                differing == 0,
                "the tracks of one video alone",
                f"{differing} of {len(videos)} videos have others",
                differing_videos=differing,
            ),
            **self.setting.told(engine_verdict=self.verdict()),
        )

    def verdict(self) -> dict[str, Any] | None:
        """Return what limited the first engine's last run, according to its verdict."""
        found = self.engines[self.first].verdict()
        return None if found is None else found.to_json()

    @staticmethod
    def tracks_of(summary: dict[str, Any]) -> list[Path]:
        return [Path(video["outputs"]["tracks"]) for video in summary["videos"]]
