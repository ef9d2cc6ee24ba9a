"""`yolo-engine clips`: every frame of an event is in its clip, whatever the file is like."""

import csv
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.clips import ClipSettings, cut_clips
from engine.clips.plan import parts_of
from engine.config import clip_keys
from engine.errors import ConfigError, InputError
from engine.finished import FinishedRun, Happening, Selection
from engine.finished.happenings import Span
from engine.media.planes import planes_of
from engine.stages.decode import readable
from tests.assets import require_asset
from tests.e2e.clips import Shot, make
from tests.engine.after.finished_runs import Life, finished, frames_of

NO_ROLL = {"pre_s": 0.0, "post_s": 0.0}


def pictures(path):
    """(time, luma) of each frame of a clip, as a player shows them."""
    with av.open(str(path)) as container:
        found = []
        for frame in container.decode(video=0):
            rotated = frame.rotation % 180 != 0
            image = readable(frame)
            wide = image.width * (3 if image.format.name in ("rgb24", "bgr24") else 1)
            luma = np.array(planes_of(image)[0][: image.height, :wide])
            found.append((frame.pts * frame.time_base, None if rotated else luma))
        return found


def check_inside(clip, shown, first, last, exact):
    """Every frame from `first` to `last` is in the clip, at its time, and looks as in the source."""
    within = {frame.index: frame for frame in shown}
    begins = Fraction(clip.begins_s).limit_denominator(10**9)
    there = pictures(clip.path)
    for index in range(first, last + 1):
        frame = within[index]
        due = float(Fraction(frame.time_s) - begins)
        near = min(there, key=lambda each: abs(float(each[0]) - due))
        assert abs(float(near[0]) - due) < 0.0015, f"frame {index} is not in {clip.name}"
        if near[1] is None or near[1].shape != frame.luma.shape:
            continue
        difference = np.abs(near[1].astype(int) - frame.luma).mean()
        assert difference < (4 if exact else 0.01), f"frame {index} of {clip.name} is another picture"


MADE = {
    "closed, no B-frames": Shot(frames=60, options={"g": "12", "bf": "0"}),
    "B-frames, an edit list": Shot(frames=60, options={"g": "15", "bf": "3", "preset": "medium"}),
    "open groups of pictures": Shot(
        frames=60, options={"g": "15", "bf": "3", "preset": "medium", "x264-params": "open-gop=1:scenecut=0"}
    ),
    "the same as a stream": Shot(
        suffix=".ts",
        frames=60,
        options={"g": "15", "bf": "3", "preset": "medium", "x264-params": "open-gop=1:scenecut=0"},
        audio="mp2",
    ),
    "intra refresh, one key frame": Shot(
        frames=60, options={"g": "20", "bf": "0", "x264-params": "intra-refresh=1:keyint=20"}
    ),
    "H.265, open": Shot(
        codec="libx265",
        frames=60,
        options={"x265-params": "keyint=15:open-gop=1:bframes=3:log-level=error:pools=1:frame-threads=1"},
    ),
    "Matroska with sound": Shot(suffix=".mkv", frames=60, options={"g": "12"}, audio="aac"),
    "MP4 with sound": Shot(frames=60, options={"g": "12", "bf": "2"}, audio="aac"),
    "variable rate": Shot(
        frames=40,
        options={"g": "8", "bf": "2"},
        time_base=Fraction(1, 1000),
        pts=[k * 40 + 7 * (k % 3) for k in range(40)],
    ),
    "AVI with B-frames": Shot(suffix=".avi", codec="libx264", frames=60, options={"g": "15", "bf": "2"}),
    "AVI in order": Shot(suffix=".avi", codec="mpeg4", frames=60, options={"g": "12", "bf": "0"}),
    "turned by 90 degrees": Shot(frames=40, options={"g": "10", "bf": "0"}, matrix=(0, 1, -1, 0)),
    "what an MP4 does not hold": Shot(suffix=".avi", codec="mjpeg", pix_fmt="yuvj420p", frames=30),
}


@pytest.mark.parametrize("exact", [False, True], ids=["copy", "exact"])
@pytest.mark.parametrize("kind", MADE)
def test_every_frame_of_an_event_is_in_its_clip(tmp_path, kind, exact):
    shot = MADE[kind]
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", shot).path
    shown = frames_of(video)
    assert len(shown) == shot.frames
    lives = [Life(3, 6, 1), Life(17, 22, 2), Life(shot.frames - 4, shot.frames - 1, 3)]
    out = finished(tmp_path / "out", {video: (shown, lives)})
    settings = ClipSettings(exact=exact, merge_gap_s=0.0, **NO_ROLL)
    cut = cut_clips(FinishedRun.load(out), settings)
    assert len(cut.clips) == 3
    if not exact:
        as_it_is = kind not in ("AVI with B-frames", "what an MP4 does not hold")
        assert {clip.mode for clip in cut.clips} == {"copy" if as_it_is else "exact"}
    for clip, life in zip(cut.clips, lives, strict=True):
        # Copying a GOP's inter pictures gives the very pictures; what is encoded anew is near them.
        check_inside(clip, shown, life.first, life.last, clip.mode == "exact")
        assert clip.first_frame <= life.first
        assert clip.last_frame >= life.last
        if exact:
            assert (clip.first_frame, clip.last_frame) == (life.first, life.last)
            assert len(pictures(clip.path)) == life.last - life.first + 1
        with av.open(str(clip.path)) as container:
            assert bool(container.streams.audio) == (shot.audio is not None)
    assert not [path for path in (out / "clips").iterdir() if path.name.startswith(".")]


