"""End to end: the engine compared with the plain loop (peers/plain_loop.py) and the limit (limit.py), on real videos.

The engine does what `yolo-engine run` does, into a folder: tracks, MOT text, a manifest, and the annotated video where
the case says so. All sides run in this process with the same model, score threshold and NMS overlap, in alternating
rounds. Loading the model is excluded on both sides, opening the video is included. The plain loop feeds the model its
square; the engine pads to the stride only.

Where OpenVINO is installed, a loop around its asynchronous queue (peers/openvino_loop.py) runs as well, in float32.

The answers are compared in the same run. Frames must be the plain loop's, detections within TOLERANCE of its number
(the pixels differ by the rounding of OpenCV's RGB, and at the border where the shape does), their boxes must agree, and
the plain tracker, given the engine's own detections, must report exactly the engine's tracks. The number of tracks of
the plain loop is reported but not judged, because a detection that flickers at the threshold can split one. An
annotated video must hold every frame of the source, and the tracks beside it must be those of the run without.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.answers import f1, found_in, luma_psnr_db, same_bytes, tracks_hold
from benchmarks.clips import clip, in_words
from benchmarks.context import Context
from benchmarks.limit import Limit
from benchmarks.machine import asset
from benchmarks.peers import openvino_loop
from benchmarks.peers.plain_loop import CODEC, Counts, plain_loop
from benchmarks.record import Answer, Row, checked, spread
from benchmarks.reference_detector import ReferenceDetector
from benchmarks.reference_sort import ReferenceSort
from benchmarks.rounds import Samples, alternate
from benchmarks.stages import ultralytics
from engine import Engine, EngineConfig
from engine.profiling.sentences import sentences

MODEL = "models/yolox_nano.onnx"
CONF, NMS_IOU = 0.25, 0.45
TOLERANCE = 0.03
MIN_F1 = 0.97
# ONNX Runtime's idle threads spin for some 25 ms after a run; they must be asleep before the next one is timed.
PAUSE_S = 0.05

# Which videos are also annotated, by profile.
ANNOTATED = {"quick": ("people.mp4",), "full": ("people.mp4", "vtest.avi"), "large": ("people.mp4", "vtest.avi")}
VIDEOS = ("people.mp4", "vtest.avi")


def measure(context: Context) -> Iterator[Row]:
    for name in VIDEOS:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            case = stack.enter_context(Case(context, name, folder))
            yield from case.rows()
    yield from ultralytics.measure(context)


@dataclass
class Latest:
    """The results of the last run of each side."""

    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: dict[str, Counts] = field(default_factory=dict)


class Case:
    """One video: the sides that are timed together, and then their answers."""

    def __init__(self, context: Context, name: str, folder: Path) -> None:
        self.context, self.name, self.folder = context, name, folder
        self.video = clip(context, name)
        self.annotated = name in ANNOTATED[context.profile.name]
        model = asset(MODEL)
        config = EngineConfig(model=str(model), conf=CONF, nms_iou=NMS_IOU, visualize=False)
        self.engine = Engine(config)
        self.drawing = Engine(config.updated(visualize=True), model=self.engine.model)
        self.detector = ReferenceDetector(model, "yolox", conf=CONF, nms_iou=NMS_IOU)
        self.openvino = openvino_loop.OpenVinoLoop(model, self.detector) if openvino_loop.installed() else None
        self.latest = Latest()

    def __enter__(self) -> "Case":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def run_engine(self, side: str, engine: Engine) -> None:
        summary = engine.run([self.video], self.folder / side)
        if not summary["success"]:
            raise RuntimeError(f"{self.name}: {summary['videos'][0]['error']}")
        self.latest.summaries[side] = summary

    def run_plain(self, side: str, annotated: Path | None = None) -> None:
        out = self.folder / f"{side}.mot.txt"
        self.latest.counts[side] = plain_loop(self.video, self.detector, out, annotated)

    def run_openvino(self) -> None:
        assert self.openvino is not None
        self.latest.counts["OpenVINO loop"] = self.openvino.run(self.video, self.folder / "openvino.mot.txt")

    def rows(self) -> Iterator[Row]:
        self.run_plain("plain")  # also says how many frames there are
        frames = self.latest.counts["plain"].frames
        limit = Limit(self.engine, self.video, frames)
        work = {
            "engine": lambda: self.run_engine("engine", self.engine),
            "plain": lambda: self.run_plain("plain"),
            **({"OpenVINO loop": self.run_openvino} if self.openvino is not None else {}),
            "infer": limit.infer,
            "decode": limit.decode,
        }
        if self.annotated:
            work["drawing"] = lambda: self.run_engine("drawing", self.drawing)
            work["plain drawing"] = lambda: self.run_plain("plain drawing", self.folder / "plain.mp4")
        samples = alternate(work, rounds=self.context.profile.rounds, warmup=1, pause_s=PAUSE_S)
        limit.close()
        fps = {
            side: [frames / each for each in samples[side].wall_s] for side in work if side not in ("infer", "decode")
        }
        yield self.row_of_tracks(fps, limit, samples)
        if self.annotated:
            yield self.row_of_video(fps)

    def row_of_tracks(self, fps: dict[str, list[float]], limit: Limit, samples: dict[str, Samples]) -> Row:
        """Tracks only: the engine, the plain loop, and the limit of the same rounds."""
        infer, decode = samples["infer"], samples["decode"]
        most_fps, on_the_clock = limit.fps(infer, decode), limit.fps_on_the_clock(infer, decode)
        costs = limit.cpu_s_a_frame(infer, decode)
        engine_ms = [cpu_s / limit.frames * 1e3 for cpu_s in samples["engine"].cpu_s]
        answered, told = self.answer_of_tracks()
        return self.context.row(
            "pipeline",
            self.name,
            figures={
                "engine": fps["engine"],
                "plain loop": fps["plain"],
                **{side: fps[side] for side in ("OpenVINO loop",) if side in fps},
                "limit": most_fps,
            },
            unit="fps",
            better="higher",
            ours="engine",
            input=in_words(self.video),
            answer=answered,
            share_of_limit=share(fps["engine"], most_fps),
            share_of_limit_on_the_clock=share(fps["engine"], on_the_clock),
            limit={
                "inference": f"{self.engine.model.backend.name}, {limit.layout} threads",
                "tensor_hw": limit.tensor_hw,
                "infer_cpu_ms": spread([pair[0] * 1e3 for pair in costs]).model_dump(),
                "decode_cpu_ms": spread([pair[1] * 1e3 for pair in costs]).model_dump(),
            },
            engine_cpu_ms=spread(engine_ms).model_dump(),
            # The engine's CPU time without inference and decoding, which other programs hardly affect.
            share_of_engine_cpu=share([1e3 * sum(pair) for pair in costs], engine_ms),
            **told,
            **self.settings(self.engine),
        )

    def answer_of_tracks(self) -> tuple[Answer, dict[str, Any]]:
        """Return the answer, and further facts about both sides."""
        config = self.engine.config.updated(formats=("tracks", "detections"))
        summary = Engine(config, model=self.engine.model).run([self.video], self.folder / "checked")
        paths = {kind: Path(path) for kind, path in summary["videos"][0]["outputs"].items()}
        ours, theirs = self.latest.summaries["engine"]["totals"], self.latest.counts["plain"]
        difference = (ours["detections"] - theirs.detections) / max(1, theirs.detections)
        agreement = (
            f1(found_in(paths["detections"], ours["frames"]), theirs.found)
            if (ours["frames"] == theirs.frames)
            else 0.0
        )
        same_tracks = tracks_hold(
            paths["detections"], paths["tracks"], ReferenceSort(config.max_age, config.min_hits, config.iou_threshold)
        ) and same_bytes(paths["tracks"], self.outputs("engine")["tracks"])
        right = ours["frames"] == theirs.frames and abs(difference) <= TOLERANCE and agreement >= MIN_F1 and same_tracks
        outcome = (
            f"{ours['frames']} frames against {theirs.frames}, {difference:+.1%} detections, the plain tracker on the "
            f"engine's detections gives {'the same' if same_tracks else 'OTHER'} tracks"
        )
        answered = checked(
            right,
            "the plain loop, and the plain tracker on the engine's detections",
            outcome,
            detections_difference=difference,
            detections_f1=agreement,
            tracks_same=float(same_tracks),
        )
        counts = {
            "engine": {key: ours[key] for key in ("frames", "detections", "tracks")},
            "plain loop": {"frames": theirs.frames, "detections": theirs.detections, "tracks": len(theirs.track_ids)},
        }
        if (loop := self.latest.counts.get("OpenVINO loop")) is not None:
            counts["OpenVINO loop"] = {
                "frames": loop.frames, "detections": loop.detections, "tracks": len(loop.track_ids)
            }  # fmt: skip
        return answered, {"found": counts}

    def row_of_video(self, fps: dict[str, list[float]]) -> Row:
        """With the annotated video: the engine, the plain loop that draws and writes, and the engine without."""
        outputs, frames = self.outputs("drawing"), self.latest.counts["plain"].frames
        ours, theirs = outputs["video"], self.folder / "plain.mp4"
        our_frames, our_psnr = luma_psnr_db(ours, self.video)
        their_frames, their_psnr = luma_psnr_db(theirs, self.video)
        same_tracks = same_bytes(outputs["tracks"], self.outputs("engine")["tracks"])
        return self.context.row(
            "pipeline",
            f"{self.name} annotated",
            figures={
                "engine": fps["drawing"],
                "plain loop, drawing and writing": fps["plain drawing"],
                "engine, tracks only": fps["engine"],
            },
            unit="fps",
            better="higher",
            ours="engine",
            input=in_words(self.video),
            answer=checked(
                our_frames == frames and same_tracks,
                "the source's frames, and the run without a video",
                f"{our_frames} of {frames} frames written, {'the same' if same_tracks else 'OTHER'} tracks",
                luma_psnr_db=our_psnr,
                plain_loop_luma_psnr_db=their_psnr,
            ),
            share_of_tracks_only=share(fps["drawing"], fps["engine"]),
            written_bytes_a_frame={
                "engine": ours.stat().st_size / frames,
                "plain loop": theirs.stat().st_size / max(1, their_frames),
            },
            codec={
                "engine": f"H.264, {self.drawing.config.video_preset}, crf {self.drawing.config.video_crf}",
                "plain loop": f"MPEG-4 Part 2 ({CODEC}), OpenCV's defaults",
            },
            **self.settings(self.drawing),
        )

    def outputs(self, side: str) -> dict[str, Path]:
        return {kind: Path(path) for kind, path in self.latest.summaries[side]["videos"][0]["outputs"].items()}

    def settings(self, engine: Engine) -> dict[str, Any]:
        said = verdict_of(engine)
        return {
            "model": engine.model.manifest.name,
            "backend": engine.model.backend.name,
            "workers": engine.workers,
            "conf": CONF,
            "nms_iou": NMS_IOU,
            **({"verdict": said} if said else {}),
        }


def share(ours: list[float], of: list[float]) -> dict[str, float]:
    """Round by round: median, lowest, highest."""
    return spread([mine / most for mine, most in zip(ours, of, strict=True)]).model_dump()


def verdict_of(engine: Engine) -> list[str]:
    """Return the engine's verdict on its last run in sentences: what limits it, and what a change would give."""
    verdict = engine.verdict()
    return [] if verdict is None else sentences(verdict.to_json())
