"""Blur: what must not be seen is hidden in every frame, also where the tracker has no row."""

import contextlib
import json
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from engine import EngineConfig
from engine.errors import CheckpointMismatch, ConfigError
from engine.records import Detections, EndOfStream, StreamInfo
from engine.sinks.blur import BlurSettings, BlurWindow, padded
from engine.sinks.video import AnnotatedVideo
from tests.e2e.runs import cli, clip, ended, fake_engine, frames_in
from tests.engine.after import blur_truth
from tests.engine.conftest import make_frame, make_tracks
from tests.waiting import until

SIZE = (160, 96)
INFO = StreamInfo(0, "a", SIZE, Fraction(1, 1000), Fraction(25), None, None)
BOX = np.array([40.0, 30.0, 60.0, 60.0])


def pushed(sightings, frames, hold_s=0.5, found=None, rate=10):
    """What is hidden in each frame of a track with these sightings, {frame: box}."""
    window = BlurWindow(hold_s)
    hidden = {}
    for frame in range(frames):
        seen = [(1, sightings[frame])] if frame in sightings else []
        boxes = np.array((found or {}).get(frame, ()), np.float64).reshape(-1, 4)
        hidden |= dict(window.push(frame, frame / rate, 1, seen, boxes))
    hidden |= dict(window.flush())
    assert list(hidden) == list(range(frames))
    return hidden


def covers(boxes, box):
    return any((b[:2] <= box[:2] + 1e-6).all() and (b[2:] >= box[2:] - 1e-6).all() for b in boxes)


def test_through_a_gap_it_is_where_it_must_have_been():
    hidden = pushed({5: BOX, 9: BOX + 40}, 12)
    for step, frame in enumerate(range(5, 10)):
        assert covers(hidden[frame], BOX + 10 * step)


def test_a_gap_longer_than_frames_are_held_is_hidden_from_both_ends():
    hidden = pushed({5: BOX, 17: BOX}, 24)
    assert [frame for frame in hidden if covers(hidden[frame], BOX)] == list(range(24))[0:11] + list(range(12, 23))


def test_before_the_first_and_after_the_last_sighting():
    hidden = pushed({10: BOX, 11: BOX}, 25)
    assert [frame for frame in hidden if len(hidden[frame])] == list(range(5, 17))


def test_before_it_was_seen_it_came_from_where_its_way_points():
    sightings = {frame: BOX + 4 * (frame - 10) for frame in range(10, 20)}
    hidden = pushed(sightings, 20)
    for frame in range(6, 10):
        assert covers(hidden[frame], BOX + 4 * (frame - 10)), frame


def test_after_it_was_lost_it_goes_on_and_stays():
    sightings = {frame: BOX + 4 * frame for frame in range(10)}
    hidden = pushed(sightings, 14)
    for frame in range(10, 14):
        assert covers(hidden[frame], BOX + 4 * frame)
        assert covers(hidden[frame], BOX + 4 * 9)


def test_detections_hide_without_a_track():
    hidden = pushed({}, 5, found={2: [BOX]})
    assert [frame for frame in hidden if len(hidden[frame])] == [2]


def followed(detections, frames, *, tracks=None, hold_s=0.5, window=None):
    """What is hidden in each frame of detections that are followed, {frame: boxes}, beside tracks, {frame: box}."""
    window = BlurWindow(hold_s) if window is None else window
    hidden = {}
    for frame in range(frames):
        boxes = np.array(detections.get(frame, ()), np.float64).reshape(-1, 4)
        seen = [(1, tracks[frame])] if tracks and frame in tracks else []
        hidden |= dict(window.push(frame, frame / 10, 1, seen, boxes, boxes))
    return hidden | dict(window.flush())


def test_detections_that_no_track_takes_are_followed():
    """Through a gap, before the first and after the last, as a track is."""
    hidden = followed({8: [BOX], 11: [BOX + 6]}, 25)
    assert [frame for frame in hidden if len(hidden[frame])] == list(range(3, 17))
    assert covers(hidden[9], BOX + 2)
    assert covers(hidden[10], BOX + 4)


def test_each_is_followed_by_itself():
    """Two that pass each other at a distance; one that jumps is another."""
    other = BOX + np.array([0.0, 100.0, 0.0, 100.0])
    hidden = followed({frame: [BOX + 2 * frame, other - 2 * frame] for frame in (5, 6, 7, 9)}, 12)
    assert covers(hidden[8], BOX + 16)
    assert covers(hidden[8], other - 16)
    assert not covers(hidden[8], BOX + np.array([0.0, 50.0, 0.0, 50.0]))
    hidden = followed({5: [BOX], 7: [BOX + 300]}, 12)
    assert not covers(hidden[6], BOX + 150)