# Not each of them can be copied; each gives clips that hold the event.
REAL = [
    "media/media__mp4_h265_bframes.mp4",
    "media/media__mp4_sample.mp4",
    "media/media__mp4_midroll-5s.mp4",
    "media/media__mp4_sample_android_slow_motion.mp4",
    "media/media__mp4_sample_av1.mp4",
    "media/media__mp4_bbb_176x144_192kbps_15fps_mpeg4.mp4",
    "media/media__mkv_sample.mkv",
    "media/media__ts_sample_h264.ts",
    "media/media__ts_sample_h264_mpeg_audio.ts",
    "media/media__ts_sample_h264_dts_audio.ts",
    "media/media__ts_sample_h262_mpeg_audio.ps",
    "media/media__ts_sample_h263.ts",
    "media/media__ts_sample_h265_rps_pred.ts",
    "media/media__dash_captions_h265_fragmented_captions_h265.mp4",
    "media/decord__tests_test_data_video_90.mov",
    "media/torchcodec__test_resources_h265_10bits.mp4",
    "media/media__vp9_bear-vp9-odd-dimensions.webm",
    "media/moviepy__docs__static_medias_user_guide_circle.gif",
    "faults/clock_restart.ts",
    "faults/midgop.ts",
    "faults/gaps.avi",
    "faults/trimend.mp4",
    "faults/dahua_like.dav",
]


@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path, name):
    video = require_asset(name)
    shown = frames_of(video)
    count = len(shown)
    first = shown[0].index
    middle, last = first + count // 2, first + count - 1
    lives = [Life(first, first, 1), Life(middle, min(last, middle + 3), 2), Life(last, last, 3)]
    lives = [life for k, life in enumerate(lives) if k == 0 or life.first > lives[k - 1].last]
    out = finished(tmp_path / "out", {video: (shown, lives)})
    for exact in (False, True):
        settings = ClipSettings(exact=exact, merge_gap_s=0.0, **NO_ROLL)
        cut = cut_clips(FinishedRun.load(out), settings, tmp_path / f"exact {exact}")
        assert not cut.failed
        held = {happening.track_id: clip for clip in cut.clips for happening, _ in clip.part.happenings}
        for life in lives:
            clip = held[life.track_id]
            check_inside(clip, shown, life.first, life.last, clip.mode == "exact")
            if exact:
                assert (clip.first_frame, clip.last_frame) == (life.first, life.last)
                assert len(pictures(clip.path)) == life.last - life.first + 1


_B = {"g": "15", "bf": "3", "preset": "medium"}
_265 = "keyint=15:min-keyint=15:bframes=3:scenecut=0:log-level=error:pools=1:frame-threads=1"
JOINED = {
    "no B-frames": Shot(frames=60, options={"g": "12", "bf": "0"}, audio="aac"),
    "B-frames": Shot(frames=60, options=_B, audio="aac"),
    "B-frames of B-frames": Shot(frames=60, options={**_B, "x264-params": "b-pyramid=normal:b-adapt=0"}),
    "baseline": Shot(frames=60, options={"g": "12", "profile": "baseline"}),
    "main, CAVLC": Shot(frames=60, options={**_B, "x264-params": "cabac=0:8x8dct=0"}, audio="aac"),
    "a transport stream": Shot(suffix=".ts", frames=60, options=_B, audio="mp2"),
    "Matroska, sound for Matroska": Shot(suffix=".mkv", frames=60, options=_B, audio="pcm_s16le"),
    "variable rate": Shot(
        frames=60,
        options=_B,
        time_base=Fraction(1, 1000),
        pts=[k * 40 + 7 * (k % 3) + 300 * (k > 30) for k in range(60)],
    ),
    "an odd time base": Shot(
        frames=60, options=_B, rate=Fraction(30000, 1001), time_base=Fraction(1, 30000), audio="aac"
    ),
    "turned by 90 degrees": Shot(frames=60, options=_B, matrix=(0, 1, -1, 0)),
    "wide pixels, full range": Shot(
        frames=60, options=_B, aspect=Fraction(4, 3), pix_fmt="yuvj420p", colour={"color_range": 2, "colorspace": 1}
    ),
    "4:2:2, ten bits": Shot(frames=60, options=_B, pix_fmt="yuv422p10le"),
    "H.265, closed": Shot(codec="libx265", frames=60, options={"x265-params": f"{_265}:open-gop=0"}, audio="aac"),
    "H.265, open": Shot(codec="libx265", frames=60, options={"x265-params": f"{_265}:open-gop=1"}),
    "H.265, a stream": Shot(
        suffix=".ts", codec="libx265", frames=60, options={"x265-params": f"{_265}:open-gop=1"}, audio="mp2"
    ),
    "H.265, ten bits": Shot(
        codec="libx265", frames=60, pix_fmt="yuv420p10le", options={"x265-params": f"{_265}:open-gop=1"}
    ),
}
_MIDDLE = Life(7, 52)


