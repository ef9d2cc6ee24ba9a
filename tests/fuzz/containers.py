"""Damaged containers of many kinds, through the whole engine, with and without an annotated video."""

from __future__ import annotations

import zlib
from pathlib import Path
from random import Random

from tests.e2e.clips import Shot, make
from tests.e2e.runs import fake_engine, left_over
from tests.fuzz.mutate import damaged

_QUIET = {"x265-params": "log-level=none"}
_VP9 = {"deadline": "realtime", "cpu-used": "8"}

_SHOTS = (
    Shot(audio="aac"),
    Shot(muxer_options={"movflags": "frag_keyframe+empty_moov"}),
    Shot(matrix=(0, 1, -1, 0)),
    Shot(codec="libx265", options=_QUIET),
    Shot(suffix=".mkv", audio="flac"),
    Shot(suffix=".webm", codec="libvpx-vp9", options=_VP9),
    Shot(suffix=".ts", audio="aac"),
    Shot(suffix=".avi", codec="mpeg4", options={"bf": "2"}, audio="libmp3lame"),
    Shot(suffix=".avi", codec="mjpeg", pix_fmt="yuvj420p"),
    Shot(suffix=".mov", codec="png", pix_fmt="rgba"),
    Shot(suffix=".mov", codec="qtrle", pix_fmt="rgb24"),
    Shot(suffix=".mkv", codec="ffv1", pix_fmt="yuv444p16le"),
    Shot(suffix=".flv", codec="flv"),
    Shot(suffix=".mpg", codec="mpeg2video"),
    Shot(suffix=".wmv", codec="wmv2"),
    Shot(suffix=".gif", codec="gif", pix_fmt="rgb8", rate=10),
    Shot(suffix=".apng", codec="apng", pix_fmt="rgba", muxer="apng"),
    Shot(suffix=".nut", codec="rawvideo", pix_fmt="nv12"),
    Shot(suffix=".ivf", codec="libvpx", options=_VP9),
    Shot(suffix=".h264", muxer="h264"),
    Shot(suffix=".hevc", codec="libx265", options=_QUIET),
    Shot(suffix=".obu", codec="libsvtav1", options={"preset": "12"}, muxer="obu"),
    Shot(suffix=".y4m", codec="wrapped_avframe", muxer="yuv4mpegpipe"),
)


def prepare(folder: Path) -> None:
    for index, shot in enumerate(_SHOTS):
        try:
            make(folder, shot, f"{index:02d}")
        except Exception as error:  # noqa: BLE001 - an encoder that this build lacks
            (folder / f"{index:02d}{shot.suffix}").unlink(missing_ok=True)
            print(f"left out: {shot.suffix} {shot.codec}: {error}")  # noqa: T201 - in front of the table


def case(chance: Random, folder: Path) -> tuple[bytes, str]:
    good = sorted(folder.iterdir())
    one, other = chance.choice(good), chance.choice(good)
    suffix = one.suffix if chance.random() < 0.9 else chance.choice((".mp4", ".avi", ".bin", "", ".mjpeg", ".dv"))
    return damaged(one.read_bytes(), other.read_bytes(), chance), suffix


def attempt(path: Path, folder: Path) -> None:
    visualize = zlib.crc32(path.name.encode()) % 2 == 0
    engine = fake_engine(visualize=visualize, streams=1, workers=1, checkpoint_s=0.0)
    (video,) = engine.run([path], folder / "out")["videos"]
    assert video["status"] in ("ok", "partial", "failed"), video
    assert (video["error"] is None) == (video["status"] == "ok"), video
    assert "Error:" not in (video["error"] or ""), f"a foreign error got through: {video['error']}"
    assert bool(video["outputs"]) == (video["status"] != "failed"), video
    assert left_over(folder / "out") == []
