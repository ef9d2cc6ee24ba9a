"""Files of one camera are one sequence: a video cut into five gives the tracks and counts of the whole."""

import csv
import json
import re
from fractions import Fraction

import av
import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.analytics.answering import answer
from engine.finished import FinishedRun
from engine.rework.render import render
from engine.rework.retrack import retrack
from engine.sinks.scene_overlay import SceneOverlay
from tests.assets import require_asset
from tests.e2e.runs import fake_engine, rows
from tests.e2e.test_answers import SCENE

FPS, GROUP, FRAMES = 25, 25, 250


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three squares that cross the frame to and fro, with a key frame a second."""
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.options = {
            "preset": "ultrafast",
            "g": str(GROUP),
            "keyint_min": str(GROUP),
            "bf": "0",
            "sc_threshold": "0",
        }
        for index in range(FRAMES):
            image = np.zeros((96, 160, 3), np.uint8)
            for number in range(3):
                x = abs((index * (number + 1) + 40 * number) % 280 - 140)
                image[4 + 32 * number : 24 + 32 * number, x : x + 20] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    return path


def cut(whole, folder, name, first_s, end_s, *, own_clock):
    """Copies the packets of a part, without decoding; with `own_clock` its times begin at zero."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        av.open(str(whole)) as source,
        av.open(str(folder / name), "w", options={"avoid_negative_ts": "disabled"}) as out,
    ):
        video = source.streams.video[0]
        stream = out.add_stream_from_template(video)
        zero = None
        for packet in source.demux(video):
            if packet.dts is None or not first_s <= float(packet.pts * packet.time_base) < end_s:
                continue
            zero = packet.pts if zero is None else zero
            if own_clock:
                packet.pts, packet.dts = packet.pts - zero, packet.dts - zero
            packet.stream = stream
            out.mux(packet)


def cut_in_five(whole, folder, *, own_clock, overlap_s=0, names="part{}.{}"):
    suffix = "mp4" if own_clock else "mkv"  # an MP4's times begin at zero, whatever is written
    for part in range(5):
        first_s = max(0, 2 * part - overlap_s)
        cut(whole, folder, names.format(part, suffix), first_s, 2 * part + 2, own_clock=own_clock)


def table(folder, name):
    with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def answered(videos, output, scene, **settings):
    with fake_engine(scene=scene, camera="folder", max_age=5, **settings) as engine:
        summary = engine.run([videos], output)
    assert summary["success"] is True, summary
    crossings = [
        (round(float(row["time_s"]), 2), row["track_id"], row["kind"], row["place"], row["direction"])
        for row in table(output, "events")
    ]
    seen = []
    for video in summary["videos"]:
        offset = video["sequence"]["offset_s"]
        for row in rows(output / f"{video['stem']}.tracks.jsonl"):
            seen.append((round(row["time_s"] + offset, 2), row["track_id"], *row["box_xyxy"]))
    return summary, crossings, sorted(seen)


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.toml"
    path.write_text(SCENE)
    return path


@pytest.mark.parametrize(("own_clock", "overlap_s"), [(True, 0), (True, 1), (False, 0), (False, 1)])
def test_a_video_cut_into_five_is_the_whole(tmp_path, whole, scene, own_clock, overlap_s):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "whole.mp4").symlink_to(whole)
    _, expected, seen = answered(tmp_path / "one", tmp_path / "whole-out", scene)
    cut_in_five(whole, tmp_path / "five", own_clock=own_clock, overlap_s=overlap_s)
    summary, found, rows_found = answered(tmp_path / "five", tmp_path / "out", scene)
    assert len([event for event in expected if event[2] == "crossing"]) >= 6
    assert rows_found == seen
    assert found == expected
    assert [video["sequence"]["joined"] for video in summary["videos"]] == [False, True, True, True, True]
    assert sum(video["frames"] for video in summary["videos"]) == FRAMES
    # A track that continues from one file to the next counts in both, and once in the total.
    (camera,) = summary["answers"]["cameras"]
    assert camera["camera"] == "five"
    assert summary["totals"]["tracks"] == camera["ids"] == len({row[1] for row in seen})
    assert sum(video["tracks"] for video in summary["videos"]) > camera["ids"]