def planes(path):
    """Every sample of each frame of a file, as stored."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize("kind", JOINED)
def test_an_exact_clip_is_encoded_only_where_it_must_be(tmp_path, kind):
    """Every frame once, in order, from the very first; what lies between the ends is what the source decodes to, to the
    bit; and it can be entered at each of its key frames."""
    shot = JOINED[kind]
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", shot).path
    shown = frames_of(video)
    out = finished(tmp_path / "out", {video: (shown, [_MIDDLE])})
    (clip,) = cut_clips(FinishedRun.load(out), ClipSettings(exact=True, **NO_ROLL)).clips
    count = _MIDDLE.last - _MIDDLE.first + 1
    assert (clip.mode, clip.note, clip.first_frame, clip.last_frame) == ("exact", "", _MIDDLE.first, _MIDDLE.last)
    assert 0 < clip.encoded_frames <= 8 + 7  # up to the key frame of 15, and what a B-frame refers to past the end

    whole, there = planes(video), planes(clip.path)
    assert len(there) == count
    same = [bool((mine == his).all()) for mine, his in zip(there, whole[_MIDDLE.first :], strict=False)]
    copied = count - clip.encoded_frames
    assert any(all(same[first : first + copied]) for first in range(clip.encoded_frames + 1))
    check_inside(clip, shown, _MIDDLE.first, _MIDDLE.last, True)
    with av.open(str(video)) as source, av.open(str(clip.path)) as container:
        (before, after) = (each.streams.video[0].codec_context for each in (source, container))
        keys = ("name", "width", "height", "pix_fmt", "sample_aspect_ratio", "color_range", "colorspace")
        assert [getattr(after, key) for key in keys] == [getattr(before, key) for key in keys]
        assert next(source.decode(video=0)).rotation == next(container.decode(video=0)).rotation
    with av.open(str(clip.path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert min(packet.pts for packet in packets) == 0
        if clip.path.suffix == ".mp4":  # Matroska stores none
            times = [packet.dts for packet in packets]
            assert times == sorted(set(times))
            assert all(packet.pts >= packet.dts for packet in packets)
    _check_entries(clip.path, [packet.pts for packet in packets if packet.is_keyframe], there)
    if shot.audio is not None:
        _check_sound(video, clip, shot.audio)


def _check_entries(path, keys, there):
    """Who jumps to a key frame sees what who came to it sees."""
    assert len(keys) >= 4
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        order = sorted(packet.pts for packet in container.demux(stream) if packet.size)
        for key in keys:
            container.seek(key, stream=stream)
            seen = next(frame for frame in container.decode(stream) if frame.pts >= key)
            assert seen.pts == key
            assert (seen.to_ndarray() == there[order.index(key)]).all()


def _check_sound(video, clip, codec):
    """Each packet of sound stands as far from its picture as in the source, within a millisecond."""
    times = []
    for path in (video, clip.path):
        with av.open(str(path)) as container:
            sound = container.streams.audio[0]
            packets = [packet for packet in container.demux(sound) if packet.size]
            times.append([(bytes(packet), float(packet.pts * packet.time_base)) for packet in packets])
    source, mine = times
    assert len(mine) > 20
    once = {data: at for data, at in source if sum(data == other for other, _ in source) == 1}
    offsets = [once[data] - at for data, at in mine if data in once]
    assert len(offsets) > 20 or codec != "aac"  # the packets of a tone may be all the same
    assert all(abs(offset - clip.begins_s) < 0.001 for offset in offsets)
    assert abs(mine[0][1]) < 0.06


@pytest.mark.parametrize(
    ("shot", "why"),
    [
        (
            MADE["open groups of pictures"],
            "encoded as a whole: its key frames can't follow pictures of another encoder",
        ),
        (Shot(frames=60, options={**_B, "x264-params": "interlaced=1"}), "it is interlaced"),
        (Shot(suffix=".mkv", codec="libx264", pix_fmt="yuv444p", frames=60, options=_B), ""),
        (Shot(suffix=".mkv", codec="mpeg4", frames=60, options={"g": "12"}), "encoded as a whole: its key frames"),
        (Shot(suffix=".mkv", codec="libvpx-vp9", frames=60, options={"g": "12"}), "encoded as a whole: its key frames"),
        (Shot(frames=60, options={"g": "100"}), ""),  # no key frame among them
    ],
)
def test_what_can_not_be_joined_is_encoded_as_a_whole_and_told(tmp_path, shot, why):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", shot).path
    shown = frames_of(video)
    out = finished(tmp_path / "out", {video: (shown, [_MIDDLE])})
    (clip,) = cut_clips(FinishedRun.load(out), ClipSettings(exact=True, **NO_ROLL)).clips
    assert clip.note.startswith(why) if why else not clip.note
    assert (clip.encoded_frames == 46) is not (shot.pix_fmt == "yuv444p")
    assert len(pictures(clip.path)) == 46
    check_inside(clip, shown, _MIDDLE.first, _MIDDLE.last, True)


def test_sound_goes_along_and_stays_with_the_picture(tmp_path):
    """The tone of the clip is that of the source at that place, whether copied or encoded."""
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=150, options={"g": "25", "bf": "2"}, audio="aac")).path
    shown = frames_of(video)
    out = finished(tmp_path / "out", {video: (shown, [Life(60, 90)])})
    for exact in (False, True):
        cut = cut_clips(FinishedRun.load(out), ClipSettings(exact=exact, **NO_ROLL), tmp_path / f"clips-{exact}")
        (clip,) = cut.clips
        length_s = clip.ends_s - clip.begins_s
        with av.open(str(clip.path)) as container:
            (sound,) = container.streams.audio
            times = [
                (float(frame.pts * frame.time_base), frame.samples / frame.sample_rate)
                for frame in container.decode(sound)
            ]
        assert times[0][0] < 0.06
        assert abs(times[-1][0] + times[-1][1] - length_s) < 0.06
        assert abs(sum(samples for _, samples in times) - length_s) < 0.1


def test_sound_that_an_mp4_does_not_take_is_kept_in_matroska(tmp_path):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(suffix=".mkv", frames=50, options={"g": "10"}, audio="pcm_s16le")).path
    out = finished(tmp_path / "out", {video: (frames_of(video), [Life(20, 30)])})
    (clip,) = cut_clips(FinishedRun.load(out), ClipSettings(**NO_ROLL)).clips
    assert (clip.path.suffix, clip.mode) == (".mkv", "copy")
    with av.open(str(clip.path)) as container:
        assert container.streams.audio[0].codec_context.name == "pcm_s16le"


def happening(first_s, last_s, number=1, video=0):
    return Happening("track", "cam", number, "car", "", "", first_s, last_s, None, (Span(video, first_s, last_s),))


@pytest.mark.parametrize(
    ("spans", "settings", "expected"),
    [
        ([(10, 12)], {}, [(5, 17)]),
        ([(10, 12), (20, 21)], {}, [(5, 26)]),  # 17 and 15 overlap
        ([(10, 12), (24.0, 25)], {}, [(5, 30)]),  # 2 s apart
        ([(10, 12), (24.1, 25)], {}, [(5, 17), (19.1, 30)]),
        ([(10, 12), (20, 21)], {"max_length_s": 20}, [(5, 17), (15, 26)]),  # rather twice than cut
        ([(0, 30)], {"max_length_s": 20, **NO_ROLL}, [(0, 15), (15, 30)]),
        ([(10, 10)], {**NO_ROLL}, [(10, 10)]),
    ],
)
def test_parts(spans, settings, expected):
    given = [happening(first, last, k) for k, (first, last) in enumerate(spans)]
    parts = parts_of(given, ClipSettings(**settings))[0]
    found = [second for part in parts for second in (part.begins_s, part.ends_s)]
    assert found == pytest.approx([second for pair in expected for second in pair])


def test_what_is_too_long_is_cut_without_loss_or_repetition(tmp_path):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=100, options={"g": "10", "bf": "2"})).path
    shown = frames_of(video)
    out = finished(tmp_path / "out", {video: (shown, [Life(5, 94)])})
    settings = ClipSettings(exact=True, max_length_s=1.5, **NO_ROLL)
    clips = cut_clips(FinishedRun.load(out), settings).clips
    assert [(clip.first_frame, clip.last_frame) for clip in clips] == [(5, 34), (35, 64), (65, 94)]
    assert [clip.name.name[-15:] for clip in clips] == [f"part-{k}-of-3.mp4" for k in (1, 2, 3)]


def scene(tmp_path):
    path = tmp_path / "scene.toml"
    path.write_text(
        '[[line]]\nname = "../up <b>"\npoints = [[0.5, 0.0], [0.5, 1.0]]\nanchor = "centre"\n'
        '[[zone]]\nname = "left"\npolygon = [[0,0],[0.4,0],[0.4,1],[0,1]]\nanchor = "centre"\n'
    )
    return path


def test_events_of_a_scene_with_a_clock(tmp_path, run):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=100, options={"g": "10"}), name="cam_2024-05-01_08-00-00").path
    shown = frames_of(video)
    lives = [Life(10, 40, 1, (5, 8, 25, 28)), Life(41, 60, 1, (70, 8, 90, 28)), Life(80, 99, 2, (70, 8, 90, 28))]
    out = finished(tmp_path / "out", {video: (shown, lives)}, scene=[str(scene(tmp_path))], zone="Europe/Berlin")
    done = run("clips", out, "--kind", "crossing", "--pre", "0", "--post", "0")
    assert done.status == 0, done.err
    (row,) = csv.DictReader((out / "clips" / "clips.csv").read_text().splitlines())
    assert row["kinds"] == "crossing"
    assert row["clip"] == "cam_2024-05-01_08-00-00-2024-05-01T08-00-01+0200-crossing-up-b-out-person-1.mp4"
    assert int(row["first_frame"]) <= 40
    assert int(row["last_frame"]) >= 41  # it happened between two frames
    assert row["from_time"].startswith("2024-05-01T08:00:01")
    done = run("clips", out, "--kind", "stay", "--place", "left", "--longer", "1s", "--json")
    (told,) = json.loads(done.out)["clips"]
    assert told["events"] == 1
    # What could have come up and did not is no error; what can't come up is one, with what there is.
    for asked in (["--class", "square"], ["--direction", "in"], ["--kind", "stay", "--class", "person,square,square"]):
        done = run("clips", out, *asked)
        assert (done.status, done.err) == (0, "")
    assert run("clips", out, "--class", "square").out.startswith("0 clips")
    taken = sorted(path.name for path in (out / "clips").iterdir())
    for asked, message in (
        (
            ["--class", "persn"],
            "No class 'persn' is looked for in these videos. Did you mean 'person'? There is: person, ",
        ),
        (
            ["--place", "letf"],
            "There is no line or zone 'letf' in these videos. Did you mean 'left'? There is: ../up <b>",
        ),
        (["--direction", "inn"], "There is no direction 'inn' in these videos. Did you mean 'in'? There is: in, out."),
        (["--kind", "crossing", "--place", "left"], "Nothing of the kind 'crossing' can be as the rest is asked for"),
        (["--kind", "track", "--place", "left"], "Nothing of the kind 'track' can be"),
        (["--kind", "stay", "--direction", "in"], "Nothing of the kind 'stay' can be"),
        (["--place", "../up <b>", "--longer", "2s"], "Nothing of the line or zone '../up <b>' can be"),
        (["--longer", "2s", "--shorter", "1s"], "nothing lasts at least 2 s and at most 1 s"),
    ):
        done = run("clips", out, *asked)
        assert (done.status, done.out) == (2, ""), asked
        assert message in done.err
    assert sorted(path.name for path in (out / "clips").iterdir()) == taken


def test_events_where_two_files_of_a_camera_meet(tmp_path, run):
    """A crossing between the last frame of one and the first of the next is in a clip of each, with its frame."""
    (tmp_path / "in" / "cam").mkdir(parents=True)
    options = {"g": "15", "bf": "3", "preset": "medium"}
    names = ("2024-05-01_08-00-00", "2024-05-01_08-00-02")
    first, second = (
        make(tmp_path / "in" / "cam", Shot(frames=50, options=options, patches=patches), name=name).path
        for name, patches in zip(names, (False, True), strict=True)
    )
    left, right = (5, 8, 25, 28), (70, 8, 90, 28)
    videos = {
        first: (frames_of(first), [Life(30, 49, 1, left)]),
        second: (frames_of(second), [Life(0, 10, 1, right), Life(20, 49, 2, left)]),
    }
    out = finished(tmp_path / "out", videos, inputs=[tmp_path / "in"], camera="folder", scene=[str(scene(tmp_path))])
    for exact in (False, True):
        settings = ClipSettings(Selection(kinds=("crossing",)), exact=exact, **NO_ROLL)
        before, after = cut_clips(FinishedRun.load(out), settings).clips
        assert (before.video, after.video) == tuple(f"cam/{name}.mp4" for name in names)
        assert (before.last_frame, after.first_frame) == (49, 0)
        if exact:
            assert before.first_frame >= 48
            assert after.last_frame == 0
        check_inside(before, videos[first][0], 49, 49, before.mode == "exact")
        check_inside(after, videos[second][0], 0, 0, after.mode == "exact")
    settings = ClipSettings(Selection(kinds=("track",)), exact=True, merge_gap_s=0.0, **NO_ROLL)
    clips = cut_clips(FinishedRun.load(out), settings).clips
    assert [(clip.first_frame, clip.last_frame) for clip in clips] == [(30, 49), (0, 10), (20, 49)]


def test_names_without_a_scene(tmp_path, run):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=12)).path
    out = finished(tmp_path / "out", {video: (frames_of(video), [Life(2, 5)])})
    for asked, message in (
        (["--kind", "crossing"], "There is no kind 'crossing' in these videos. There is: track."),
        (["--place", "left"], "There is no line or zone 'left' in these videos. There is: none."),
    ):
        done = run("clips", out, *asked)
        assert done.status == 2
        assert message in done.err
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["classes"]  # of an older version, which did not note them: any may have been looked for
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert run("clips", out, "--class", "persn").out.startswith("0 clips")


def test_a_scene_for_other_videos(tmp_path, run):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=12)).path
    out = finished(tmp_path / "out", {video: (frames_of(video), [Life(2, 5)])})
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text('camera = "cam7/**"\n[[line]]\nname = "a"\npoints = [[0, 0], [1, 1]]\n')
    done = run("clips", out, "--scene", elsewhere)
    assert done.status == 2
    assert "No scene is for any of the videos: their `camera` is 'cam7/**'" in done.err
    assert video.name in done.err
    # One for a class that the model did not look for; what is in the rows, people may have mended.
    for name, refused in (("dog", True), ("square", False), ("person", False)):
        elsewhere.write_text(f'[[line]]\nname = "a"\npoints = [[0, 0], [1, 1]]\nclasses = ["{name}"]\n')
        for command in (("clips", out), ("analyze", out, "-o", tmp_path / "tables")):
            done = run(*command, "--scene", elsewhere)
            assert (done.status == 2) == refused, done.err
            assert ("The line 'a' of a scene is for the class 'dog', which was not looked for" in done.err) == refused


def test_what_is_empty_and_how_sure_that_is(tmp_path):
    (tmp_path / "in").mkdir()
    videos = {}
    for name, lives in (("seen", [Life(2, 5)]), ("empty\n\x1b[2J", [])):
        path = make(tmp_path / "in", Shot(frames=12), name=name).path
        videos[path] = (frames_of(path), lives)
    out = finished(tmp_path / "out", videos, conf=0.4)
    manifest = json.loads((out / "manifest.json").read_text())
    failed = {**manifest["videos"][0], "path": "x.mp4", "stem": "x", "status": "failed", "error": "broken", "tracks": 0}
    nothing = {"frames": 0, "inferred_frames": 0, "detections": 0, "outputs": {}, "media": None}
    manifest["videos"].append({**failed, **nothing})
    (out / "manifest.json").write_text(json.dumps(manifest))
    cut_clips(FinishedRun.load(out), ClipSettings())
    text = (out / "clips" / "empty.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    (line,) = lines
    assert line.startswith("empty\\n\\x1b[2J.mp4\t12 of 12 frames examined")
    assert "model fake" in text
    assert "scores from 0.4" in text
    assert "# x.mp4\t0 of 0 frames examined, failed: broken" in text
    assert "only a part" not in text


@pytest.mark.parametrize(
    ("asked", "said"), [({"start_s": 2.0}, "from 2 s to its end"), ({"duration_s": 5.0}, "from 0 s to 5 s")]
)
def test_what_is_empty_in_a_part(tmp_path, asked, said):
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in", Shot(frames=12), name="a").path
    out = finished(tmp_path / "out", {path: (frames_of(path), [])}, **asked)
    cut_clips(FinishedRun.load(out), ClipSettings())
    assert f"Of each video only a part was examined: {said}." in (out / "clips" / "empty.txt").read_text()


def test_a_source_that_is_gone_or_changed_stops_no_other(tmp_path, run):
    (tmp_path / "in").mkdir()
    videos = {}
    for name in "abcd":
        path = make(tmp_path / "in", Shot(frames=12), name=name).path
        videos[path] = (frames_of(path), [Life(2, 5)])
    out = finished(tmp_path / "out", videos)
    (tmp_path / "in" / "a.mp4").unlink()
    with open(tmp_path / "in" / "b.mp4", "ab") as file:
        file.write(b"x")
    with open(tmp_path / "in" / "d.mp4", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    done = run("clips", out)
    assert done.status == 1
    assert "d.mp4: no clips: is not the file that the tracks are of: its content has changed" in done.err
    assert "a.mp4: no clips: does not exist" in done.err
    assert "b.mp4: no clips: is not the file that the tracks are of" in done.err
    assert "1 clip (" in done.out
    (tmp_path / "in").rename(tmp_path / "moved")
    assert run("clips", out, "--source", tmp_path / "moved").status == 1  # c is found again


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": "crash"}, "kinds must be one of 'track', 'crossing', 'enter', 'leave' or 'stay'. Got 'crash'"),
        ({"pre_s": "soon"}, "pre_s must be seconds, or a length such as 30s, 15m, 1h or 1d. Got 'soon'"),
        ({"max_length_s": 0}, "max_length_s must be at least 1"),
        ({"klasses": "car"}, "Unknown key 'klasses' in the configuration. Did you mean classes?"),
    ],
)
def test_wrong_settings(values, message):
    with pytest.raises(ConfigError, match="^" + message.replace(".", r"\.").replace("?", r"\?")):
        clip_keys(values)


def test_no_output_folder(tmp_path):
    with pytest.raises(InputError, match=r"contains no manifest\.json"):
        FinishedRun.load(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        FinishedRun.load(tmp_path / "none")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        FinishedRun.load(tmp_path)


def test_selections():
    short, long = happening(0, 1), happening(0, 9)
    assert Selection(longer_s=5).takes(long)
    assert not Selection(longer_s=5).takes(short)
    assert Selection(shorter_s=5, classes=("car",)).takes(short)
    assert not Selection(classes=("bus",)).takes(short)


def test_a_run_cuts_them_at_its_end(tmp_path, run):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in", Shot(frames=40, options={"g": "10"}))
    (tmp_path / "c.toml").write_text('[clips]\nkinds = "track"\npre_s = 0\n')
    done = run(
        "run",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--backend",
        "fake",
        "--config",
        tmp_path / "c.toml",
        "--no-visualize",
    )
    assert done.status == 0, done.err
    assert f"1 clip in {tmp_path / 'out' / 'clips'}, 1 copied without encoding." in done.out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (clip,) = manifest["clips"]["clips"]
    assert (clip["mode"], clip["last_frame"]) == ("copy", 39)
    assert len(pictures(clip["clip"])) == clip["last_frame"] - clip["first_frame"] + 1


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, run):
    """What can't be written is no clip, and no half of one."""
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=12)).path
    out = finished(tmp_path / "out", {video: (frames_of(video), [Life(2, 5)])})
    (out / "clips").write_text("in the way")
    done = run("clips", out)
    assert done.status == 2
    assert "clips can't be written: not a directory" in done.err


