"""A status says what is so: whole files are ok whatever they claim, and what is missing is named, with its place."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.engine import Progress
from engine.errors import NotFinite
from engine.inference.heads import count_non_finite
from engine.media.extent import missing_bytes
from tests.assets import require_asset
from tests.e2e.clips import Shot, make
from tests.e2e.runs import clip, fake_engine, frames_in, rows

pytestmark = pytest.mark.timeout(60)

_FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}
_FRAMES = 40

CONTAINERS = {
    "mp4": Shot(frames=_FRAMES, audio="aac", muxer_options={"movflags": "faststart"}),
    "mov": Shot(frames=_FRAMES, suffix=".mov", muxer_options={"movflags": "faststart"}),
    "fragmented": Shot(
        frames=_FRAMES, options={"g": "10"}, muxer_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ),
    "mkv": Shot(frames=_FRAMES, suffix=".mkv", audio="aac"),
    "live mkv": Shot(frames=_FRAMES, suffix=".mkv", muxer_options={"live": "1"}),
    "webm": Shot(frames=_FRAMES, suffix=".webm", codec="libvpx-vp9", options=_FAST_VP9),
    "avi": Shot(frames=_FRAMES, suffix=".avi", codec="mpeg4", audio="libmp3lame"),
    "ts": Shot(frames=_FRAMES, suffix=".ts", muxer="mpegts", audio="aac"),
    "wmv": Shot(frames=_FRAMES, suffix=".wmv", codec="wmv2"),
    "flv": Shot(frames=_FRAMES, suffix=".flv", codec="flv"),
    "gif": Shot(frames=_FRAMES, suffix=".gif", codec="gif", pix_fmt="rgb8", rate=10),
}


def run(path: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    video: dict[str, Any] = fake_engine(**settings).run([path], folder / "out")["videos"][0]
    return video


@pytest.mark.parametrize("name", CONTAINERS)
def test_whole_and_cut(tmp_path: Path, name: str) -> None:
    """The one is ok, the other is not, wherever it was cut: inside a frame, between two, in the index at the end."""
    source = make(tmp_path, CONTAINERS[name], "whole").path
    data = source.read_bytes()
    whole = run(source, tmp_path)
    assert (whole["status"], whole["error"], whole["frames"]) == ("ok", None, _FRAMES)
    with source.open("rb") as file:
        assert missing_bytes(file) == 0
    for share in (0.92, 0.8):
        cut = tmp_path / f"cut{share}{source.suffix}"
        cut.write_bytes(data[: int(share * len(data)) // 188 * 188 + 77])
        video = run(cut, tmp_path)
        assert video["status"] == "partial", share
        assert "ends early: " in video["error"], share
        assert 0 < video["frames"] <= _FRAMES


def _without_last_size(data: bytes) -> bytes:
    return data[:-4]


def _head_counted(data: bytes) -> bytes:
    return data[:4] + len(data).to_bytes(4, "little") + data[8:]


def _to_the_end(data: bytes) -> bytes:
    at = data.index(b"mdat") - 4
    return data[:at] + bytes(4) + data[at + 4 :]


def _size_unknown(data: bytes) -> bytes:
    at = data.index(bytes.fromhex("18538067")) + 4
    return data[:at] + b"\x01" + b"\xff" * 7 + data[at + 8 :]


@pytest.mark.parametrize(
    ("name", "sloppy"),
    [("flv", _without_last_size), ("avi", _head_counted), ("mp4", _to_the_end), ("mkv", _size_unknown)],
)
def test_what_writers_leave_out_is_not_missing(tmp_path: Path, name: str, sloppy: Callable[[bytes], bytes]) -> None:
    source = make(tmp_path, CONTAINERS[name]).path
    source.write_bytes(sloppy(source.read_bytes()))
    video = run(source, tmp_path)
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, _FRAMES)


def test_the_count_is_told_where_the_file_has_one(tmp_path: Path) -> None:
    source = make(tmp_path, CONTAINERS["mp4"]).path
    source.write_bytes(source.read_bytes()[:-3000])
    video = run(source, tmp_path)
    assert video["error"] == f"ends early: {video['frames']} of {_FRAMES} frames"


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".wmv", ".mp4", ".avi"])
def test_a_long_last_frame(tmp_path: Path, suffix: str) -> None:
    """As a screen recorder leaves it: the container is 30 s longer than the last frame's time."""
    path = tmp_path / f"a{suffix}"
    codec = {".webm": "libvpx-vp9", ".wmv": "wmv2", ".avi": "mpeg4"}.get(suffix, "libx264")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=_FAST_VP9 if codec == "libvpx-vp9" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        packets = []
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24").reformat(format="yuv420p")
            frame.pts = index
            packets += stream.encode(frame)
        packets += stream.encode(None)
        packets[-1].duration = 750
        container.mux(packets)
    video = run(path, tmp_path)
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, 20)