def test_an_overlap_that_is_too_long_is_reported(tmp_path, whole, scene):
    """By their clocks, the second file begins 3 s before the first ends; the third follows at once."""
    for name, first_s, end_s in (("000000_000", 0, 5), ("000002_000", 2, 7), ("000007_000", 7, 10)):
        cut(whole, tmp_path / "in", f"20240501_{name}.mp4", first_s, end_s, own_clock=True)
    summary, *_ = answered(tmp_path / "in", tmp_path / "out", scene)
    assert [video["sequence"]["joined"] for video in summary["videos"]] == [False, False, True]
    first, second, third = (video.get("notes", []) for video in summary["videos"])
    assert (first, third) == ([], [])
    assert second == [
        "it begins 3.0 seconds before the previous file of its camera ends, more than max_overlap_s: what happens then "
        "is counted in both"
    ]


@pytest.fixture
def said(monkeypatch):
    """What the signs of each annotated video say but the time, frame by frame."""
    texts = {}
    original = SceneOverlay.signs

    def signs(overlay, frame):
        found = original(overlay, frame)
        texts.setdefault(overlay, []).append(found[1:])
        return found

    monkeypatch.setattr(SceneOverlay, "signs", signs)
    return texts


def all_of(said):
    found = [texts for of_video in said.values() for texts in of_video]
    said.clear()
    return found


@pytest.mark.parametrize("overlap_s", [0, 1])
def test_the_counts_on_five_videos_are_those_on_the_whole(tmp_path, whole, scene, said, overlap_s):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "whole.mp4").symlink_to(whole)
    answered(tmp_path / "one", tmp_path / "whole-out", scene, visualize=True)
    expected = all_of(said)
    assert len(expected) == FRAMES
    assert len({tuple(texts) for texts in expected}) > 6
    cut_in_five(whole, tmp_path / "five", own_clock=True, overlap_s=overlap_s)
    summary, *_ = answered(tmp_path / "five", tmp_path / "out", scene, visualize=True)
    assert len(said) == 5
    assert all_of(said) == expected
    again = list(render(tmp_path / "out"))
    assert [each.frames for each in again] == [video["frames"] for video in summary["videos"]]
    assert all_of(said) == expected


def test_behind_a_hole_the_counts_go_on_and_the_tracks_do_not(tmp_path, whole, scene, said):
    cut(whole, tmp_path / "two", "2024-01-01_10-00-00.mp4", 0, 4, own_clock=True)
    cut(whole, tmp_path / "two", "2024-01-01_10-01-00.mp4", 4, 10, own_clock=True)
    _, events, _ = answered(tmp_path / "two", tmp_path / "out", scene, visualize=True)
    first, second = said.values()
    crossings = [event for event in events if event[2] == "crossing"]

    def crossed(texts):
        return sum(int(number) for text in texts for number in re.findall(r"(\d+)(?:,|$)", text) if "now" not in text)

    assert 0 < crossed(first[-1]) <= crossed(second[0]) <= crossed(second[-1]) <= len(crossings)
    assert crossed(second[-1]) > crossed(first[-1])


def test_an_overlap_by_names_with_milliseconds(tmp_path, whole, scene):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "whole.mp4").symlink_to(whole)
    _, expected, seen = answered(tmp_path / "one", tmp_path / "whole-out", scene)
    for part in range(5):
        first_s = max(0, 2 * part - 1)
        name = f"2024-01-01_10-00-{first_s:02}.500.mp4"
        cut(whole, tmp_path / "five", name, first_s, 2 * part + 2, own_clock=True)
    _, found, rows_found = answered(tmp_path / "five", tmp_path / "out", scene)
    assert rows_found == seen
    assert found == expected


