"""Source and decode: the engine's reader and OpenCV's VideoCapture, each on one thread, and to the model's tensor.

VideoCapture gives BGR, which takes a conversion; the engine's frames stay as decoded, because the letterbox reads them
so. The second case of each video has the same end on both sides: the tensor of YOLOX-nano, with OpenCV's resize,
border, transpose and float. PyAV alone shows the cost of the decoder itself.

Both must give the same number of frames, and every tenth frame, as BGR, must agree: in the mean to a few levels, as the
two convert colours with other rounding.
"""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from benchmarks.clips import clip, in_words, resized
from benchmarks.context import Context
from benchmarks.limit import decode_all
from benchmarks.machine import asset
from benchmarks.record import Answer, Row, checked
from benchmarks.reference_detector import ReferenceDetector
from benchmarks.rounds import alternate
from engine.config import EngineConfig
from engine.inference.model import resolved_model
from engine.media.inputs import Video
from engine.media.source import Source
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.records import Frame, FrameBatch
from engine.sinks.memory import Counters
from engine.stages.preprocess import Preprocess

MODEL = "models/yolox_nano.onnx"
COMPARED_EVERY = 10
MAX_LEVELS = 3.0  # mean difference of BGR, of 255
LARGE = {"1080p": (1920, 1080), "2160p": (3840, 2160)}
LARGE_FRAMES = 40


def measure(context: Context) -> Iterator[Row]:
    videos = {name: clip(context, name) for name in ("people.mp4", "vtest.avi")}
    if context.profile.name != "quick":
        people = asset("videos/people.mp4")
        videos |= {name: resized(people, size_wh, LARGE_FRAMES) for name, size_wh in LARGE.items()}
    tensors = Tensors()
    for name, video in videos.items():
        yield frames_row(context, name, video)
        yield tensor_row(context, name, video, tensors)


def engine_frames(video: Path) -> Iterator[Frame]:
    """Yield the frames as in the engine's pipeline, on this thread."""
    source = Source(str(video))
    try:
        run = StreamRun(0, Video(str(video), PurePosixPath(video.stem)), {}, Counters(), 8)
        reader = StreamReader(source, run, ReaderSettings())
        reader.open()
        with Metrics().clock("decode") as clock:
            yield from reader.frames(clock.lap)
        problems = reader.end().problems
        if problems:
            raise RuntimeError(f"{video.name} {'; '.join(problems)}")
    finally:
        source.close()


def opencv_frames(video: Path) -> Iterator[Any]:
    """(H, W, 3) BGR, decoded on this thread."""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    while True:
        there, image = capture.read()
        if not there:
            break
        yield image
    capture.release()


def count(frames: Iterator[Any]) -> int:
    return sum(1 for _ in frames)


def frames_row(context: Context, name: str, video: Path) -> Row:
    answered, frames = same_pictures(video)
    work: dict[str, Callable[[], int]] = {
        "engine": lambda: count(engine_frames(video)),
        "OpenCV VideoCapture": lambda: count(opencv_frames(video)),
        "PyAV alone": lambda: decode_all(video),
    }
    return row(context, f"{name}, frames", video, work, frames, answered)


def tensor_row(context: Context, name: str, video: Path, tensors: "Tensors") -> Row:
    answered, frames = tensors.same(video)
    work: dict[str, Callable[[], int]] = {
        "engine": lambda: count(tensors.of_engine(video)),
        "OpenCV VideoCapture, resize, transpose": lambda: count(tensors.of_opencv(video)),
    }
    return row(context, f"{name}, to the tensor", video, work, frames, answered)


def row(
    context: Context, case: str, video: Path, work: dict[str, Callable[[], int]], frames: int, answered: Answer
) -> Row:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        samples = alternate(work, rounds=context.profile.rounds)
    finally:
        cv2.setNumThreads(threads)
    return context.row(
        "decode",
        case,
        figures={name: [frames / seconds for seconds in samples[name].wall_s] for name in work},
        unit="fps",
        better="higher",
        ours="engine",
        input=in_words(video),
        answer=answered,
        threads=1,
    )


def same_pictures(video: Path) -> tuple[Answer, int]:
    """Return the answer and the number of frames."""
    ours, theirs = engine_frames(video), opencv_frames(video)
    frames, mean, most = 0, 0.0, 0.0
    for ours_frame in ours:
        image = next(theirs, None)
        if image is not None and frames % COMPARED_EVERY == 0:
            assert ours_frame.image is not None
            found = np.abs(ours_frame.image.to_ndarray(format="bgr24").astype(np.int16) - image)
            mean, most = max(mean, float(found.mean())), max(most, float(found.max()))
        frames += image is not None
    counts = count(engine_frames(video)), frames + count(theirs)
    return (
        checked(
            counts[0] == counts[1] and mean <= MAX_LEVELS,
            "the pictures of OpenCV's VideoCapture",
            f"{counts[0]} frames against {counts[1]}",
            mean_difference_levels=mean,
            max_difference_levels=most,
        ),
        counts[0],
    )


class Tensors:
    """Convert frames to the square tensor of YOLOX-nano, in both ways."""

    def __init__(self) -> None:
        manifest = resolved_model(EngineConfig(model=str(asset(MODEL)))).manifest
        self._hw = (manifest.input.height, manifest.input.width)
        self._preprocess = Preprocess(manifest.input, "float32")
        self._detector = ReferenceDetector(asset(MODEL), "yolox", conf=0.25, nms_iou=0.45)

    def of_engine(self, video: Path) -> Iterator[Any]:
        for frame in engine_frames(video):
            yield self._preprocess.process(FrameBatch([frame], self._hw)).tensor

    def of_opencv(self, video: Path) -> Iterator[Any]:
        for image in opencv_frames(video):
            yield self._detector.letterbox(image)[0]

    def same(self, video: Path) -> tuple[Answer, int]:
        frames, mean = 0, 0.0
        for ours, theirs in zip(self.of_engine(video), self.of_opencv(video), strict=True):
            if frames % COMPARED_EVERY == 0:
                mean = max(mean, float(np.abs(ours - theirs).mean()))
            frames += 1
        answered = checked(
            mean <= MAX_LEVELS,
            "the tensors made with OpenCV",
            f"{frames} tensors, as many as frames",
            mean_difference_levels=mean,
        )
        return answered, frames