def test_what_a_track_takes_is_not_followed_beside_it():
    window = BlurWindow(0.5)
    tracks = {frame: BOX + frame for frame in range(10)}
    followed({frame: [box + 1] for frame, box in tracks.items()}, 10, tracks=tracks, window=window)
    assert [each["id"] for each in window.state()] == [1]
    followed({3: [BOX + 200]}, 5, tracks=tracks, window=(window := BlurWindow(0.5)))
    assert sorted(each["id"] for each in window.state()) == [-1, 1]
    again = BlurWindow(0.5)
    again.restore(window.state())
    list(again.push(5, 0.5, 1, [], (BOX + 201)[None], (BOX + 201)[None]))
    assert sorted(each["id"] for each in again.state()) == [-1, 1]


def test_memory_is_bounded_by_time_and_by_bytes():
    window = BlurWindow(0.5, held_bytes=10)
    held = []
    for frame in range(100):
        list(window.push(frame, frame / 100, 4, [], np.empty((0, 4))))
        held.append(len(window))
    assert max(held) == 2
    window = BlurWindow(0.5)
    for frame in range(100):
        list(window.push(frame, frame / 10, 1, [(frame, BOX)], np.empty((0, 4))))
        assert len(window) <= 6
        assert len(window.state()) <= 7


def test_padding_and_ways_drawn_too_far():
    np.testing.assert_allclose(padded(np.array([[10.0, 20, 20, 40]]), 0.1), [[9, 18, 21, 42]])
    np.testing.assert_allclose(padded(np.array([[20.0, 40, 10, 20]]), 0.0), [[10, 20, 20, 40]])