def test_a_clock_of_whole_seconds_is_helped_by_the_pictures(tmp_path, whole, scene):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "whole.mp4").symlink_to(whole)
    _, expected, seen = answered(tmp_path / "one", tmp_path / "whole-out", scene)
    for part in range(5):
        first_s = max(0, 2 * part - 1)
        name = f"2024-01-01_10-00-{first_s:02}.mp4"
        cut(whole, tmp_path / "five", name, first_s, 2 * part + 2, own_clock=True)
    summary, found, rows_found = answered(tmp_path / "five", tmp_path / "out", scene)
    assert rows_found == seen
    assert found == expected
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["videos"][0]["clock"]["origin"] == "name"
    assert sum(video["frames"] for video in summary["videos"]) == FRAMES


def test_a_picture_that_stands_still_is_no_overlap(tmp_path, scene):
    (tmp_path / "in").mkdir()
    for number in range(2):
        clip = tmp_path / "in" / f"{number}.mp4"
        with av.open(str(clip), "w") as output:
            stream = output.add_stream("libx264", rate=FPS)
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
            for _ in range(30):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8), "rgb24")))
            output.mux(stream.encode(None))
    summary, _, _ = answered(tmp_path / "in", tmp_path / "out", scene)
    assert [video["frames"] for video in summary["videos"]] == [30, 30]


def test_behind_a_long_gap_ids_go_on_and_tracks_do_not(tmp_path, whole, scene):
    for number, minute in enumerate((0, 30)):
        cut(whole, tmp_path / "in", f"2024-01-01_10-{minute:02}-00.mp4", 2 * number, 2 * number + 2, own_clock=True)
    summary, _, _ = answered(tmp_path / "in", tmp_path / "out", scene)
    first, second = summary["videos"]
    ids = [{row["track_id"] for row in rows(tmp_path / "out" / f"{v['stem']}.tracks.jsonl")} for v in (first, second)]
    assert min(ids[1]) > max(ids[0])
    assert second["sequence"] == {"camera": ".", "offset_s": 1800.0, "joined": False}
    counts = [row["count"] for row in table(tmp_path / "out", "counts")]
    assert "" in counts, "the bin between is not examined"


def test_a_failed_file_does_not_end_the_sequence(tmp_path, whole, scene):
    cut_in_five(whole, tmp_path / "in", own_clock=True)
    (tmp_path / "in" / "part2.mp4").write_bytes(b"broken")
    with fake_engine(scene=scene, camera="folder") as engine:
        summary = engine.run([tmp_path / "in"], tmp_path / "out")
    assert [video["status"] for video in summary["videos"]] == ["ok", "ok", "failed", "ok", "ok"]
    tracks = table(tmp_path / "out", "tracks")
    assert len({row["track_id"] for row in tracks}) == len(tracks)


