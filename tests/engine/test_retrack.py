"""Stored detections: tracks made again from them are the run's own, to the byte."""

import json
from pathlib import Path

import pytest

from engine import Engine, EngineConfig
from engine.errors import InputError
from engine.records import Tracks
from engine.rework.retrack import retrack, stores_in
from engine.sinks.store import DetectionStore, Store
from engine.trackers.registry import TRACKERS
from tests.engine.conftest import write_clip

PARAMETERS = {
    "sort": {"max_age": 2, "min_hits": 1, "skip_frames": 2},
    "bytetrack": {"track_thresh": 0.4},
    "ocsort": {"use_byte": True, "min_hits": 0, "skip_frames": 1},
    "cbiou": {"buffer_ratio_first": 0.2},
}


def run(tmp_path, **config):
    clip = tmp_path / "videos" / "a.mp4"
    if not clip.exists():
        clip.parent.mkdir()
        write_clip(clip, 24)
    out = tmp_path / "out"
    with Engine(EngineConfig(**{"backend": "fake", "visualize": False, **config})) as engine:
        summary = engine.run([clip.parent], out)
    assert summary["success"], summary
    return out


def results(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".jsonl", ".txt")}


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_runs_own_parameters_give_the_runs_bytes(tmp_path, tracker):
    out = run(tmp_path, tracker=tracker, store_conf=0.1, **PARAMETERS[tracker])
    before = results(out)
    assert set(before) == {"a.tracks.jsonl", "a.mot.txt"}
    assert before["a.tracks.jsonl"]
    (done,) = retrack(out, tmp_path / "again", {})
    assert results(tmp_path / "again") == before
    assert (done.frames, done.tracks, done.config.tracker) == (24, 1, tracker)
    retrack(out, None, {})
    assert results(out) == before
    assert json.loads((out / "retrack.json").read_text())["videos"][0]["tracker"] == tracker
    assert not list(out.glob("*.part"))


def test_rows_have_the_wall_clock_of_the_run(tmp_path):
    """Through a change of summer time, which a fixed offset would miss."""
    out = run(tmp_path, store_conf=0.1, min_hits=0, zone="Europe/Berlin", start="2026-10-25T02:59:59.500")
    before = results(out)
    assert b'"time": "2026-10-25T02:00:00.' in before["a.tracks.jsonl"]
    retrack(out, tmp_path / "again", {})
    assert results(tmp_path / "again") == before


def test_without_the_first_frame_rows_have_no_wall_clock(tmp_path):
    out = run(tmp_path, store_conf=0.1, min_hits=0, start="2026-10-25T02:59:59", start_s=0.4)
    assert b'"time": ' in results(out)["a.tracks.jsonl"]
    retrack(out, tmp_path / "again", {})
    assert b'"time": ' not in results(tmp_path / "again")["a.tracks.jsonl"]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_verify_with_each_tracker(tmp_path, run, tracker):
    clip = write_clip(tmp_path / "a.mp4", 6)
    done = run("verify", clip, "--backend", "fake", "--tracker", tracker)
    assert done.status == 0, done.err
    assert "Results are identical." in done.out


def test_what_the_manifest_says_for_those_who_track_and_draw_again(tmp_path):
    out = run(tmp_path, min_hits=0)
    (video,) = json.loads((out / "manifest.json").read_text())["videos"]
    media = video["media"]
    assert {key: media[key] for key in ("size_wh", "time_base", "step_s")} == {
        "size_wh": [128, 128], "time_base": "1/12800", "step_s": "1/25",
    }  # fmt: skip
    assert (video["tracks"], video["objects"]) == (1, [1, 1])
    assert set(video["input"]) == {"size_bytes", "sha256"}


