"""Fixtures of the engine's tests: small frames, a fake engine, an own cache, generated clips."""

import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from engine.cli import main as cli
from engine.inference.heads import HeadReader
from engine.inference.layouts import get_layout
from engine.records import Detections, EndOfStream, Frame, Tracks


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the entry point as the console script does. The result has `status`, `out` and `err`."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["yolo-engine", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return SimpleNamespace(status=caught.value.code, out=captured.out, err=captured.err)

    return call


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep tests away from the user's cache of models, and from proxies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("YOLO_ENGINE_MODELS", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "cache" / "yolo-engine" / "models"


def make_image(width: int = 64, height: int = 48, pixel_format: str = "gray") -> av.VideoFrame:
    return av.VideoFrame(width, height, pixel_format)


IMAGE = make_image()


def make_frame(index: int, stream: int = 0, *, infer: bool = True, image: object = IMAGE) -> Frame:
    return Frame(stream, index, 40 * index, 40, Fraction(1, 1000), image, infer)


def heads_of(layout: str, outputs: list, hw: tuple[int, int], conf: float = 0.25, class_mask=None) -> list:
    """Return the heads of a batch from a model's output for each image."""
    reader = HeadReader(get_layout(layout), conf, class_mask)
    return [reader.head(np.asarray(output, np.float32), hw) for output in outputs]


def make_detections(*boxes: tuple[float, float, float, float], class_id: int = 0, score: float = 0.9) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(boxes), score, np.float32),
        np.full(len(boxes), class_id, np.int32),
    )


def make_tracks(frame: Frame, rows: list[tuple], detections: Detections | None = None) -> Tracks:
    """Rows of (id, class id, score, box)."""
    ids, classes, scores, boxes = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Tracks(
        frame,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(ids, np.int64),
        np.array(classes, np.int32),
        np.array(scores, np.float32),
        detections,
    )


def make_end(frames: int, stream: int = 0) -> EndOfStream:
    return EndOfStream(stream, frames)


def write_clip(path: Path, frames: int = 12, size_wh: tuple[int, int] = (128, 128)) -> Path:
    """Write a clip of a white square that moves to the right by two pixels per frame, on black."""
    width, height = size_wh
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = np.zeros((height, width, 3), np.uint8)
            left = 8 + 2 * index % (width // 2)
            picture[40:72, left : left + 32] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "square.mp4")
