"""A few kilobytes of input never take a gigabyte: pictures are bounded in bytes, and so is how many are held."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from engine.errors import OverLimit
from engine.media.references import kept_by_head, kept_by_packet
from engine.pipeline.flow_control import Window
from engine.stages.decode import Decoder, frame_bytes
from tests.assets import require_asset
from tests.e2e.clips import Shot, joined, make
from tests.e2e.runs import ROOT, clip, fake_engine, statuses

pytestmark = pytest.mark.timeout(120)

_GIGABYTE = 10**9

_IN_A_CHILD = """
import json, sys
from tests.e2e.runs import fake_engine
video, folder, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
(entry,) = fake_engine(**settings).run([video], folder)["videos"]
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
peak = 1024 * int(status["VmHWM"].split()[0])
print(json.dumps([entry["status"], entry["frames"], entry["error"], peak]))
"""


def _run(video: Path, folder: Path, **settings: Any) -> tuple[str, int, str | None, int]:
    """Status, frames and error of a video, and the most bytes that a process took for it."""
    made = subprocess.run(
        [sys.executable, "-c", _IN_A_CHILD, str(video), str(folder), json.dumps(settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    status, frames, error, peak = json.loads(made.stdout.splitlines()[-1])
    return status, frames, error, peak


def _large(
    path: Path, size_wh: tuple[int, int], frames: int, codec: str, pix_fmt: str = "yuv420p", **options: str
) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size_wh, pix_fmt
        frame = av.VideoFrame(*size_wh, pix_fmt)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for index in range(frames):
            frame.pts = index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_pictures_of_16384_by_8192_in_six_kilobytes(tmp_path: Path) -> None:
    status, frames, error, peak = _run(require_asset("faults/h264_lim300.mp4"), tmp_path / "out", visualize=True)
    assert (status, frames) == ("failed", 0)
    assert error == "has an image of 16384x8192 in 201,326,592 bytes, more than max_frame_bytes = 54,525,952"
    assert peak < _GIGABYTE / 4


@pytest.fixture(scope="module")
def eight_k(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Eight frames of 7680x4320, by codec."""
    folder = tmp_path_factory.mktemp("8k")
    options = {"libx264": {}, "libx265": {"x265-params": "log-level=none"}}
    return {
        codec: _large(folder / f"{codec}.mp4", (7680, 4320), 8, codec, preset="ultrafast", **more)
        for codec, more in options.items()
    }


@pytest.mark.parametrize(
    ("codec", "preset", "most"),
    [
        ("libx264", "ultrafast", 0.65),
        ("libx265", "ultrafast", 0.95),  # a decoder keeps six pictures, with 20 MB of vectors each
        ("libx264", "veryfast", 0.95),  # looks ahead ten frames, where they are not large
    ],
)
def test_an_8k_video_passes(tmp_path: Path, eight_k: dict[str, Path], codec: str, preset: str, most: float) -> None:
    status, frames, error, peak = _run(eight_k[codec], tmp_path / "out", visualize=True, video_preset=preset)
    assert (status, frames, error) == ("ok", 8, None)
    assert peak < most * _GIGABYTE