@pytest.mark.parametrize("pts", [[0, 3, 6, 9, 12, 30], [*range(20), 40], [0, 1, 2, 50, 51]])
def test_frames_that_a_recorder_dropped(tmp_path: Path, pts: list[int]) -> None:
    """AVI has an empty chunk for each."""
    video = run(make(tmp_path, Shot(suffix=".avi", codec="mpeg4", pts=pts)).path, tmp_path, formats=("detections",))
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, len(pts))
    assert [row["pts"] for row in rows(Path(video["outputs"]["detections"]))] == pts


def test_dropped_frames_at_the_end(tmp_path: Path) -> None:
    """The index ends with two empty chunks, which give no packet."""
    source = make(tmp_path, Shot(suffix=".avi", codec="mpeg4")).path
    data = source.read_bytes()
    movi, index = data.index(b"movi"), data.rindex(b"idx1")
    length = int.from_bytes(data[index + 4 : index + 8], "little")
    body, listed = data[:index], data[index + 8 : index + 8 + length]
    for _ in range(2):
        listed += b"00dc" + (0).to_bytes(4, "little") + (len(body) - movi).to_bytes(4, "little") + bytes(4)
        body += b"00dc" + bytes(4)
    size = len(body) - movi
    body = body[: movi - 4] + size.to_bytes(4, "little") + body[movi:]
    whole = body + b"idx1" + len(listed).to_bytes(4, "little") + listed
    source.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])
    video = run(source, tmp_path)
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, 16)


@pytest.mark.parametrize(
    ("name", "frames"), [("trimend.mp4", 25), ("gaps.avi", 25), ("mjpeg_exif.avi", 20), ("dahua_like.dav", 75)]
)
def test_whole_files_that_claim_more(tmp_path: Path, name: str, frames: int) -> None:
    video = run(require_asset(f"faults/{name}"), tmp_path, visualize=True)
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, frames)
    assert frames_in(Path(video["outputs"]["video"])) == frames


def test_side_data_that_pyav_does_not_know(tmp_path: Path) -> None:
    video = run(require_asset("media/media__mp4_water_180_mvhevc_5frames.mov"), tmp_path)
    assert (video["status"], video["frames"]) == ("ok", 5)


def test_every_foreign_sample_is_whole(tmp_path: Path) -> None:
    """Frame counts are ffprobe's; nothing of them is partial."""
    folder = require_asset("media")
    wanted = json.loads((folder / "frames.json").read_text())
    files = [folder / name for name in wanted]
    summary = fake_engine(formats=("mot",), max_pixels=1 << 24).run(files, tmp_path)
    found = {Path(video["path"]).name: (video["status"], video["frames"]) for video in summary["videos"]}
    assert found == {name: ("ok", facts["frames"]) for name, facts in wanted.items()}