@pytest.mark.parametrize("exact", [False, True], ids=["copy", "exact"])
def test_clips_of_a_run_that_blurs_are_of_its_annotated_video(tmp_path, run, exact):
    """What is hidden there is hidden in the clip; frames and times are those of the source all the same."""
    (tmp_path / "in").mkdir()
    make(tmp_path / "in", Shot(suffix=".ts", frames=80, options={"g": "10"}, audio="mp2"))
    options = ("--backend", "fake", "--start", "0.4", "--blur", "square", "--only-blur", "--blur-style", "fill")
    done = run("run", tmp_path / "in", "-o", tmp_path / "out", *options)
    assert done.status == 0, done.err
    cut = cut_clips(FinishedRun.load(tmp_path / "out"), ClipSettings(exact=exact, **NO_ROLL))
    (clip,) = cut.clips
    shown = pictures(clip.path)
    assert max(luma.max() for _, luma in shown) < 200
    rows = [json.loads(line) for line in (tmp_path / "out" / "clip.tracks.jsonl").read_text().splitlines()]
    assert clip.first_frame <= rows[0]["frame"]
    assert clip.last_frame == rows[-1]["frame"] == 79
    assert clip.begins_s <= rows[0]["time_s"] + 1e-3
    assert len(shown) == clip.last_frame - clip.first_frame + 1
    named = run("clips", tmp_path / "out", "--source", tmp_path / "in")
    assert named.status == 2
    assert "--source does nothing here" in named.err
    assert "those of a run with blur come from its annotated videos" in named.err
    (tmp_path / "out" / "clip.mp4").unlink()
    assert "clip.ts: no clips: does not exist" in run("clips", tmp_path / "out").err