def broken_track(tmp_path):
    """An object that is hidden for ten frames, so that its track breaks."""
    clip = tmp_path / "videos" / "a.mp4"
    clip.parent.mkdir()
    write_clip(clip, 32)
    out = tmp_path / "out"
    with Engine(EngineConfig(backend="fake", visualize=False, min_hits=0, max_age=1, store_conf=0.1)) as engine:
        engine.run([clip], out)
    path = out / "a.detections.bin"
    with Store(path) as store:
        header = store.header
        frames = list(store.frames())
    hidden = [(frame, found.above(2.0) if 12 <= frame.index < 22 else found) for frame, found in frames]
    data = b"yolo-engine detections 1\n" + header.to_line()
    sink = DetectionStore(None, header.class_names, header.config)
    for frame, found in hidden:
        none = found.above(2.0)
        rows, _ = sink.rows(Tracks(frame, none.boxes_xyxy, none.class_ids, none.class_ids, none.scores, found))
        data += rows
    path.write_bytes(data)
    return out


def test_stitch_gives_the_fragments_one_id(tmp_path):
    out = broken_track(tmp_path)
    (apart,) = retrack(out, tmp_path / "apart", {})
    assert (apart.tracks, str(apart.objects)) == (2, "2 ids, 1 object")
    (joined,) = retrack(out, tmp_path / "joined", {}, join=True)
    assert joined.tracks == 1
    rows = (tmp_path / "joined" / "a.tracks.jsonl").read_text().splitlines()
    ids = {json.loads(row)["track_id"] for row in rows}
    assert ids == {1}
    lines = (tmp_path / "joined" / "a.mot.txt").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines] == [*range(1, 13), *range(23, 33)]


def test_another_tracker_with_parameters_of_its_own(tmp_path):
    out = run(tmp_path, store_conf=0.1, max_age=3)
    (done,) = retrack(out, tmp_path / "again", {"tracker": "bytetrack", "track_buffer": 7})
    assert (done.config.tracker, done.config.track_buffer, done.config.max_age) == ("bytetrack", 7, None)
    assert results(tmp_path / "again")["a.tracks.jsonl"]


def test_what_was_not_stored_is_told(tmp_path):
    out = run(tmp_path, store_conf=0.5, conf=0.5)
    (done,) = retrack(out, None, {"tracker": "cbiou"})
    assert "cbiou wants scores from 0.1, and those from 0.5 are stored" in done.note


def test_what_the_tracker_is_given_is_stored_whatever_was_asked(tmp_path):
    out = run(tmp_path, store_conf=0.9, tracker="bytetrack")
    with Store(out / "a.detections.bin") as store:
        assert store.header.conf == 0.1
        assert [frame.index for frame, _ in store.frames()] == list(range(24))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "not a file of stored detections"),
        (lambda data: b"{}" + data, "not a file of stored detections"),
        (lambda data: data.replace(b'"conf": 0.1', b'"conf": 9.1', 1), "not a file of stored detections"),
        (lambda data: data[:-1], "is cut short behind frame"),
        (lambda data: data[:-30], "is cut short behind frame"),
        (lambda data: data[:-22] + b"\xff" * 22, "is damaged behind frame"),
    ],
)
def test_a_damaged_file_changes_nothing(tmp_path, damage, said):
    out = run(tmp_path, store_conf=0.1)
    before, path = results(out), out / "a.detections.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=said):
        retrack(out, None, {})
    assert results(out) == before
    assert not list(out.glob("*.part"))


def test_nothing_to_retrack(tmp_path):
    with pytest.raises(InputError, match="contains no stored detections"):
        stores_in(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        stores_in(tmp_path / "none")


def test_command(tmp_path, run):
    out = globals()["run"](tmp_path, store_conf=0.1)
    done = run("retrack", out, "--tracker", "bytetrack", "--stitch", "--json")
    assert done.status == 0, done.err
    (video,) = json.loads(done.out)["videos"]
    assert (video["tracker"], video["tracks"], video["objects"]) == ("bytetrack", 1, [1, 1])
    refused = run("retrack", out, "--tracker", "bytetrack", "--max-age", "3")
    assert refused.status == 2
    assert "max_age is a parameter of the tracker sort and ocsort, and the tracker is bytetrack" in refused.err
    assert run("retrack", Path(tmp_path, "videos")).status == 2
