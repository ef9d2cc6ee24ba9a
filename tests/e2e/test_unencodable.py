"""An annotated video that can't be made costs no rows: it is left out, noted, and the status is partial."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import av
import pytest

from engine import Engine
from engine.media.inputs import Video
from engine.sinks.mux import sink_error
from engine.sinks.video import AnnotatedVideo
from tests.assets import require_asset
from tests.e2e.runs import clip, fake_engine, left_over, rows

pytestmark = pytest.mark.timeout(60)


def test_a_presentation_time_that_mp4_cannot_hold(tmp_path: Path) -> None:
    source = require_asset("faults/x25_av1_nal.ivf")
    (plain,) = fake_engine().run([source], tmp_path / "plain")["videos"]
    (video,) = fake_engine(visualize=True).run([source], tmp_path / "out")["videos"]
    assert (video["status"], video["frames"], sorted(video["outputs"])) == ("partial", 3, ["mot", "tracks"])
    assert "annotated video left out: " in video["error"]
    assert any("annotated video left out: " in note for note in video["notes"])
    for kind in ("tracks", "mot"):
        assert Path(video["outputs"][kind]).read_bytes() == Path(plain["outputs"][kind]).read_bytes()
    assert left_over(tmp_path / "out") == []
    assert not list((tmp_path / "out").glob("*.mp4"))


def _refusing(monkeypatch: pytest.MonkeyPatch, method: str, at: int, error: BaseException) -> None:
    """The encoder or muxer fails at the `at`-th call."""
    whole, calls = getattr(AnnotatedVideo, method), [0]

    def refuse(sink: AnnotatedVideo, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] >= at:
            raise sink_error("a.mp4.part", error)
        return whole(sink, *given)

    monkeypatch.setattr(AnnotatedVideo, method, refuse)


INVALID = av.error.InvalidDataError(1, "Invalid data found when processing input")


@pytest.mark.parametrize(
    ("method", "at", "error"),
    [
        ("write", 1, INVALID),
        ("write", 8, av.error.ArgumentError(22, "Invalid argument")),
        ("write", 8, OverflowError("Python int too large to convert to C long")),
        ("mark", 2, INVALID),
        ("complete", 1, ValueError("no")),
    ],
)
def test_wherever_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, at: int, error: BaseException
) -> None:
    source = clip(tmp_path / "a.mp4", 20)
    _refusing(monkeypatch, method, at, error)
    (video,) = fake_engine(visualize=True, checkpoint_s=0.0).run([source], tmp_path / "out")["videos"]
    assert (video["status"], video["frames"], sorted(video["outputs"])) == ("partial", 20, ["mot", "tracks"])
    assert rows(Path(video["outputs"]["tracks"]))[-1]["frame"] == 19
    assert left_over(tmp_path / "out") == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
def test_a_full_disk_is_an_error_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    source = clip(tmp_path / "a.mp4", 20)
    _refusing(monkeypatch, "write", 8, error)
    (video,) = fake_engine(visualize=True).run([source], tmp_path / "out")["videos"]
    assert (video["status"], video["outputs"]) == ("failed", {})
    assert video["error"].startswith("a.mp4.part can't be written: ")


def test_no_other_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left to be partial."""
    _refusing(monkeypatch, "write", 1, INVALID)
    sinks = [AnnotatedVideo(tmp_path / "a.mp4", ["thing"], crf=25, preset="ultrafast", threads=1)]
    engine = fake_engine()
    videos = [Video(str(clip(tmp_path / "a.avi", 5)), PurePosixPath("a"))]
    (outcome,) = engine.process(videos, lambda video: {"video": (sinks[0], tmp_path / "a.mp4")})
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert "annotated video left out" in outcome.error


def _stopped_after(engine: Engine, source: Path, folder: Path, frames: int) -> dict[str, Any]:
    """Runs until so many frames are done."""

    def tell(streams: list[Any]) -> None:
        if any(stream.frames >= frames for stream in streams):
            engine.stop()

    video: dict[str, Any] = engine.run([source], folder, progress=tell)["videos"][0]
    return video


def test_interrupted_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays given up, though checkpoints from before still had it."""
    source = clip(tmp_path / "a.mp4", 120)
    with monkeypatch.context() as patched:
        _refusing(patched, "write", 30, INVALID)
        engine = fake_engine(visualize=True, delay_s=0.02, workers=1, checkpoint_s=0.1)
        video = _stopped_after(engine, source, tmp_path / "out", 40)
    assert video["status"] == "partial"
    assert sorted(video["outputs"]) == ["mot", "tracks"]
    (video,) = fake_engine(visualize=True).run([source], tmp_path / "out")["videos"]
    assert video["resumed_from"] > 0
    assert (video["status"], video["frames"], sorted(video["outputs"])) == ("partial", 120, ["mot", "tracks"])
    assert "annotated video left out" in video["error"]
    (plain,) = fake_engine().run([source], tmp_path / "plain")["videos"]
    assert rows(Path(video["outputs"]["tracks"])) == rows(Path(plain["outputs"]["tracks"]))
    assert left_over(tmp_path / "out") == []