@pytest.mark.parametrize("name", ["midgop.ts", "mid.mp4"])
def test_a_recording_that_begins_in_the_middle(tmp_path: Path, name: str) -> None:
    """One damage, one verdict, whatever the container."""
    video = run(require_asset(f"faults/{name}"), tmp_path)
    assert (video["status"], video["frames"]) == ("partial", 45)
    assert video["error"] == "begins in the middle of a group of pictures: its first 17 frames can't be decoded"


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".avi", ".h264"])
def test_a_beginning_that_was_cut_off(tmp_path: Path, suffix: str) -> None:
    """Packets from the eighth on, with key frames ten apart: two are lost, the third is a key frame."""
    container = ".avi" if suffix == ".avi" else ".mp4"  # the one keeps start codes, which the muxer of the same wants
    whole = make(tmp_path, Shot(suffix=container, frames=40, options={"g": "10", "bf": "0"}), "whole").path
    path = tmp_path / f"tail{suffix}"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size][8:]
        late = packets[0].dts
        for packet in packets:
            packet.pts, packet.dts, packet.stream = packet.pts - late, packet.dts - late, stream
            target.mux(packet)
    video = run(path, tmp_path, formats=("detections",))
    assert (video["status"], video["frames"]) == ("partial", 30)
    assert video["error"].startswith("begins in the middle of a group of pictures: its first 2 frames can't be decoded")


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_a_beginning_at_an_open_group_of_pictures(tmp_path: Path, suffix: str) -> None:
    """As a tuner records: what leads up to the first key frame is not meant to be shown. Said, and no fault."""
    options = {"x264-params": "keyint=9:min-keyint=1:open-gop=1:bframes=2:b-adapt=0:scenecut=0"}
    whole = make(tmp_path, Shot(suffix=suffix, frames=40, options=options), "whole").path
    path = tmp_path / f"tail{suffix}"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        (_, second, *_) = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        late = packets[second].dts
        for packet in packets[second:]:
            packet.pts, packet.dts, packet.stream = packet.pts - late, packet.dts - late, stream
            target.mux(packet)
    video = run(path, tmp_path)
    leading = sum(packet.pts < packets[second].pts for packet in packets[second:])
    assert leading
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, 40 - second - leading)
    assert video["notes"] == [
        f"{leading} frames before the first key frame can't be decoded: "
        "they refer to frames from before the start of the file"
    ]


# -- files that change -------------------------------------------------------------------------------------------------


