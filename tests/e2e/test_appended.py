"""Files that were put together with `cat`: what is not read of them is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.runs import clip, fake_engine


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("mov", "mpeg4"), ("asf", "msmpeg4"), ("flv", "flv")]
)
def test_a_second_video_that_no_reader_shows(tmp_path: Path, suffix: str, codec: str) -> None:
    whole = clip(tmp_path / f"whole.{suffix}", 12, codec=codec)
    content = whole.read_bytes()
    (tmp_path / f"twice.{suffix}").write_bytes(2 * content)
    with fake_engine() as engine:
        found = {Path(video["path"]).stem: video for video in engine.run([tmp_path], tmp_path / "out")["videos"]}
    assert (found["whole"]["status"], found["whole"]["frames"]) == ("ok", 12)
    assert (found["twice"]["status"], found["twice"]["frames"]) == ("partial", 12)
    assert f"a second video is appended to it at byte {len(content):,}" in found["twice"]["error"]


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4")])
def test_where_readers_go_on_the_second_is_read(tmp_path: Path, suffix: str, codec: str) -> None:
    video = clip(tmp_path / f"a.{suffix}", 12, codec=codec)
    video.write_bytes(2 * video.read_bytes())
    with fake_engine() as engine:
        (entry,) = engine.run([video], tmp_path / "out")["videos"]
    assert (entry["status"], entry["frames"]) == ("ok", 24)


@pytest.mark.parametrize("tail", [b"\0" * 64, b"\0\0\0\x10free12345678", b"ftypmoovmdat" * 9])
def test_what_else_is_appended_is_no_video(tmp_path: Path, tail: bytes) -> None:
    video = clip(tmp_path / "a.mp4", 12)
    video.write_bytes(video.read_bytes() + tail)
    with fake_engine() as engine:
        (entry,) = engine.run([video], tmp_path / "out")["videos"]
    assert (entry["status"], entry["error"]) == ("ok", None)
