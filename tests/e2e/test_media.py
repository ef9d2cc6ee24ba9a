"""Real media through the whole engine: what is in the container must come out, frame for frame and tick for tick."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engine import Engine, EngineConfig
from engine.media.planes import colour_of, planes_of
from engine.stages.decode import readable
from engine_ext.letterbox import Letterbox
from tests.e2e.clips import PATCHES, Clip, Shot, box_of, joined, make
from tests.e2e.reading import Media, read, rows

# Edges are found to a pixel of the fake model's input, and a codec may blur one more.
LOSSLESS, LOSSY = 1.0, 2.0

FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}
QUIET_265 = {"x265-params": "log-level=none"}
BT709 = {"colorspace": 1, "color_primaries": 1, "color_trc": 1}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """Reports a track at once, so that the tracks of a clip name every frame."""
    with Engine(EngineConfig(backend="fake", formats="tracks,detections", min_hits=0, streams=1)) as engine:
        yield engine


def encoder(name: str) -> None:
    """Skips the test where this build of PyAV can't make the clip."""
    try:
        av.codec.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        pytest.skip(f"no encoder {name} in this build of PyAV")


def run(engine: Engine, clip: Clip, folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = engine.run([clip.path], folder / "out")["videos"][0]
    return summary


def result(engine: Engine, shot: Shot, folder: Path) -> tuple[Clip, dict[str, Any], Media, Media]:
    """The clip, its summary, and what PyAV alone reads from it and from the annotated video."""
    encoder(shot.codec)
    clip = make(folder, shot)
    video = run(engine, clip, folder)
    assert (video["status"], video["error"]) == ("ok", None)
    return clip, video, read(clip.path), read(video["outputs"]["video"])


def check_boxes(video: dict[str, Any], size_wh: tuple[int, int], tolerance: float) -> None:
    found = rows(video["outputs"]["detections"])
    assert [row["frame"] for row in found] == list(range(video["frames"]))
    for row in found:
        assert row["box_xyxy"] == pytest.approx(box_of(row["frame"], size_wh), abs=tolerance)


def check_times(video: dict[str, Any], times: list[Fraction], source: Media, annotated: Media) -> None:
    """Rows carry the source's own ticks; the annotated video begins at 0, and shows each frame as long after it."""
    found = rows(video["outputs"]["tracks"])
    assert [row["pts"] for row in found] == [round(time / source.time_base) for time in times]
    assert [row["time_s"] for row in found] == [round(float(time), 6) for time in times]
    assert len(annotated.pts) == video["frames"]
    assert close(annotated.times, [time - times[0] for time in times], max(source.time_base, annotated.time_base))
    assert video.get("video_offset_s", 0) == round(float(times[0]), 6)
    moved = f"annotated video shifted by {-float(times[0]):.3f} s to start at 0"
    assert video.get("notes", []).count(moved) == (times[0] != 0)


def close(ours: list[Fraction], theirs: list[Fraction], tolerance: Fraction) -> bool:
    return len(ours) == len(theirs) and all(abs(a - b) <= tolerance for a, b in zip(ours, theirs, strict=True))


PLAIN = [
    # remark, shot, tolerance
    ("H.264 with B-frames, the usual file", Shot(), LOSSY),
    ("one frame only", Shot(frames=1), LOSSY),
    ("H.264 in QuickTime", Shot(suffix=".mov"), LOSSY),
    ("fragmented MP4: no frame count, start not at 0", Shot(muxer_options={"movflags": "frag_keyframe+empty_moov"}), 2),
    ("Matroska", Shot(suffix=".mkv"), LOSSY),
    ("Matroska as written live: no duration", Shot(suffix=".mkv", muxer_options={"live": "1"}), LOSSY),
    ("MPEG-TS: start not at 0, no frame count", Shot(suffix=".ts"), LOSSY),
    ("Flash video: no frame durations", Shot(suffix=".flv", codec="flv"), LOSSY),
    ("H.265", Shot(codec="libx265", options=QUIET_265), LOSSY),
    ("VP8", Shot(suffix=".webm", codec="libvpx", options=FAST_VP9), LOSSY),
    ("VP9", Shot(suffix=".webm", codec="libvpx-vp9", options=FAST_VP9), LOSSY),
    ("AV1", Shot(codec="libsvtav1", options={"preset": "12"}), LOSSY),
    ("MPEG-4 in AVI", Shot(suffix=".avi", codec="mpeg4"), LOSSY),
    ("MPEG-4 with B-frames in AVI", Shot(suffix=".avi", codec="mpeg4", options={"bf": "2"}), LOSSY),
    ("H.264 with B-frames in AVI: no presentation times", Shot(suffix=".avi", options={"bf": "3"}), LOSSY),
    ("a time base of 1001/30000", Shot(suffix=".avi", codec="mpeg4", rate=Fraction(30000, 1001)), LOSSY),
    ("MPEG-2 with B-frames in a program stream", Shot(suffix=".mpg", codec="mpeg2video", options={"bf": "2"}), LOSSY),
    ("Windows Media", Shot(suffix=".wmv", codec="wmv2"), LOSSY),
    ("ProRes, 10 bits 4:2:2", Shot(suffix=".mov", codec="prores_ks", pix_fmt="yuv422p10le"), LOSSY),
    ("motion JPEG, full range", Shot(suffix=".avi", codec="mjpeg", pix_fmt="yuvj420p"), LOSSY),
    ("FFV1, lossless", Shot(suffix=".mkv", codec="ffv1"), LOSSLESS),
    ("interlaced H.264", Shot(options={"x264-params": "interlaced=1"}), LOSSY),
    ("full range", Shot(pix_fmt="yuvj420p"), LOSSY),
    ("10 bits", Shot(pix_fmt="yuv420p10le"), LOSSY),
    ("4:2:2", Shot(pix_fmt="yuv422p"), LOSSY),
    ("4:4:4", Shot(pix_fmt="yuv444p"), LOSSY),
    ("4:1:0", Shot(suffix=".mkv", codec="ffv1", pix_fmt="yuv410p"), LOSSY),
    ("16 bits", Shot(suffix=".mkv", codec="ffv1", pix_fmt="yuv444p16le"), LOSSLESS),
    ("gray", Shot(suffix=".mkv", codec="ffv1", pix_fmt="gray"), LOSSLESS),
    ("NV12 as stored", Shot(suffix=".nut", codec="rawvideo", pix_fmt="nv12"), LOSSLESS),
    ("RGB from the last row up", Shot(suffix=".avi", codec="rawvideo", pix_fmt="bgr24"), LOSSLESS),
    ("RGB", Shot(suffix=".mov", codec="qtrle", pix_fmt="rgb24"), LOSSLESS),
    ("RGB with alpha", Shot(suffix=".mov", codec="png", pix_fmt="rgba"), LOSSLESS),
    ("planar RGB", Shot(suffix=".avi", codec="utvideo", pix_fmt="gbrp"), LOSSLESS),
    ("a palette", Shot(suffix=".gif", codec="gif", pix_fmt="rgb8", rate=10), LOSSLESS),
    ("odd size, lossless", Shot(suffix=".mkv", codec="ffv1", size_wh=(97, 61)), LOSSLESS),
    ("odd size, full range", Shot(suffix=".avi", codec="mjpeg", pix_fmt="yuvj420p", size_wh=(97, 61)), LOSSY),
    ("odd size", Shot(suffix=".webm", codec="libvpx-vp9", size_wh=(97, 61), options=FAST_VP9), LOSSY),
    ("odd height, RGB", Shot(suffix=".mov", codec="qtrle", pix_fmt="rgb24", size_wh=(96, 61)), LOSSLESS),
    ("a second, smaller video stream", Shot(second_video=True), LOSSY),
    ("cover art before the video", Shot(cover=True), LOSSY),
    ("one frame a second", Shot(rate=1), LOSSY),
    ("one frame in twenty seconds", Shot(rate=Fraction(1, 20)), LOSSY),
    ("240 frames a second", Shot(rate=240), LOSSY),
]


@pytest.mark.parametrize(("shot", "tolerance"), [row[1:] for row in PLAIN], ids=[row[0] for row in PLAIN])
def test_every_frame_is_found_at_its_place_and_time(
    engine: Engine, tmp_path: Path, shot: Shot, tolerance: float
) -> None:
    clip, video, source, annotated = result(engine, shot, tmp_path)

    assert video["frames"] == video["inferred_frames"] == clip.frames
    check_boxes(video, shot.size_wh, tolerance)
    check_times(video, source.times, source, annotated)
    tick = 1 / Fraction(shot.rate)
    coarser = max(source.time_base, annotated.time_base)
    assert abs((annotated.last_duration_s or 0) - (source.last_duration_s or tick)) <= coarser
    image = annotated.frames[0]
    assert (image.width, image.height) == tuple(side + side % 2 for side in shot.size_wh)


@pytest.mark.parametrize(
    "shot",
    [
        pytest.param(Shot(suffix=".h264"), id="H.264 with B-frames"),
        pytest.param(Shot(suffix=".h264", options={"bf": "0"}), id="H.264 without"),
        pytest.param(Shot(suffix=".hevc", codec="libx265", options=QUIET_265), id="H.265"),
    ],
)
def test_an_elementary_stream_without_times_runs_at_its_frame_rate(engine: Engine, tmp_path: Path, shot: Shot) -> None:
    clip, video, source, annotated = result(engine, shot, tmp_path)

    assert source.pts == []
    assert video["frames"] == video["inferred_frames"] == clip.frames
    check_boxes(video, shot.size_wh, LOSSY)
    check_times(video, [Fraction(i, 25) for i in range(clip.frames)], source, annotated)


UNEVEN = (0, 33, 66, 100, 110, 120, 333, 400, 432, 440, 441, 445, 547, 649, 1900, 1911)
TIMED = [
    ("variable frame rate", Shot(suffix=".mkv", pts=UNEVEN, time_base=Fraction(1, 1000))),
    ("the same in MP4", Shot(pts=UNEVEN, time_base=Fraction(1, 1000))),
    ("late start", Shot(suffix=".mkv", pts=[5000 + tick for tick in UNEVEN], time_base=Fraction(1, 1000))),
    ("late start in MP4", Shot(pts=range(12_345, 20_537, 512), time_base=Fraction(1, 12_800))),
    ("ticks finer than a millisecond", Shot(suffix=".nut", codec="ffv1", pts=range(77, 16_077, 1000), rate=90)),
    ("a gap of an hour", Shot(pts=[*range(8), *range(90_000, 90_008)])),
    ("30000/1001", Shot(pts=[1001 * i for i in range(16)], time_base=Fraction(1, 30_000), rate=Fraction(30_000, 1001))),
]


@pytest.mark.parametrize("shot", [row[1] for row in TIMED], ids=[row[0] for row in TIMED])
def test_times_are_the_containers(engine: Engine, tmp_path: Path, shot: Shot) -> None:
    clip, video, source, annotated = result(engine, shot, tmp_path)

    # MP4 itself notes a late start in milliseconds: the clip may differ from what was requested, the copy not from it.
    assert close(source.times, list(clip.times), Fraction(1, 1000))
    check_times(video, source.times, source, annotated)


@pytest.mark.parametrize("audio", [None, "aac"])
def test_a_start_before_zero_loses_no_frame(engine: Engine, tmp_path: Path, audio: str | None) -> None:
    """MP4 would hide what lies before 0, so that picture and sound move together. Rows keep the source's times."""
    early = Shot(
        suffix=".ts",
        pts=range(-5, 11),
        audio=audio,
        audio_start_s=-0.2,
        muxer_options={"avoid_negative_ts": "disabled"},
    )
    clip, video, source, annotated = result(engine, early, tmp_path)

    assert video["frames"] == clip.frames
    assert [row["pts"] for row in rows(video["outputs"]["tracks"])] == source.pts
    assert close(annotated.times, [Fraction(i, 25) for i in range(16)], annotated.time_base)
    assert video["notes"] == ["annotated video shifted by 0.200 s to start at 0"]
    for ours, theirs in zip(annotated.audio, source.audio, strict=True):
        assert abs(ours[0] - theirs[0] - Fraction(1, 5)) < Fraction(1, 1000)


def test_frames_that_an_edit_list_hides_are_not_missed(engine: Engine, tmp_path: Path) -> None:
    """As a phone trims a video: the frames before the cut are stored, decoded, and not shown."""
    clip, video, source, annotated = result(engine, Shot(pts=range(-5, 11)), tmp_path)

    assert (video["frames"], clip.frames) == (11, 16)
    check_times(video, source.times, source, annotated)
    for row in rows(video["outputs"]["detections"]):
        assert row["box_xyxy"] == pytest.approx(box_of(row["frame"] + 5), abs=LOSSY)


ORIENTATIONS = [
    ("a quarter turn to the left", (0, -1, 1, 0)),
    ("a quarter turn to the right", (0, 1, -1, 0)),
    ("upside down", (-1, 0, 0, -1)),
    ("mirrored left to right", (-1, 0, 0, 1)),
    ("mirrored top to bottom", (1, 0, 0, -1)),
    ("mirrored along the diagonal", (0, 1, 1, 0)),
    ("mirrored along the other diagonal", (0, -1, -1, 0)),
]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("matrix", [row[1] for row in ORIENTATIONS], ids=[row[0] for row in ORIENTATIONS])
def test_boxes_and_video_are_upright(
    engine: Engine, tmp_path: Path, matrix: tuple[int, int, int, int], pix_fmt: str
) -> None:
    shot = Shot(matrix=matrix, pix_fmt=pix_fmt)
    clip, video, source, annotated = result(engine, shot, tmp_path)

    assert video["frames"] == clip.frames
    check_boxes(video, shot.size_wh, LOSSY)
    check_times(video, source.times, source, annotated)
    assert annotated.rotation == 0
    image = annotated.frames[0]
    assert (image.width, image.height) == shot.size_wh
    assert image.side_data.get("DISPLAYMATRIX") is None
    x1, _, x2, y2 = box_of(0)
    below_label = image.to_ndarray(format="gray")[y2 - 6 : y2 - 3, x1 + 4 : x2 - 4]
    assert below_label.min() > 200


@pytest.mark.parametrize(
    ("matrix", "expected"), [(None, Fraction(4, 3)), ((0, 1, -1, 0), Fraction(3, 4))], ids=["as stored", "turned"]
)
def test_the_shape_of_pixels_is_kept(
    engine: Engine, tmp_path: Path, matrix: tuple[int, int, int, int] | None, expected: Fraction
) -> None:
    _, _, source, annotated = result(engine, Shot(aspect=Fraction(4, 3), matrix=matrix), tmp_path)
    assert source.aspect == Fraction(4, 3)
    assert annotated.aspect == expected


COPIED = [
    ("AAC in MP4, which begins before the picture", Shot(audio="aac")),
    ("AAC in MPEG-TS: ADTS headers", Shot(suffix=".ts", audio="aac")),
    ("AAC that begins late", Shot(suffix=".mkv", audio="aac", audio_start_s=0.3)),
    ("MP3 in MP4", Shot(audio="libmp3lame")),
    ("MP3 in AVI", Shot(suffix=".avi", codec="mpeg4", audio="libmp3lame")),
    ("FLAC", Shot(suffix=".mkv", audio="flac")),
    ("AC-3", Shot(suffix=".mkv", audio="ac3")),
    ("MP2", Shot(suffix=".mkv", audio="mp2")),
    ("MP2 in MPEG-TS", Shot(suffix=".ts", audio="mp2")),
]


@pytest.mark.parametrize("shot", [row[1] for row in COPIED], ids=[row[0] for row in COPIED])
def test_sound_is_copied_packet_for_packet(engine: Engine, tmp_path: Path, shot: Shot) -> None:
    _, video, source, annotated = result(engine, shot, tmp_path)

    assert "notes" not in video or shot.suffix == ".ts"  # its clock begins anywhere
    check_times(video, source.times, source, annotated)
    assert source.audio
    assert source.audio_time_base is not None
    assert annotated.audio_time_base is not None
    ours, theirs = [time for time, _ in annotated.audio], [time - source.times[0] for time, _ in source.audio]
    assert close(ours, theirs, max(source.audio_time_base, annotated.audio_time_base))
    for (_, copied), (_, given) in zip(annotated.audio, source.audio, strict=True):
        header = (
            7 if (shot.suffix, shot.audio) == (".ts", "aac") else 0
        )  # ADTS, which MP4 keeps once for the whole stream
        assert copied == given[header:]


def test_sound_that_mp4_does_not_take_is_left_out_and_named(engine: Engine, tmp_path: Path) -> None:
    _, video, _, annotated = result(engine, Shot(suffix=".mkv", audio="pcm_s16le"), tmp_path)
    assert annotated.audio == []
    assert video["notes"] == ["audio left out: MP4 does not take pcm_s16le"]


def test_a_song_with_cover_art_is_no_video(engine: Engine, tmp_path: Path) -> None:
    clip = make(tmp_path, Shot(cover=True, audio="aac"))
    song = tmp_path / "song.m4a"
    with av.open(str(clip.path)) as source, av.open(str(song), "w", format="mp4") as target:
        kept = {
            stream.index: target.add_stream_from_template(stream)
            for stream in source.streams
            if stream.type == "audio" or stream.disposition & av.stream.Disposition.attached_pic
        }
        for index, stream in kept.items():
            stream.disposition = source.streams[index].disposition.value
        for packet in source.demux([source.streams[index] for index in kept]):
            if packet.dts is not None:
                packet.stream = kept[packet.stream_index]
                target.mux(packet)

    video = engine.run([song], tmp_path / "out")["videos"][0]
    assert (video["status"], video["error"]) == ("failed", "has no video stream")


FINE = {"crf": "4"}
COLOURED = [
    ("untagged", Shot(options=FINE)),
    ("full range", Shot(options=FINE, pix_fmt="yuvj420p")),
    ("BT.709", Shot(options=FINE, colour={**BT709, "color_range": 1})),
    ("BT.709, full range", Shot(options=FINE, colour={**BT709, "color_range": 2})),
    ("10 bits", Shot(options=FINE, pix_fmt="yuv420p10le")),
    ("10 bits, BT.709, full range", Shot(options=FINE, pix_fmt="yuv420p10le", colour={**BT709, "color_range": 2})),
    ("10 bits, BT.2020", Shot(options=FINE, pix_fmt="yuv420p10le", colour={"colorspace": 9, "color_range": 1})),
    ("4:2:2, full range", Shot(options=FINE, pix_fmt="yuvj422p")),
    ("4:4:4, BT.709", Shot(options=FINE, pix_fmt="yuv444p", colour=BT709)),
    ("16 bits", Shot(suffix=".mkv", codec="ffv1", pix_fmt="yuv444p16le")),
    ("YUV with alpha", Shot(suffix=".mkv", codec="ffv1", pix_fmt="yuva420p")),
    ("odd size", Shot(suffix=".mkv", codec="ffv1", size_wh=(97, 61), colour={"colorspace": 1, "color_range": 2})),
    ("NV12", Shot(suffix=".nut", codec="rawvideo", pix_fmt="nv12")),
    ("gray", Shot(suffix=".mkv", codec="ffv1", pix_fmt="gray")),
    ("gray tagged as full range", Shot(suffix=".mov", codec="png", pix_fmt="gray")),
    ("RGB", Shot(suffix=".mov", codec="qtrle", pix_fmt="rgb24")),
    ("RGB with alpha", Shot(suffix=".mov", codec="png", pix_fmt="rgba")),
    ("RGB of 720 rows", Shot(suffix=".mov", codec="qtrle", pix_fmt="rgb24", size_wh=(64, 720), frames=2)),
    ("motion JPEG 4:4:4", Shot(suffix=".avi", codec="mjpeg", pix_fmt="yuvj444p")),
]


@pytest.mark.parametrize("shot", [row[1] for row in COLOURED], ids=[row[0] for row in COLOURED])
def test_colours_reach_the_model_and_the_annotated_video(engine: Engine, tmp_path: Path, shot: Shot) -> None:
    """Flat patches, away from their edges, within 4 of 255 levels: of FFmpeg's own conversion, and from end to end."""
    _, _, source, annotated = result(engine, replace(shot, patches=True), tmp_path)
    image, copy = source.frames[0], annotated.frames[0]

    seen = patches(as_model_sees(image))
    assert seen == pytest.approx(patches(image.to_ndarray(format="rgb24")), abs=4)
    expected = np.array(PATCHES, float)
    if shot.pix_fmt == "gray":
        expected = np.repeat((expected @ [0.299, 0.587, 0.114])[:, None], 3, 1)
    assert seen == pytest.approx(expected, abs=4)
    assert patches(as_model_sees(copy)) == pytest.approx(seen, abs=4)
    assert copy.format.name in ("yuv420p", "yuvj420p")


@pytest.mark.parametrize(
    ("shot", "matrix", "full"),
    [
        pytest.param(Shot(pix_fmt="yuvj420p"), 2, True, id="full range, no matrix named"),
        pytest.param(Shot(colour={**BT709, "color_range": 1}), 1, False, id="BT.709"),
        pytest.param(Shot(colour={**BT709, "color_range": 2}), 1, True, id="BT.709, full range"),
        pytest.param(Shot(pix_fmt="yuv444p", colour={**BT709, "color_range": 2}), 1, True, id="the same, converted"),
        pytest.param(Shot(matrix=(0, 1, -1, 0), colour={**BT709, "color_range": 2}), 1, True, id="the same, turned"),
        pytest.param(Shot(suffix=".mov", codec="png", pix_fmt="rgba"), 6, False, id="RGB: the matrix it was given"),
    ],
)
def test_colour_tags_are_kept(engine: Engine, tmp_path: Path, shot: Shot, matrix: int, full: bool) -> None:
    _, _, source, annotated = result(engine, shot, tmp_path)
    given, image = source.frames[0], annotated.frames[0]
    assert int(image.colorspace) == matrix
    assert (int(image.color_range) == 2) is full
    assert (int(image.color_primaries), int(image.color_trc)) == (int(given.color_primaries), int(given.color_trc))


def as_model_sees(image: Any) -> NDArray[np.float32]:
    """The picture that decode and preprocess make of a frame, (H, W, 3) RGB, neither resized nor padded."""
    image = readable(image)
    matrix, full_range = colour_of(image)
    size_wh, dst_hw = (image.width, image.height), (image.height, image.width)
    tensor = np.empty((3, *dst_hw), np.float32)
    Letterbox(size_wh, dst_hw, image.format.name, matrix=matrix, full_range=full_range).apply(planes_of(image), tensor)
    return tensor.transpose(1, 2, 0)


def patches(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """The mean colour of each patch's middle, (6, 3)."""
    height, width = rgb.shape[:2]
    step = width / len(PATCHES)
    columns = [slice(int((i + 0.35) * step), int((i + 0.65) * step)) for i in range(len(PATCHES))]
    return np.array([rgb[height // 4 : 3 * height // 4, part].reshape(-1, 3).mean(0) for part in columns])


@pytest.mark.parametrize("suffix", [".ts", ".h264"])
def test_a_change_of_size_on_the_way(engine: Engine, tmp_path: Path, suffix: str) -> None:
    """Boxes are pixels of their own frame; the annotated video keeps the first size."""
    first = make(tmp_path, Shot(suffix=suffix), "first")
    second = make(tmp_path, Shot(suffix=suffix, size_wh=(128, 96)), "second")
    video = run(engine, joined(tmp_path / f"both{suffix}", first, second), tmp_path)

    assert (video["status"], video["frames"], video["inferred_frames"]) == ("ok", 32, 32)
    for row in rows(video["outputs"]["detections"]):
        index, size_wh = (row["frame"], (96, 64)) if row["frame"] < 16 else (row["frame"] - 16, (128, 96))
        assert row["box_xyxy"] == pytest.approx(box_of(index, size_wh), abs=LOSSY)
    annotated = read(video["outputs"]["video"], keep=32)
    assert {(image.width, image.height) for image in annotated.frames} == {(96, 64)}
    start = annotated.times[0]
    assert close(annotated.times, [start + Fraction(i, 25) for i in range(32)], Fraction(1, 90_000))


def test_a_change_of_colour_range_on_the_way(engine: Engine, tmp_path: Path) -> None:
    """The annotated video has one set of tags; what comes later is converted to it."""
    first = make(tmp_path, Shot(suffix=".ts", options=FINE, patches=True), "first")
    second = make(tmp_path, Shot(suffix=".ts", options=FINE, patches=True, pix_fmt="yuvj420p"), "second")
    video = run(engine, joined(tmp_path / "both.ts", first, second), tmp_path)

    assert (video["status"], video["frames"]) == ("ok", 32)
    annotated = read(video["outputs"]["video"], keep=32)
    assert patches(as_model_sees(annotated.frames[-1])) == pytest.approx(np.array(PATCHES, float), abs=5)


def test_files_joined_end_to_end_keep_their_time_and_sound(engine: Engine, tmp_path: Path) -> None:
    """Each part's clock begins anew: the second follows the first, sound with picture."""
    parts = [make(tmp_path, Shot(suffix=".ts", audio="aac"), name) for name in ("first", "second", "third")]
    video = run(engine, joined(tmp_path / "all.ts", *parts), tmp_path)

    assert (video["status"], video["frames"]) == ("ok", 48)
    annotated, part = read(video["outputs"]["video"]), read(parts[0].path)
    start = part.times[0]
    assert close(annotated.times, [Fraction(i, 25) for i in range(48)], Fraction(1, 90_000))
    assert len(annotated.audio) == 3 * len(part.audio)
    heard = [time for time, _ in annotated.audio]
    assert heard == sorted(set(heard))
    for number in range(3):
        begins = heard[number * len(part.audio)]
        assert abs(begins - (part.audio[0][0] - start + number * Fraction(16, 25))) < Fraction(1, 20)


def test_a_gap_in_a_transport_stream_stays(engine: Engine, tmp_path: Path) -> None:
    ticks = [*range(8), *range(500, 508)]
    clip, video, source, annotated = result(engine, Shot(suffix=".ts", pts=ticks, audio="aac"), tmp_path)
    assert video["frames"] == clip.frames
    check_times(video, source.times, source, annotated)
    assert source.times[8] - source.times[7] == Fraction(493, 25)


@pytest.mark.parametrize(("skip", "between"), [(False, 0), (True, 1), (1, 1), (3, 3), (20, 20)])
def test_skipped_frames_are_predicted(tmp_path: Path, skip: bool | int, between: int) -> None:
    clip = make(tmp_path, Shot(frames=30))
    config = EngineConfig(backend="fake", formats="tracks,detections", min_hits=0, skip_frames=skip)
    with Engine(config) as engine:
        video = run(engine, clip, tmp_path)

    inferred = range(0, 30, between + 1)
    assert (video["status"], video["frames"], video["inferred_frames"]) == ("ok", 30, len(inferred))
    assert [row["frame"] for row in rows(video["outputs"]["detections"])] == list(inferred)
    tracks = rows(video["outputs"]["tracks"])
    if between < 10:
        assert [row["frame"] for row in tracks] == list(range(30))
        for row in tracks:
            assert overlap(row["box_xyxy"], box_of(row["frame"])) > 0.3
    assert len(read(video["outputs"]["video"]).pts) == 30


def overlap(box: list[float], other: tuple[int, int, int, int]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (box, other)]
    return width * height / (sum(areas) - width * height)


def test_only_final_names_are_left(engine: Engine, tmp_path: Path) -> None:
    run(engine, make(tmp_path, Shot()), tmp_path)
    names = ["clip.detections.jsonl", "clip.mp4", "clip.tracks.jsonl", "manifest.json"]
    assert sorted(os.listdir(tmp_path / "out")) == names