def test_a_sequence_goes_on_after_an_interruption(tmp_path, whole, scene):
    cut_in_five(whole, tmp_path / "in", own_clock=True)
    undisturbed, expected, seen = answered(tmp_path / "in", tmp_path / "undisturbed", scene)
    for stop_at in (20, 30):
        with fake_engine(scene=scene, camera="folder", max_age=5, checkpoint_s=0, delay_s=0.002) as engine:

            def tick(streams, engine=engine, stop_at=stop_at):
                if any(stream.frames - stream.resumed_from >= stop_at for stream in streams):
                    engine.stop()

            engine.run([tmp_path / "in"], tmp_path / "out", progress=tick)
    summary, found, rows_found = answered(tmp_path / "in", tmp_path / "out", scene)
    assert rows_found == seen
    assert found == expected
    assert summary["totals"]["tracks"] == undisturbed["totals"]["tracks"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["answers"] == summary["answers"]


def test_ids_of_files_that_were_tracked_again_begin_anew_in_each(tmp_path, whole, scene):
    cut_in_five(whole, tmp_path / "in", own_clock=True)
    out = tmp_path / "out"
    summary, _, _ = answered(tmp_path / "in", out, scene, store_conf=0.1)
    made = retrack(out, None, {})
    again = sum(each.tracks for each in made)
    assert again > summary["totals"]["tracks"], "what continued is two tracks now"
    run = FinishedRun.load(out)
    (camera,) = answer(run.films, run.settings)
    assert camera.objects.ids == len(camera.answers.tracks) == again


def test_cameras_are_beside_each_other(tmp_path, whole, scene):
    for camera in ("north", "south"):
        cut_in_five(whole, tmp_path / "in" / camera, own_clock=True)
    summary, _, _ = answered(tmp_path / "in", tmp_path / "out", scene)
    first, second = summary["answers"]["cameras"]
    assert (first["camera"], second["camera"]) == ("north", "south")
    assert first["lines"] == second["lines"]
    assert Fraction(summary["videos"][0]["media"]["step_s"]) == Fraction(1, FPS)


REAL_SCENE = """
[[line]]
name = "across"
points = [[0, 0.5], [1, 0.5]]
[[line]]
name = "down"
points = [[0.5, 0], [0.5, 1]]
[[zone]]
name = "middle"
polygon = [[0.3, 0.3], [0.7, 0.3], [0.7, 0.7], [0.3, 0.7]]
"""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """The first ten seconds of people.mp4 with a key frame a second."""
    path = tmp_path_factory.mktemp("crowd") / "whole.mp4"
    with av.open(str(require_asset("videos/people.mp4"))) as source, av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 854, 480, "yuv420p"
        fixed = {"g": str(GROUP), "keyint_min": str(GROUP), "bf": "0", "sc_threshold": "0"}
        stream.options = {"preset": "ultrafast", "crf": "18", **fixed}
        for index, frame in enumerate(source.decode(video=0)):
            if index == FRAMES:
                break
            frame.pict_type = 0
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_a_real_clip_cut_into_five_is_the_whole(tmp_path, crowd):
    """A crowd seen by the default model: ids, boxes, crossings, stays and counts have no seam, with and without an
    overlap of a second."""
    scene = tmp_path / "scene.toml"
    scene.write_text(REAL_SCENE)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "whole.mp4").symlink_to(crowd)
    cut_in_five(crowd, tmp_path / "five", own_clock=True)
    cut_in_five(crowd, tmp_path / "lapped", own_clock=True, overlap_s=1)
    found = {}
    for name in ("one", "five", "lapped"):
        with Engine(EngineConfig(scene=scene, camera="folder", visualize=False, bin_s=2)) as engine:
            summary = engine.run([tmp_path / name], tmp_path / f"{name}-out")
        assert summary["success"] is True, summary
        seen = []
        for video in summary["videos"]:
            offset = video["sequence"]["offset_s"]
            for row in rows(tmp_path / f"{name}-out" / f"{video['stem']}.tracks.jsonl"):
                seen.append((round(row["time_s"] + offset, 2), row["track_id"], row["score"], *row["box_xyxy"]))
        events = [
            (round(float(row["time_s"]), 2), row["track_id"], row["kind"], row["place"], row["direction"])
            for row in table(tmp_path / f"{name}-out", "events")
        ]
        counts = [
            (float(row["bin_start"]), row["line"], row["direction"], row["class"], row["count"])
            for row in table(tmp_path / f"{name}-out", "counts")
        ]
        assert sum(video["frames"] for video in summary["videos"]) == FRAMES
        found[name] = (sorted(seen), events, counts, summary["answers"]["cameras"][0]["objects"])
    assert len(found["one"][0]) > 5000
    assert sum(event[2] == "crossing" for event in found["one"][1]) >= 10
    assert found["five"] == found["one"]
    assert found["lapped"] == found["one"]