def three_lives(tmp_path, names="a"):
    """Runs over clips in `in/sub` in which a track is seen early, another in the middle, the third late."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    videos = {}
    for name in names:
        path = make(tmp_path / "in" / "sub", Shot(frames=60, options={"g": "10"}), name=name).path
        videos[path] = (frames_of(path), [Life(2, 8, 1), Life(25, 30, 2, class_name="car"), Life(50, 58, 3)])
    return videos


def listed(folder):
    return [row["clip"] for row in csv.DictReader((folder / "clips.csv").read_text().splitlines())]


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


CUT = ("--pre", "0", "--post", "0", "--merge-gap", "0")


def test_clips_that_are_not_cut_again_go_and_nothing_else(tmp_path, run):
    videos = three_lives(tmp_path)
    out = finished(tmp_path / "out", videos)
    assert run("clips", out, *CUT).status == 0
    before = listed(out / "clips")
    assert len(before) == 3
    others = ("mine.mp4", "mine.part", ".clip-mine.part", "clip-2.mp4")
    for name in others:
        (out / "clips" / name).write_text("mine")
    taken = next(name for name in before if "car" in name)
    done = run("clips", out, *CUT, "--class", "person")
    assert done.status == 0, done.err
    assert listed(out / "clips") == [name for name in before if name != taken]
    assert files_in(out / "clips") == sorted([*listed(out / "clips"), "clips.csv", "empty.txt", *others])
    # A file of somebody that has the very name is not replaced.
    (out / "clips" / taken).write_text("mine")
    run("clips", out, *CUT, "--class", "car")
    assert listed(out / "clips") == [taken.replace(".mp4", "-2.mp4")]
    assert (out / "clips" / taken).read_text() == "mine"


def test_clips_of_a_source_that_is_gone_stay(tmp_path, run):
    """They can't be cut again."""
    videos = three_lives(tmp_path, "ab")
    out = finished(tmp_path / "out", videos)
    run("clips", out, *CUT)
    before = listed(out / "clips")
    rows = (out / "clips" / "clips.csv").read_text().splitlines()
    (tmp_path / "in" / "sub" / "a.mp4").unlink()
    assert run("clips", out, *CUT, "--class", "car").status == 1
    kept = [name for name in before if "/a-" in name or name.startswith("a-")]
    of_b = [name for name in before if name not in kept and "car" in name]
    assert listed(out / "clips") == of_b + kept
    assert files_in(out / "clips") == sorted([*of_b, *kept, "clips.csv", "empty.txt"])
    assert [row for row in (out / "clips" / "clips.csv").read_text().splitlines() if row in rows[1:4]] == rows[1:4]