def test_times_of_large_pictures_are_kept(tmp_path: Path) -> None:
    """The encoder is told that frames are evenly spaced, to hold one less; what it is given need not be."""
    times = [0, 1, 2, 7, 8, 20, 21]
    with av.open(str(tmp_path / "uneven.mkv"), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 4112, 2320, "yuvj420p"
        frame = av.VideoFrame(4112, 2320, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        for time in times:
            frame.pts, frame.time_base = time, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    (entry,) = fake_engine(visualize=True).run([tmp_path / "uneven.mkv"], tmp_path / "out")["videos"]
    assert (entry["status"], entry["frames"]) == ("ok", 7)
    with av.open(str(tmp_path / "out" / "uneven.mp4")) as made:
        assert [round(25 * frame.time) for frame in made.decode(video=0)] == times


@pytest.mark.parametrize(
    ("name", "codec", "size_wh", "pix_fmt"),
    [
        ("a.gif", "gif", (8192, 8192), "rgb8"),
        ("a.avi", "png", (12_000, 8000), "gray"),
        ("a.mkv", "ffv1", (4000, 2400), "yuv444p16le"),
        ("a.mov", "mjpeg", (9000, 9000), "yuvj420p"),
    ],
)
def test_large_pictures_in_other_formats(
    tmp_path: Path, name: str, codec: str, size_wh: tuple[int, int], pix_fmt: str
) -> None:
    video = _large(tmp_path / name, size_wh, 2, codec, pix_fmt)
    status, _, error, peak = _run(video, tmp_path / "out", visualize=True)
    assert status == "failed"
    assert error is not None
    assert "max_frame_bytes = 54,525,952" in error
    assert peak < _GIGABYTE / 2


def test_pictures_that_grow_in_the_middle(tmp_path: Path) -> None:
    """What came before is kept, also where FFmpeg itself refuses the larger picture before it is decoded."""
    small = make(tmp_path, Shot(suffix=".ts", muxer="mpegts", frames=20), "small")
    for name, size_wh in (("large", (320, 240)), ("larger", (640, 480))):
        large = make(tmp_path, Shot(suffix=".ts", muxer="mpegts", frames=20, size_wh=size_wh), name)
        source = joined(tmp_path / f"grows-{name}.ts", small, large).path
        (video,) = fake_engine(max_frame_bytes=100_000).run([source], tmp_path / "out")["videos"]
        assert (video["status"], video["frames"]) == ("partial", 20)
        assert "more than max_frame_bytes = 100,000" in video["error"]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_many_large_pictures_kept_for_reference(tmp_path: Path, codec: str) -> None:
    key = "x264-params" if codec == "libx264" else "x265-params"
    params = "ref=16:scenecut=0" if codec == "libx264" else "ref=8:log-level=none"
    options = {key: f"bframes=0:{params}", "preset": "ultrafast"}
    for suffix in (".mp4", ".ts"):
        source = make(tmp_path, Shot(suffix=suffix, codec=codec, frames=24, options=options)).path
        bytes_ = frame_bytes("yuv420p", 96, 64)
        (video,) = fake_engine(max_frame_bytes=bytes_).run([source], tmp_path / "out")["videos"]
        assert video["status"] == "failed"
        assert "pictures of 96x64 for reference" in video["error"]
        assert f"more than 6 times max_frame_bytes = {bytes_:,}" in video["error"]
        (video,) = fake_engine(max_frame_bytes=3 * bytes_).run([source], tmp_path / "out")["videos"]
        assert (video["status"], video["frames"]) == ("ok", 24)


@pytest.mark.parametrize("suffix", [".h264", ".ts"])
def test_pictures_that_grow_and_are_kept(tmp_path: Path, suffix: str) -> None:
    """The parameter set that asks for sixteen large pictures comes while they are small still."""
    few = {"x264-params": "ref=1:bframes=0:repeat-headers=1"}
    many = {"x264-params": "ref=16:bframes=0:scenecut=0:repeat-headers=1"}
    muxer = "h264" if suffix == ".h264" else "mpegts"
    small = make(tmp_path, Shot(suffix=suffix, muxer=muxer, frames=20, size_wh=(32, 32), options=few), "small")
    large = make(tmp_path, Shot(suffix=suffix, muxer=muxer, frames=24, options=many), "large")
    source = joined(tmp_path / f"grows{suffix}", small, large).path
    bytes_ = frame_bytes("yuv420p", 96, 64)
    (video,) = fake_engine(max_frame_bytes=bytes_).run([source], tmp_path / "out")["videos"]
    assert video["status"] == "partial"
    assert "keeps 16 pictures of 96x64 for reference" in video["error"]
    assert 20 <= video["frames"] <= 21


def test_large_pictures_that_wait_to_be_put_in_order(tmp_path: Path) -> None:
    """Of a decoder that gives no picture before it has sixteen, none is waited for."""
    few = {"x264-params": "ref=1:bframes=0:repeat-headers=1"}
    deep = {"x264-params": "ref=16:bframes=16:b-pyramid=normal:b-adapt=0:scenecut=0:repeat-headers=1"}
    small = make(tmp_path, Shot(suffix=".h264", muxer="h264", frames=8, size_wh=(32, 32), options=few), "small").path
    large = make(tmp_path, Shot(suffix=".h264", muxer="h264", frames=40, options=deep), "large").path
    decoder = Decoder(Fraction(1, 25), Fraction(25), max_frame_bytes=frame_bytes("yuv420p", 96, 64) - 1)
    with av.open(str(small)) as first, av.open(str(large)) as second:
        decoder.attach(first.streams.video[0])
        given = sum(len(list(decoder.decode(packet))) for packet in first.demux(video=0) if packet.size)
        packets = (packet for packet in second.demux(video=0) if packet.size)
        with pytest.raises(OverLimit, match="image of 96x64"):
            given += len(list(decoder.decode(next(packets))))
    assert given in (7, 8)


def test_a_head_that_hides_how_many_are_kept(tmp_path: Path) -> None:
    """The head says one picture; the parameter set in the first packet, which counts, says sixteen."""
    options = {"x264-params": "ref=16:bframes=0:repeat-headers=1:scenecut=0"}
    honest = make(tmp_path, Shot(frames=4, options={"x264-params": "ref=1:bframes=0"}), "honest").path
    made = make(tmp_path, Shot(suffix=".h264", muxer="h264", frames=24, options=options), "many").path
    with av.open(str(honest)) as head, av.open(str(made)) as body:
        extradata = head.streams.video[0].codec_context.extradata
        packet = bytes(next(body.demux(body.streams.video[0])))
    assert kept_by_head("h264", extradata) == 1
    assert kept_by_packet("h264", None, packet) == 16
    units = [unit for unit in packet.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    in_mp4 = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
    assert kept_by_packet("h264", extradata, in_mp4) == 16


def test_what_is_read_of_damaged_parameter_sets(tmp_path: Path) -> None:
    with av.open(str(make(tmp_path, Shot()).path)) as container:
        head = container.streams.video[0].codec_context.extradata
    assert head is not None
    for codec in ("h264", "hevc", "vp9"):
        for data in (None, b"", b"\1", head[:9], head[:-8], bytes(200), b"\1" * 200, b"\xff" * 50, b"\0\0\1" * 9):
            kept_by_head(codec, data)
            kept_by_packet(codec, head, data or b"")
            kept_by_packet(codec, None, data or b"")


def test_large_streams_one_at_a_time(tmp_path: Path) -> None:
    """And all of them are done, beside small ones."""
    for index in range(4):
        clip(tmp_path / "in" / f"large{index}.mp4", 10, (128, 96), seed=index)
        clip(tmp_path / "in" / f"small{index}.mp4", 10, (32, 24), seed=index)
    summary = fake_engine(max_frame_bytes=20_000, streams=4).run([tmp_path / "in"], tmp_path / "out")
    assert set(statuses(summary).values()) == {"ok"}
    assert summary["totals"]["frames"] == 80


def test_a_window_becomes_narrow() -> None:
    window = Window(8)
    assert all(window.enter(wait=False) for _ in range(4))
    window.narrow(3)
    assert not window.enter(wait=False)
    for _ in range(2):
        window.leave()
    assert window.enter(wait=False)
    assert not window.enter(wait=False)
    window.narrow(0)  # one is let in all the same, or nothing would move
    for _ in range(3):
        window.leave()
    assert [window.enter(wait=False) for _ in range(2)] == [True, False]


def test_a_narrow_window_tells_when_there_is_room() -> None:
    window = Window(1)
    told: list[int] = []

    def wait() -> None:
        window.wait_for_room()
        told.append(len(told))

    assert window.enter()
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    assert not told
    window.leave()
    waiting.join(10)
    assert told == [0]
    assert window.enter()
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    window.close()  # or a run that is stopped would wait for ever
    waiting.join(10)
    assert told == [0, 1]


def test_a_hundred_thousand_empty_packets(tmp_path: Path) -> None:
    """Packets that decode to nothing cost neither memory nor minutes."""
    source = clip(tmp_path / "a.avi", 3)
    with av.open(str(source)) as given, av.open(str(tmp_path / "empty.nut"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
                last = packet.dts
        for index in range(1, 100_001):
            packet = av.Packet(b"\0")
            packet.stream, packet.dts, packet.pts = stream, last + index, last + index
            packet.time_base = stream.time_base
            made.mux(packet)
    status, frames, error, peak = _run(tmp_path / "empty.nut", tmp_path / "out")
    assert (status in ("partial", "ok"), frames >= 3) == (True, True), error
    assert peak < _GIGABYTE / 4