def _while_reading(path: Path, change: Callable[[], object], folder: Path, **settings: Any) -> dict[str, Any]:
    """Runs over a file, and calls `change` once its first frames are through."""
    changed = False

    def tick(progress: list[Progress]) -> None:
        nonlocal changed
        if not changed and any(stream.frames for stream in progress):
            change()
            changed = True

    engine = fake_engine(delay_s=0.02, workers=1, **settings)
    summary = engine.run([path], folder / "out", progress=tick)
    assert changed
    video: dict[str, Any] = summary["videos"][0]
    return video


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".webm"])
def test_a_file_that_still_grows(tmp_path: Path, suffix: str) -> None:
    codec = {"codec": "libvpx-vp9", "options": _FAST_VP9} if suffix == ".webm" else {}
    source = make(tmp_path, Shot(suffix=suffix, frames=_FRAMES, **codec), "whole").path
    data = source.read_bytes()
    path = tmp_path / f"growing{suffix}"
    path.write_bytes(data[: len(data) * 2 // 3])

    def grow() -> None:
        with path.open("ab") as file:
            file.write(data[len(data) * 2 // 3 :])

    # So small a file may be read whole by then; that it grew is seen all the same, at its end.
    video = _while_reading(path, grow, tmp_path)
    assert video["status"] == "partial"
    size = len(data) * 2 // 3
    assert (
        f"was still being written while it was read: {size:,} bytes when it was opened, {len(data):,}"
        in (video["error"])
    )


def test_a_file_that_is_written_to(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 40)

    def touch() -> None:
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(last)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))

    video = _while_reading(path, touch, tmp_path)
    assert (video["status"], video["error"]) == ("partial", "was written to while it was read")


def test_growth_behind_the_part_asked_for_is_no_fault(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 40)
    video = _while_reading(path, lambda: os.utime(path, (1, 1)), tmp_path, end_s=1.0)
    assert (video["status"], video["frames"]) == ("ok", 25)


def test_a_queued_video_replaced_before_its_turn(tmp_path: Path) -> None:
    """The manifest has the hash of what was read."""
    first, second = clip(tmp_path / "a.mp4", 40), clip(tmp_path / "b.mp4", 12, seed=1)
    other = clip(tmp_path / "other" / "b.mp4", 16, seed=2)
    replaced = False

    def tick(progress: list[Progress]) -> None:
        nonlocal replaced
        if not replaced and any(stream.frames for stream in progress):
            os.replace(other, second)
            replaced = True

    out = tmp_path / "out"
    fake_engine(delay_s=0.02, workers=1, streams=1).run([first, second], out, progress=tick)
    video = json.loads((out / "manifest.json").read_text())["videos"][1]
    assert video["frames"] == 16
    assert video["input"]["sha256"] == hashlib.sha256(second.read_bytes()).hexdigest()


# -- models that give no numbers ---------------------------------------------------------------------------------------


def test_a_model_that_gives_nan_is_an_error(tmp_path: Path) -> None:
    config = EngineConfig(model=str(require_asset("faults/nan_tiny.onnx")), visualize=False)
    with Engine(config) as engine:
        summary = engine.run([clip(tmp_path / "a.mp4")], tmp_path / "out")
        with pytest.raises(NotFinite, match="no usable numbers"):
            engine.detect(np.zeros((48, 64, 3), np.uint8))
    (video,) = summary["videos"]
    assert (summary["success"], video["status"]) == (False, "failed")
    assert "the model gives no usable numbers: " in video["error"]
    assert "values are NaN or infinite" in video["error"]


def test_some_values_that_are_no_numbers_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They make no box, and the note has their number, also where the run was aborted in between."""
    source = clip(tmp_path / "a.mp4", 12)
    engine = fake_engine(formats=("detections",))
    backend = engine.model.backend
    original = backend.run

    def spoiled(*given: Any) -> Any:
        output = np.array(original(*given))
        row = np.full((*output.shape[:-2], 1, output.shape[-1]), np.nan, output.dtype)
        row[..., 4] = 0.9  # a score that passes, of a box that is none
        return np.concatenate([output, row], axis=-2)

    monkeypatch.setattr(backend, "run", spoiled)
    (video,) = engine.run([source], tmp_path / "out")["videos"]
    assert (video["status"], video["detections"]) == ("ok", 12)
    values = 12 * 5
    assert video["notes"] == [f"the model gave {values} values that are not finite numbers; they are ignored"]
    assert len(rows(Path(video["outputs"]["detections"]))) == 12


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param(np.zeros((0, 6), np.float32), 0, id="nothing"),
        pytest.param(np.ones((20, 6), np.float32), 0, id="numbers"),
        pytest.param(np.full((20, 6), 3e38, np.float32), 0, id="a sum that overflows"),
        pytest.param(np.full((20, 6), 60_000, np.float16), 0, id="half precision"),
        pytest.param(np.array([[1, np.nan], [1, 1], [-np.inf, 1]], np.float16), 2, id="some of half precision"),
        pytest.param(np.zeros((0, 6), np.float16), 0, id="nothing of half precision"),
        pytest.param(np.array([[1, np.nan], [1, 1], [np.inf, -np.inf]], np.float32), 3, id="some"),
    ],
)
def test_count_non_finite(output: Any, expected: int) -> None:
    assert count_non_finite(output) == expected


@pytest.mark.parametrize("shape", [(20, 6), (6, 20)])
def test_no_anchor_is_whole(shape: tuple[int, int]) -> None:
    output = np.ones(shape, np.float32)
    output[(slice(None), 4) if shape[0] > shape[1] else (4, slice(None))] = np.nan
    with pytest.raises(NotFinite, match="20 of 120 values"):
        count_non_finite(output)
