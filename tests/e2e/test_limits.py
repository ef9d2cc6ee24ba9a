"""Files made to do harm: limits on size, length and decoding time name the key, the limit and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.clips import Shot, joined, make
from tests.e2e.runs import clip, fake_engine, frames_in, left_over, rows

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_pixels": 64 * 48 - 1}, "has an image of 64x48 = 3,072 pixels, more than max_pixels = 3,071"),
        ({"max_decode_s": 1e-9}, "seconds to decode, more than max_decode_s = 1e-09"),
    ],
)
def test_over_the_limit_from_the_first_frame(tmp_path: Path, settings: dict[str, float], said: str) -> None:
    summary = fake_engine(visualize=True, **settings).run([clip(tmp_path / "a.mp4")], tmp_path / "out")
    (video,) = summary["videos"]
    assert video["status"] == "failed"
    assert said in video["error"]
    assert left_over(tmp_path / "out", "a.*") == []


def test_longer_than_the_limit(tmp_path: Path) -> None:
    """It is read no further, and what came before is kept."""
    (video,) = fake_engine(visualize=True, max_duration_s=0.4).run([clip(tmp_path / "a.mp4")], tmp_path / "out")[
        "videos"
    ]
    assert (video["status"], video["frames"]) == ("partial", 11)
    assert video["error"] == ("goes on for more than max_duration_s = 0.4 seconds, after 11 frames: not read further")
    assert frames_in(Path(video["outputs"]["video"])) == 11


def test_at_the_limit(tmp_path: Path) -> None:
    engine = fake_engine(max_pixels=64 * 48, max_duration_s=0.48, max_decode_s=60)
    (video,) = engine.run([clip(tmp_path / "a.mp4")], tmp_path / "out")["videos"]
    assert (video["status"], video["frames"]) == ("ok", 12)


def test_a_picture_that_grows(tmp_path: Path) -> None:
    """What came before it is kept."""
    small = make(tmp_path, Shot(suffix=".ts", muxer="mpegts", frames=20), "small")
    large = make(tmp_path, Shot(suffix=".ts", muxer="mpegts", frames=20, size_wh=(320, 240)), "large")
    source = joined(tmp_path / "grows.ts", small, large).path
    (video,) = fake_engine(max_pixels=100 * 100).run([source], tmp_path / "out")["videos"]
    assert video["status"] == "partial"
    assert "has an image of 320x240 = 76,800 pixels, more than max_pixels = 10,000 after 20 frames" in video["error"]
    assert rows(Path(video["outputs"]["tracks"]))[-1]["frame"] == 19


def test_a_length_that_the_container_hides(tmp_path: Path) -> None:
    source = make(tmp_path, Shot(suffix=".h264", muxer="h264", frames=50)).path
    (video,) = fake_engine(max_duration_s=1.0).run([source], tmp_path / "out")["videos"]
    assert video["status"] == "partial"
    assert f"goes on for more than max_duration_s = 1 seconds, after {video['frames']} frames" in video["error"]
    assert 0 < video["frames"] < 50