def noise(index):
    """A frame of fine noise: what is hidden has lost it."""
    random = np.random.default_rng(index)
    image = av.VideoFrame.from_ndarray(random.integers(30, 220, (SIZE[1] * 3 // 2, SIZE[0]), np.uint8), "yuv420p")
    image.colorspace, image.color_range = 1, 1
    return image


def frames_with(path, rows, blur, *, detections=None, marks=(), count=24):
    """Writes a video; `rows` and `detections` have the boxes of frames. Returns the states at the marks."""
    sink = AnnotatedVideo(path, ("person", "car"), crf=1, preset="ultrafast", threads=1, blur=blur)
    sink.open(INFO)
    states = {}
    for index in range(count):
        frame = replace(make_frame(index), image=noise(index))
        boxes = np.array((detections or {}).get(index, ()), np.float32).reshape(-1, 4)
        found = Detections(boxes, np.full(len(boxes), 0.5, np.float32), np.zeros(len(boxes), np.int32))
        sink.write(make_tracks(frame, [(1, 0, 0.9, rows[index])] if index in rows else [], found))
        if index in marks:
            states[index] = sink.mark()
    sink.commit(EndOfStream(0, count), path)
    return states


def lumas(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(video=0)]


def is_hidden(luma, box):
    """Whether neighbours differ by no more than what the encoder adds."""
    x1, y1, x2, y2 = (int(v) for v in box)
    part = luma[y1:y2, x1:x2]
    return np.abs(np.diff(part, axis=1)).mean() < 12


@pytest.mark.parametrize("fill", [False, True])
def test_every_frame_of_the_file_is_hidden_where_it_must_be(tmp_path, fill):
    rows = {index: BOX + index for index in (8, 9, 12, 13)}
    settings = BlurSettings(frozenset({"person"}), fill=fill, hold_s=0.2, boxes=False)
    frames_with(tmp_path / "a.mp4", rows, settings, detections={2: [BOX]})
    found = lumas(tmp_path / "a.mp4")
    assert len(found) == 24
    hold = 5  # frames of 25 in a second
    for index, luma in enumerate(found):
        expected = index == 2 or 8 - hold <= index <= 13 + hold
        box = BOX if index == 2 else BOX + min(max(index, 8), 13)
        assert is_hidden(luma, box) == expected, index
        assert not is_hidden(luma, (100, 5, 150, 25)), "beside it nothing is touched"


def test_other_classes_are_seen(tmp_path):
    settings = BlurSettings(frozenset({"car"}), hold_s=0.2, boxes=False)
    frames_with(tmp_path / "a.mp4", {5: BOX}, settings)
    assert not any(is_hidden(luma, BOX) for luma in lumas(tmp_path / "a.mp4"))


def test_a_checkpoint_is_never_ahead_of_what_is_known(tmp_path):
    """The state of a frame is there once the frames behind it have told what was to be hidden in it."""
    sink = AnnotatedVideo(
        tmp_path / "a.mp4",
        ("person",),
        crf=25,
        preset="ultrafast",
        threads=1,
        blur=BlurSettings(frozenset({"person"}), hold_s=0.4),
    )
    sink.open(INFO)
    for index in range(40):
        frame = replace(make_frame(index), image=noise(index))
        sink.write(make_tracks(frame, [(1, 0, 0.9, BOX)]))
        if index == 10:
            state = sink.mark()
        if index == 12:
            sink.drain()  # as at a stop: what is held stays held
            assert state() is None
            break
    sink.suspend()


def test_what_is_followed_is_in_the_checkpoint(tmp_path):
    window = BlurWindow(0.5)
    for index in range(5):
        list(window.push(index, index / 10, 1, [(3, BOX + index)], np.empty((0, 4))))
    state = json.loads(json.dumps(window.state()))
    again = BlurWindow(0.5)
    again.restore(state)
    hidden = dict(again.push(5, 0.5, 1, [], np.empty((0, 4)))) | dict(again.flush())
    assert covers(hidden[5], BOX + 5)
    for damaged in (
        [{}],
        [{"id": "x", "seen": [[0, [1, 2, 3, 4]]]}],
        [{"id": 1, "seen": []}],
        [{"id": 1, "seen": [[0, [1]]]}],
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            BlurWindow(0.5).restore([damaged])


def test_a_damaged_state_is_no_checkpoint(tmp_path):
    settings = BlurSettings(frozenset({"person"}))
    frames_with(tmp_path / "a.mp4", {}, None, count=3)
    sink = AnnotatedVideo(tmp_path / "b.mp4", ("person",), crf=25, preset="ultrafast", threads=1, blur=settings)
    sink.open(INFO)
    for index in range(3):
        sink.write(make_tracks(replace(make_frame(index), image=noise(index)), []))
    sink.drain()
    sink.suspend()
    part = tmp_path / "b.mp4.part"
    other = AnnotatedVideo(tmp_path / "c.mp4", ("person",), crf=25, preset="ultrafast", threads=1, blur=settings)
    with pytest.raises(CheckpointMismatch):
        other.resume(INFO, {"offset": part.stat().st_size, "blur": [{"id": 1}]}, part)
    other.abort()


def checkpoint_of(output):
    """The frame of the last checkpoint; 0 where there is none yet."""
    for journal in (output / ".yolo-engine").glob("*/*/journal.json"):
        with contextlib.suppress(OSError, ValueError):
            return json.loads(journal.read_text()).get("checkpoint", {}).get("frames", 0)
    return 0


def test_a_killed_run_hides_the_same_frames(tmp_path):
    """The square of the clip is nowhere to be seen, whether the run was killed or not."""
    video = clip(tmp_path / "in" / "a.mp4", frames=200, size_wh=(96, 64), codec="libx264")
    options = ("--blur", "square", "--only-blur", "--blur-style", "fill")
    process = cli("run", video, "-o", tmp_path / "out", "--backend", "fake", *options, delay_s=0.01, checkpoint_s=0.2)
    until(lambda: checkpoint_of(tmp_path / "out") or process.poll() is not None)
    process.kill()
    process.communicate()
    status, _, errors = ended(cli("run", video, "-o", tmp_path / "out", "--backend", "fake", *options))
    assert status == 0, errors
    assert frames_in(tmp_path / "out" / "a.mp4") == 200
    assert max(luma.max() for luma in lumas(tmp_path / "out" / "a.mp4")) < 200  # white is 235


def test_results_do_not_depend_on_it(tmp_path):
    video = clip(tmp_path / "in" / "a.mp4", frames=30, codec="libx264")
    for name, settings in (("plain", {}), ("blurred", {"blur": ["square"], "blur_conf": 0.01})):
        with fake_engine(visualize=True, formats=("tracks", "mot", "detections"), **settings) as engine:
            assert engine.run([video], tmp_path / name)["success"]
    for kind in ("tracks.jsonl", "mot.txt", "detections.jsonl"):
        assert (tmp_path / "plain" / f"a.{kind}").read_bytes() == (tmp_path / "blurred" / f"a.{kind}").read_bytes()
    assert (tmp_path / "plain" / "a.mp4").read_bytes() != (tmp_path / "blurred" / "a.mp4").read_bytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"only_blur": True}, "only_blur needs blur"),
        ({"blur": "person", "crops": True}, "crops are cut from the source"),
        ({"blur": "person", "visualize": False}, "blur applies to the annotated video"),
        ({"blur": "person,car", "classes": "car"}, "blur names 'person', which classes leaves out"),
    ],
)
def test_what_could_hide_nothing_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(**values)


def test_a_class_that_the_model_does_not_know(tmp_path, run):
    video = clip(tmp_path / "a.mp4")
    done = run("run", video, "-o", tmp_path / "out", "--blur", "licence plate")
    assert done.status == 2
    assert "licence plate" in done.err


@pytest.mark.parametrize(("name", "most"), [("mot17-09", 0.0), ("mot17-05", 0.0016), ("mot17-02", 0.021)])
def test_few_people_of_a_ground_truth_sequence_stay_visible(name, most):
    """Every frame of it. The tracks' boxes alone show many times more of them, most of all where a detector blinks."""
    for drop in (0.0, 0.2):
        full, alone = blur_truth.figures(name, drop)
        assert full.objects == alone.objects > 3000
        assert full.half <= most * full.objects
        assert full.half * 5 < alone.half