KILLED = """
import os, sys
from pathlib import Path
from engine.clips import ClipSettings, cut_clips
from engine.finished import FinishedRun

def tick():
    if list(Path(sys.argv[1], "clips").rglob("a*.mp4")) and list(Path(sys.argv[1], "clips").rglob(".clip-*.part")):
        os.kill(os.getpid(), 9)

cut_clips(FinishedRun.load(Path(sys.argv[1])), ClipSettings(pre_s=0, post_s=0, merge_gap_s=0), tick=tick)
"""


def test_what_a_killed_one_left_goes(tmp_path, run):
    videos = three_lives(tmp_path, "ab")
    out = finished(tmp_path / "out", videos)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert killed.returncode == -9
    left = files_in(out / "clips")
    assert any(Path(name).name.startswith(".clip-") for name in left)
    assert any(Path(name).name.startswith("a") for name in left)  # it had appeared, and no list has it
    assert "clips.csv" not in left
    assert run("clips", out, *CUT, "--class", "car").status == 0
    assert len(listed(out / "clips")) == 2
    assert files_in(out / "clips") == sorted([*listed(out / "clips"), "clips.csv", "empty.txt"])


@pytest.mark.parametrize(
    "text",
    [
        "clip,mode,camera,video,\n../../keep.mp4,,,a\n/etc/keep.mp4,,,a\nkeep.txt,,,a\n,,,a\n.keep.mp4,,,a\nin\0,,,a\n"
        + "x" * 300
        + ".mp4,,,a\n",
        "no list",
        "",
        '"',
        "clip\n" + "x" * 200_000,
    ],
)
def test_a_hostile_list_removes_nothing_of_others(tmp_path, run, text):
    videos = three_lives(tmp_path)
    out = finished(tmp_path / "out", videos)
    (out / "clips").mkdir()
    kept = [out / "clips" / "keep.txt", out / "clips" / ".keep.mp4", tmp_path / "keep.mp4"]
    for path in kept:
        path.write_text("mine")
    (out / "clips" / "clips.csv").write_text(text)
    (out / "clips" / ".listed.part").write_text('"../../keep.mp4"\n[1]\n{\n' + "[" * 10_000 + '\n"\\ud800.mp4"\n')
    done = run("clips", out, *CUT, "--overwrite")
    assert done.status == 0, done.err
    assert all(path.read_text() == "mine" for path in kept)
    assert len(listed(out / "clips")) == 3


def test_a_folder_that_becomes_a_link_meanwhile_gets_nothing(tmp_path):
    videos = three_lives(tmp_path)
    out = finished(tmp_path / "out", videos)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    swapped = []

    def swap():
        if not swapped and (out / "clips").is_dir():
            (out / "clips").rename(tmp_path / "moved")
            (out / "clips").symlink_to(elsewhere)
            swapped.append(True)

    cut = cut_clips(FinishedRun.load(out), ClipSettings(merge_gap_s=0, **NO_ROLL), tick=swap)
    assert swapped
    assert len(cut.clips) == 3
    assert list(elsewhere.iterdir()) == []
    assert len(files_in(tmp_path / "moved")) == 5
