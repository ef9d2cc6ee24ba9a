"""Exports: frames, ids, classes and boxes of each format are those of the rows; what comes back is what went."""

import fcntl
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.analytics import read_tracks
from engine.clips import ClipSettings, cut_clips
from engine.errors import ConfigError, InputError, OutputError, VideoError
from engine.exports import ExportSettings, export_run, import_corrected
from engine.exports.key_frames import key_frames, runs_of
from engine.finished import FinishedRun
from engine.rework.render import render
from tests.e2e.clips import Shot, make
from tests.engine.after.finished_runs import finished, frames_of
from tests.engine.conftest import write_clip


def moving(frames, tracks, hole=None):
    """Rows of tracks, {id: class}, that move in bends; not in the frames of `hole`."""
    rows = []
    for frame in range(frames):
        for track_id, name in tracks.items():
            if hole is not None and hole[0] <= frame <= hole[1]:
                continue
            x = 5 + track_id + 20 * abs(np.sin(frame / 9 + track_id))
            y = 6 + 10 * abs(np.cos(frame / 7))
            box = [round(float(v), 2) for v in (x, y, x + 20 + frame / 10, y + 24)]
            rows.append({"frame": frame, "track_id": track_id, "class": name, "box_xyxy": box})
    return rows


def run_with(folder, videos, **settings):
    """The output folder of a run whose rows are these, {video: (frames, rows)}."""
    out = finished(folder, {video: (frames, []) for video, (frames, _) in videos.items()}, **settings)
    for video, (frames, rows) in videos.items():
        names = sorted({row["class"] for row in rows})
        lines = [
            {
                "frame": row["frame"],
                "pts": frames[row["frame"]].pts,
                "time_s": round(frames[row["frame"]].time_s, 6),
                "track_id": row["track_id"],
                "class_id": names.index(row["class"]),
                "class": row["class"],
                "score": 0.5,
                "box_xyxy": row["box_xyxy"],
            }
            for row in rows
        ]
        (out / f"{video.stem}.tracks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out


@pytest.fixture
def one(tmp_path):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=40, options={"bf": "2"}), name="a").path
    rows = moving(40, {3: "car", 7: "person"}, hole=(15, 19))
    return run_with(tmp_path / "out", {video: (frames_of(video), rows)}), rows


def rows_in(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_key_frames_stay_within_the_error_and_are_few():
    random = np.random.default_rng(0)
    for error in (0.0, 0.5, 2.0, 10.0):
        for length in (1, 2, 3, 50, 400):
            frames = np.arange(7, 7 + length)
            boxes = random.normal(0, 1.5, (length, 4)).cumsum(axis=0)
            kept = key_frames(frames, boxes, error)
            assert kept[0] == 0
            assert kept[-1] == length - 1
            line = np.stack([np.interp(frames, frames[kept], boxes[kept, side]) for side in range(4)], axis=1)
            assert np.abs(line - boxes).max() <= error + 1e-9
    straight = np.outer(np.arange(2000), [1.0, 2.0, 1.0, 2.0])
    assert len(key_frames(np.arange(2000), straight, 0.01)) == 2
    assert len(key_frames(np.arange(0), np.empty((0, 4)), 1.0)) == 0


def test_holes_split_a_track():
    assert runs_of(np.array([1, 2, 3, 7, 8, 10])) == [slice(0, 3), slice(3, 5), slice(5, 6)]
    assert runs_of(np.array([], dtype=np.int64)) == []


def test_cvat_interpolates_to_the_rows_within_the_error(one):
    out, rows = one
    made = export_run(FinishedRun.load(out), "cvat", ExportSettings(error_px=1.5))
    root = ElementTree.parse(made.folder / "a.xml").getroot()
    assert root.find("version").text == "1.1"
    assert root.find("meta/task/size").text == "40"
    assert [label.text for label in root.iterfind("meta/task/labels/label/name")] == ["car", "person"]
    found = {}
    for track in root.iterfind("track"):
        boxes = [
            (int(box.get("frame")), box.get("outside"), [float(box.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")])
            for box in track.iterfind("box")
        ]
        assert [frame for frame, _, _ in boxes] == sorted({frame for frame, _, _ in boxes})
        assert [frame for frame, outside, _ in boxes if outside == "1"] == [15]  # at its end the video ends as well
        for (frame, outside, box), (after, ends, following) in pairwise(boxes):
            for between in range(frame, after) if outside == "0" else ():
                target = box if ends == "1" else following
                share = (between - frame) / (after - frame)
                found[between, int(track.get("id")), track.get("label")] = [
                    a + share * (b - a) for a, b in zip(box, target, strict=True)
                ]
        found[boxes[-1][0], int(track.get("id")), track.get("label")] = boxes[-1][2]
    expected = {(row["frame"], row["track_id"], row["class"]): row["box_xyxy"] for row in rows}
    assert found.keys() == expected.keys()
    assert max(np.abs(np.subtract(found[key], expected[key])).max() for key in expected) <= 1.51
    assert made.keys < made.boxes / 3


def test_jobs_begin_at_frame_0_again(one):
    out, rows = one
    settings = ExportSettings(error_px=0.0, job_frames=16, job_overlap=4)
    folder = export_run(FinishedRun.load(out), "cvat", settings).folder
    # 0 to 15, 12 to 27, 24 to 39
    assert sorted(path.name for path in folder.glob("*.xml")) == ["a.job-0.xml", "a.job-1.xml", "a.job-2.xml", "a.xml"]
    for number, first in enumerate((0, 12, 24)):
        root = ElementTree.parse(folder / f"a.job-{number}.xml").getroot()
        assert root.find("meta/task/stop_frame").text == "15"
        there = [int(box.get("frame")) for box in root.iterfind("track[@id='3']/box") if box.get("outside") == "0"]
        expected = [row["frame"] - first for row in rows if row["track_id"] == 3 and 0 <= row["frame"] - first < 16]
        assert (there[0], there[-1]) == (expected[0], expected[-1])
    folder = export_run(FinishedRun.load(out), "mot", settings).folder
    text = (folder / "a.job-2" / "gt" / "gt.txt").read_text()
    assert text.splitlines()[0].startswith("1,3,")


def test_mot_frames_classes_and_the_sequence(one):
    out, rows = one
    folder = export_run(FinishedRun.load(out), "mot").folder / "a"
    lines = [line.split(",") for line in (folder / "gt" / "gt.txt").read_text().splitlines()]
    assert len(lines) == len(rows)
    x1, y1, x2, y2 = rows[0]["box_xyxy"]
    assert [float(value) for value in lines[0]] == pytest.approx([1, 3, x1, y1, x2 - x1, y2 - y1, 1, 1, 1], abs=0.01)
    assert (folder / "gt" / "labels.txt").read_text() == "car\nperson\n"
    info = (folder / "seqinfo.ini").read_text()
    assert "frameRate=25\nseqLength=40\nimWidth=96\nimHeight=64" in info


def test_coco_ids_count_from_1_and_every_frame_is_an_image(one):
    out, rows = one
    folder = export_run(FinishedRun.load(out), "coco", ExportSettings(every=10)).folder
    data = json.loads((folder / "annotations" / "instances_default.json").read_text())
    assert [(image["id"], image["frame_index"]) for image in data["images"]] == [(1, 0), (2, 10), (3, 20), (4, 30)]
    assert [box["id"] for box in data["annotations"]] == list(range(1, 9))
    assert {box["image_id"] for box in data["annotations"]} == {1, 2, 3, 4}
    assert data["categories"][0] == {"id": 1, "name": "car", "supercategory": ""}
    first = data["annotations"][0]
    x1, y1, x2, y2 = rows[0]["box_xyxy"]
    assert first["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.011)
    assert (first["track_id"], first["category_id"]) == (3, 1)


def test_images_of_a_source_that_is_gone_name_it(one, run):
    out, _ = one
    video = Path(json.loads((out / "manifest.json").read_text())["videos"][0]["path"])
    video.unlink()
    done = run("export", out, "--to", "coco", "--images")
    assert done.status == 1
    assert f"Error: {video} does not exist" in done.err
    assert not (out / "export" / "coco").exists()


@pytest.mark.parametrize("known", ["size", "content"])
def test_images_are_not_cut_out_of_another_recording(tmp_path, run, known):
    """A camera that overwrites its file would give boxes on frames that they are not of."""
    video = write_clip(tmp_path / "a.mp4")
    assert run("run", video, "-o", tmp_path / "out", "--backend", "fake", "--no-visualize").status == 0
    data = bytearray(video.read_bytes())
    video.write_bytes(data[:-1] if known == "size" else data[:-1] + bytes([data[-1] ^ 1]))
    done = run("export", tmp_path / "out", "--to", "coco", "--images")
    assert done.status == 1
    assert f"Error: {video} is not the file that the tracks are of: its {known} has changed since the run" in done.err
    assert not (tmp_path / "out" / "export" / "coco").exists()
    assert run("export", tmp_path / "out", "--to", "coco").status == 0


def test_images_of_a_run_that_blurs_are_said_to_show_all(tmp_path, run):
    video = write_clip(tmp_path / "a.mp4")
    out = tmp_path / "out"
    done = run("run", video, "-o", out, "--backend", "fake", "--min-hits", "1", "--blur", "square")
    assert done.status == 0, done.err
    assert run("export", out, "--to", "coco").err == ""
    told = run("export", out, "--to", "coco", "--images").err
    assert "The images are from the sources, which show what the run's annotated videos hide." in told


def test_images_are_those_of_the_part_that_was_examined(tmp_path):
    """Others would teach that nobody is there."""
    clip = write_clip(tmp_path / "a.mp4", 40)
    with Engine(EngineConfig(backend="fake", visualize=False, start_s=0.32, duration_s=0.64)) as engine:
        engine.run([clip], tmp_path / "out")
    folder = export_run(FinishedRun.load(tmp_path / "out"), "yolo", ExportSettings(images=True, every=4)).folder
    names = [f"a_{frame:06d}" for frame in range(8, 24, 4)]
    assert sorted(path.stem for path in (folder / "images" / "train").iterdir()) == names


def test_yolo_labels_are_shares_of_the_frame_and_images_those_of_the_rows(one):
    import av

    out, rows = one
    folder = export_run(FinishedRun.load(out), "yolo", ExportSettings(images=True, every=8)).folder
    assert '  0: "car"\n  1: "person"' in (folder / "data.yaml").read_text()
    names = [f"a_{frame:06d}" for frame in range(0, 40, 8)]
    assert sorted(path.stem for path in (folder / "labels" / "train").iterdir()) == names
    assert sorted(path.stem for path in (folder / "images" / "train").iterdir()) == names
    assert (folder / "labels" / "train" / "a_000016.txt").read_text() == ""  # in the hole
    kind, x, y, w, h = map(float, (folder / "labels" / "train" / "a_000000.txt").read_text().splitlines()[0].split())
    x1, y1, x2, y2 = rows[0]["box_xyxy"]
    assert (kind, (x - w / 2) * 96, (y - h / 2) * 64) == pytest.approx((0, x1, y1), abs=0.001)
    assert (w * 96, h * 64) == pytest.approx((x2 - x1, y2 - y1), abs=0.001)
    shown = frames_of(Path(FinishedRun.load(out).videos[0].source))
    with av.open(str(folder / "images" / "train" / "a_000024.jpg")) as picture:
        found = next(picture.decode(video=0)).to_ndarray(format="gray").astype(float)
    near = [np.abs(found - (frame.luma.astype(float) - 16) * 255 / 219).mean() for frame in shown]
    assert int(np.argmin(near)) == 24  # not one beside


def test_labelstudio_counts_from_1_and_ends_what_ends(one):
    out, rows = one
    folder = export_run(FinishedRun.load(out), "labelstudio", ExportSettings(error_px=1.0)).folder
    (task,) = json.loads((folder / "tasks.json").read_text())
    regions = task["predictions"][0]["result"]
    told = [(region["meta"]["track_id"], region["value"]["labels"]) for region in regions]
    assert told == [(3, ["car"]), (7, ["person"])]
    sequence = regions[0]["value"]["sequence"]
    assert sequence[0]["frame"] == 1
    assert [key["frame"] for key in sequence if not key["enabled"]] == [15, 40]  # frames 14 and 39
    x1, y1, _, y2 = rows[0]["box_xyxy"]
    assert sequence[0]["x"] == pytest.approx(100 * x1 / 96, abs=0.001)
    assert sequence[0]["height"] == pytest.approx(100 * (y2 - y1) / 64, abs=0.001)
    ElementTree.parse(folder / "interface.xml")


def test_fiftyone_links_the_source_and_counts_from_1(one):
    out, rows = one
    folder = export_run(FinishedRun.load(out), "fiftyone").folder
    (pair,) = json.loads((folder / "manifest.json").read_text())["index"]
    assert (folder / pair["data"]).read_bytes() == Path(FinishedRun.load(out).videos[0].source).read_bytes()
    frames = json.loads((folder / pair["labels"]).read_text())["frames"]
    assert list(frames) == [str(frame + 1) for frame in sorted({row["frame"] for row in rows})]
    assert frames["1"]["objects"]["objects"][0]["index"] == 3


BOX = "<box frame='0' outside='0' xtl='1' ytl='1' xbr='2' ybr='2'/>"


def cvat(tracks, head=""):
    return f"<annotations>{head}{tracks}</annotations>"


def head_of(said):
    return f"<meta><task>{said}</task></meta>"


def size_of(width, height):
    return f"<original_size><width>{width}</width><height>{height}</height></original_size>"


def as_seen(path):
    return {(row["frame"], row["track_id"], row["class"]): tuple(row["box_xyxy"]) for row in rows_in(path)}


@pytest.mark.parametrize("form", ["cvat", "mot"])
@pytest.mark.parametrize("archive", [False, True])
def test_there_and_back(one, tmp_path, form, archive):
    """Frames, times, ids and classes come back; boxes within what was allowed."""
    out, _ = one
    before = as_seen(out / "a.tracks.jsonl")
    times = {row["frame"]: (row["pts"], row["time_s"]) for row in rows_in(out / "a.tracks.jsonl")}
    folder = export_run(FinishedRun.load(out), form, ExportSettings(error_px=1.0)).folder
    file = folder / "a.xml" if form == "cvat" else folder / "a" / "gt" / "gt.txt"
    if archive:
        packed = tmp_path / "task.zip"
        with zipfile.ZipFile(packed, "w") as target:
            target.write(file, "annotations.xml" if form == "cvat" else "gt/gt.txt")
            if form == "mot":
                target.write(file.with_name("labels.txt"), "gt/labels.txt")
        file = packed
    done = import_corrected(FinishedRun.load(out), [file])
    after = as_seen(out / "a.tracks.jsonl")
    assert after.keys() == before.keys()
    allowed = 1.02 if form == "cvat" else 0.02
    assert max(np.abs(np.subtract(after[key], before[key])).max() for key in before) <= allowed
    for row in rows_in(out / "a.tracks.jsonl"):
        assert (row["pts"], row["time_s"]) == times[row["frame"]]
    assert done.timed == "source"
    assert as_seen(done.kept) == before


def test_analyze_runs_over_what_was_mended(one, run):
    out, _ = one
    assert run("analyze", out).status == 0
    before = (out / "tracks.csv").read_text()
    mended = "<annotations><version>1.1</version>" + "".join(
        f'<track id="{k}" label="bus"><box frame="{k}" outside="0" occluded="0" xtl="1" ytl="1" xbr="9" ybr="9"/>'
        f'<box frame="{k + 30}" outside="0" keyframe="1" xtl="31" ytl="1" xbr="39" ybr="9"/></track>'
        for k in range(2)
    )
    (out / "mended.xml").write_text(mended + "</annotations>")
    done = run("import", out, out / "mended.xml")
    assert done.status == 0, done.err
    assert "2 tracks, 62 boxes" in done.out
    rows = rows_in(out / "a.tracks.jsonl")
    assert {row["track_id"] for row in rows} == {1, 2}  # CVAT counts from 0
    assert {(row["class"], row["class_id"]) for row in rows} == {("bus", 2)}
    halfway = next(row for row in rows if row["frame"] == 15 and row["track_id"] == 1)
    assert halfway["box_xyxy"] == [16.0, 1.0, 24.0, 9.0]
    assert sum(len(samples) for samples in read_tracks(out / "a.tracks.jsonl")) == 62
    assert run("analyze", out).status == 0
    after = (out / "tracks.csv").read_text()
    assert after != before
    assert after.count("bus") >= 2
    kept = (out / "a.before-import.tracks.jsonl").read_text()
    assert run("import", out, out / "mended.xml").status == 0
    assert (out / "a.before-import.tracks.jsonl").read_text() == kept  # the machine's own


def test_jobs_come_back_at_their_place(one, run):
    out, _ = one
    before = as_seen(out / "a.tracks.jsonl")
    settings = ExportSettings(error_px=0.0, job_frames=16, job_overlap=4)
    folder = export_run(FinishedRun.load(out), "cvat", settings).folder
    files = [folder / f"a.job-{number}.xml" for number in range(3)]
    firsts = [word for first in (0, 12, 24) for word in ("--first-frame", str(first))]
    assert run("import", out, *files, *firsts).status == 0
    after = as_seen(out / "a.tracks.jsonl")
    assert after.keys() == before.keys()
    assert max(np.abs(np.subtract(after[key], before[key])).max() for key in before) <= 0.02


def test_without_the_source_the_rows_tell_the_times(one):
    out, _ = one
    times = {row["frame"]: row["time_s"] for row in rows_in(out / "a.tracks.jsonl")}
    folder = export_run(FinishedRun.load(out), "mot").folder
    (FinishedRun.load(out).videos[0].source).unlink()
    text = (folder / "a" / "gt" / "gt.txt").read_text() + "18,9,1,1,5,5,1,1,1\n"  # in the hole
    (out / "x.txt").write_text(text)
    done = import_corrected(FinishedRun.load(out), [out / "x.txt"])
    assert done.timed == "rows"
    found = {row["frame"]: row["time_s"] for row in rows_in(out / "a.tracks.jsonl")}
    assert {frame: found[frame] for frame in times} == times
    assert found[17] == pytest.approx(17 / 25, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations>", "is not XML"),
        ("<osm></osm>", "is not an export of CVAT: it begins with <osm>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "declares a document type"),
        ("<annotations><image id='0'/></annotations>", "CVAT for images: export it as CVAT for video"),
        ("<annotations><track id='x' label='a'/></annotations>", "line 1: not a track"),
        ("<annotations><track id='1' label='a'><box frame='1'/></track></annotations>", "line 1: not a track"),
        (
            "<annotations><track id='1' label='a'><box frame='9999' xtl='1' ytl='1' xbr='2' ybr='2'/>"
            "</track></annotations>",
            "boxes in frame 9999, and a.mp4 has 40 frames, counted from 0",
        ),
        (
            "<annotations><track id='1' label='a'><box frame='0' xtl='1' ytl='1' xbr='2' ybr='2'/>"
            "<box frame='67108862' xtl='1' ytl='1' xbr='2' ybr='2'/></track></annotations>",
            "more than 16777216 boxes",
        ),
        ("1,2,3\n", "line 1: not a MOTChallenge row"),
        ("0,1,1,1,1,1,1,1,1\n", "frames count from 1"),
        ("1,1,nan,1,1,1,1,1,1\n", "line 1: not a MOTChallenge row"),
        ("1,1.5,1,1,1,1,1,1,1\n", "line 1: not a MOTChallenge row (frames and ids are whole numbers)"),
        ("\n1.5,1,1,1,1,1,1,1,1\n", "line 2: not a MOTChallenge row (frames and ids are whole numbers)"),
        (f"1,{2**53},1,1,1,1,1,1,1\n", "track 9007199254740992 in frame 0 is invalid: ids are whole numbers"),
        (f"1,0,1,1,1,1,1,1,1\n2,{2**53 - 1},1,1,1,1,1,1,1\n", "so they can't be renumbered from 1"),
        ("1,1,1e308,1,1e308,1,1,1,1\n", "track 1 in frame 0 is invalid: its sides are not finite"),
        ("1,1,-1e300,1,1e300,1,1,1,1\n", "beyond 2^31 pixels"),
        ("1,1,5,1,-2,1,1,1,1\n", "its right side is left of its left one"),
        ("1,1,5,1,2,-1,1,1,1\n", "its lower side above its upper one"),
        (cvat(f"<track id='{10**400}' label='a'>{BOX}</track>"), "ids are whole numbers from 0 to 2^53"),
        (cvat(f"<track id='-3' label='a'>{BOX}</track>"), "track -3 in frame 0 is invalid: ids are whole numbers"),
        (
            cvat("<track id='1' label='a'><box frame='0' xtl='9' ytl='1' xbr='2' ybr='2'/></track>"),
            "its right side is left of its left one",
        ),
    ],
)
def test_what_is_no_correction_changes_nothing(one, content, message):
    out, _ = one
    before = (out / "a.tracks.jsonl").read_bytes()
    (out / "x").write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        import_corrected(FinishedRun.load(out), [out / "x"])
    assert (out / "a.tracks.jsonl").read_bytes() == before
    assert not (out / "a.before-import.tracks.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", b"garbage, and more of it", "is not XML: syntax error: line 1, column 0."),
        ("a.xml", b"<annotations", "is not XML"),
        ("a.xml", b"<osm></osm>", "is not an export of CVAT: it begins with <osm>."),
        ("a.xml", b"\x00\x01\x02" * 100, "contains no corrections: it is not a text file."),
        ("a.mp4", b"\x00\x00\x00\x18ftypisom" + b"\x7f" * 100_000, "contains no corrections: it is not a text file."),
        ("a.txt", b"x" * 100_000, "line 1: not a MOTChallenge row"),
        ("a.txt", b"\n \n", "is empty."),
        ("a.xml", b"", "is empty."),
        ("a.zip", b"", "neither annotations.xml nor gt/gt.txt: it is not a CVAT export."),
        ("folder", None, "neither annotations.xml nor gt/gt.txt: it is neither a CVAT export nor one of ours."),
    ],
)
def test_what_is_none_of_those_files_is_told_what_they_are(one, name, content, message):
    out, _ = one
    path = out / name
    if content is None:
        path.mkdir()
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("holiday.jpg", b"")
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        import_corrected(FinishedRun.load(out), [path])
    said = str(caught.value)
    assert said.startswith(str(path))
    assert 'Give what CVAT exports as "CVAT for video 1.1" or "MOT 1.1"' in said
    assert len(said) < 1000


def test_what_can_be_is_read_again(one):
    """The largest ids and sides that are taken are those that every reader takes."""
    out, _ = one
    side = 2.0**31 - 1
    (out / "x").write_text(f"1,{2**53 - 1},0,0,{side},{side},1,1,1\n2,1,5,5,0,0,1,1,1\n")
    import_corrected(FinishedRun.load(out), [out / "x"])
    (samples,) = read_tracks(out / "a.tracks.jsonl")
    assert samples.track_ids.tolist() == [2**53 - 1, 1]
    assert samples.boxes_xyxy.tolist() == [[0, 0, side, side], [5, 5, 5, 5]]
    export_run(FinishedRun.load(out), "mot")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"track_id": 2**53}, "ids are whole numbers from 0 to 2^53"),
        ({"track_id": -1}, "ids are whole numbers"),
        ({"track_id": 1.5}, "ids are whole numbers"),
        ({"track_id": 10**400}, "OverflowError"),
        ({"frame": -1}, "frames are whole numbers from 0"),
        ({"box_xyxy": [0, 0, 2**31, 1]}, "beyond 2^31 pixels"),
        ({"pts": 2**63}, "numbers of 64 bits"),
        ({"class_id": -(2**63)}, "numbers of 64 bits"),
    ],
)
def test_rows_that_nothing_can_count_are_refused_by_line(one, change, why):
    """The reader's rules are those of `import`."""
    out, _ = one
    lines = (out / "a.tracks.jsonl").read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    (out / "a.tracks.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=rf"a\.tracks\.jsonl, line 3: not a track row \(.*{re.escape(why)}"):
        export_run(FinishedRun.load(out), "mot")


# -- is it this video? ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("<name>a.mp4</name><size>40</size>" + size_of(96, 64), None),
        ("<name>corrections of May</name><source>a.mp4</source>", None),
        ("<name>corrections of May</name>", None),
        ("<name>x</name><source>/data/mine/a.avi</source>", None),  # converted for the tool
        ("<name>a.mp4</name>" + size_of(1920, 1080), "is of frames of 1920x1080, and those of a.mp4 are 96x64"),
        ("<name>a.mp4</name><size>41</size>", "is of 41 frames, and a.mp4 has 40"),
        ("<name>a.mp4</name><size>39</size>", "is of 39 frames, and a.mp4 has 40: all of its rows would be replaced"),
        ("<size>20</size><frame_filter>step=2</frame_filter>", None),  # its frames are numbered as the video's
        ("<name>May</name><source>b.mp4</source>", "says that it is of b.mp4, and the run's video is a.mp4"),
    ],
)
@pytest.mark.parametrize(
    "head", ["<task>{}</task>", "<job>{}</job>", "<project><tasks><task>{}</task></tasks></project>"]
)
def test_cvat_says_of_which_video_it_is(one, said, message, head):
    out, _ = one
    labels = "<labels><label><name>b.mp4</name></label><label><name>c.mp4</name></label></labels>"
    text = cvat(f"<track id='1' label='a'>{BOX}</track>", f"<meta>{head.format(said + labels)}</meta>")
    (out / "x.xml").write_text(text)
    if message is None:
        import_corrected(FinishedRun.load(out), [out / "x.xml"])
        return
    before = (out / "a.tracks.jsonl").read_bytes()
    with pytest.raises(InputError, match=re.escape(message)):
        import_corrected(FinishedRun.load(out), [out / "x.xml"])
    assert (out / "a.tracks.jsonl").read_bytes() == before


def test_a_renamed_video_is_taken_where_a_person_says_so(one, run):
    out, _ = one
    (out / "x.xml").write_text(cvat(f"<track id='1' label='a'>{BOX}</track>", head_of("<source>b.mp4</source>")))
    refused = run("import", out, out / "x.xml")
    assert refused.status == 2
    assert "pass --video a.mp4" in refused.err
    assert run("import", out, out / "x.xml", "--video", "a.mp4").status == 0


def test_corrections_of_another_video_of_the_run(tmp_path, run):
    """Not even where they are named: whoever names them has mixed them up."""
    (tmp_path / "in").mkdir()
    found = {}
    for name in "ab":
        video = make(tmp_path / "in", Shot(frames=6), name=name).path
        found[video] = (frames_of(video), moving(6, {1: "car"}))
    out = run_with(tmp_path / "out", found)
    folder = export_run(FinishedRun.load(out), "cvat").folder
    mot = export_run(FinishedRun.load(out), "mot").folder
    for file in (folder / "b.xml", mot / "b"):
        done = run("import", out, file, "--video", "a.mp4")
        assert done.status == 2
        assert "says that it is of b.mp4, not of a.mp4" in done.err
        assert run("import", out, file, "--video", "b.mp4").status == 0


def test_jobs_of_a_video_are_shorter_than_it(one, run):
    out, _ = one
    folder = export_run(FinishedRun.load(out), "cvat", ExportSettings(job_frames=16)).folder
    alone = run("import", out, folder / "a.job-1.xml")
    assert alone.status == 2
    assert "is of 16 frames, and a.mp4 has 40" in alone.err
    assert "--first-frame" in alone.err
    beyond = run("import", out, folder / "a.job-1.xml", "--first-frame", "30")
    assert "is of 16 frames from frame 30, and a.mp4 has 40" in beyond.err
    assert run("import", out, folder / "a.job-1.xml", "--first-frame", "16").status == 0


def test_frames_beyond_a_video_whose_source_is_gone(one):
    """The times of such frames would be invented."""
    out, _ = one
    FinishedRun.load(out).videos[0].source.unlink()
    (out / "x.txt").write_text("41,1,1,1,5,5,1,1,1\n")
    with pytest.raises(InputError, match=r"boxes in frame 40, and a\.mp4 has 40 frames, counted from 0"):
        import_corrected(FinishedRun.load(out), [out / "x.txt"])


@pytest.mark.parametrize(("frame", "taken"), [(9, False), (10, True), (29, True), (30, False)])
@pytest.mark.parametrize("source_is_there", [True, False])
def test_frames_outside_the_part_that_was_examined(tmp_path, frame, taken, source_is_there):
    """No bin of the tables is for them: a crossing there would be counted in another."""
    video = make(tmp_path, Shot(frames=40, rate=10), name="a").path
    rows = [row for row in moving(40, {1: "car"}) if 10 <= row["frame"] < 30]
    out = run_with(tmp_path / "out", {video: (frames_of(video), rows)}, start_s=1.0, duration_s=2.0)
    if not source_is_there:
        video.unlink()
    (out / "x.txt").write_text(f"{frame + 1},1,1,1,5,5,1,1,1\n")
    before = (out / "a.tracks.jsonl").read_bytes()
    if taken:
        assert import_corrected(FinishedRun.load(out), [out / "x.txt"]).boxes == 1
        return
    message = f"boxes in frame {frame} of a.mp4, at {frame / 10:.3f} s, and the run looked at 1.000 to 3.000 s alone"
    with pytest.raises(InputError, match=re.escape(message)):
        import_corrected(FinishedRun.load(out), [out / "x.txt"])
    assert (out / "a.tracks.jsonl").read_bytes() == before


# -- unpacked ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["a", "a/gt", "a/gt/gt.txt"])
def test_an_unpacked_folder_is_what_was_packed(one, run, named):
    out, _ = one
    before = as_seen(out / "a.tracks.jsonl")
    folder = export_run(FinishedRun.load(out), "mot").folder
    done = run("import", out, folder / named)
    assert done.status == 0, done.err
    assert as_seen(out / "a.tracks.jsonl").keys() == before.keys(), "also the names of the classes"
    info = folder / "a" / "seqinfo.ini"
    for change, message in (("imWidth=96", "is of frames of 97x64"), ("seqLength=40", "is of 41 frames")):
        key, _, value = change.partition("=")
        text = info.read_text()
        info.write_text(text.replace(change, f"{key}={int(value) + 1}"))
        refused = run("import", out, folder / named)
        assert refused.status == 2
        assert message in refused.err
        info.write_text(text)


def test_a_folder_that_was_packed_with_its_name(one, tmp_path, run):
    out, _ = one
    folder = export_run(FinishedRun.load(out), "mot").folder
    packed = shutil.make_archive(str(tmp_path / "a"), "zip", folder, "a")
    assert run("import", out, packed).status == 0
    text = (folder / "a" / "seqinfo.ini").read_text().replace("imWidth=96", "imWidth=97")
    (folder / "a" / "seqinfo.ini").write_text(text)
    packed = shutil.make_archive(str(tmp_path / "b"), "zip", folder, "a")
    assert "is of frames of 97x64" in run("import", out, packed).err


def test_an_unpacked_folder_of_cvat(one, tmp_path, run):
    out, _ = one
    folder = export_run(FinishedRun.load(out), "cvat").folder
    (tmp_path / "task").mkdir()
    shutil.copy(folder / "a.xml", tmp_path / "task" / "annotations.xml")
    assert run("import", out, tmp_path / "task").status == 0


def test_a_folder_of_many_or_of_none(one, tmp_path, run):
    out, _ = one
    folder = export_run(FinishedRun.load(out), "mot").folder
    refused = run("import", out, folder)
    assert refused.status == 2
    assert f"holds 1 video: name the folder of one, such as {folder / 'a'}" in refused.err.replace("\n", " ")
    (tmp_path / "empty").mkdir()
    assert "contains neither annotations.xml nor gt/gt.txt" in run("import", out, tmp_path / "empty").err


@pytest.mark.parametrize("text", ["", "nonsense", "[Sequence]\nimWidth=x\nimHeight=y\n", "[Other]\na=1\n", "\x00[["])
def test_a_seqinfo_of_another_tool_says_nothing(one, run, text):
    out, _ = one
    folder = export_run(FinishedRun.load(out), "mot").folder / "a"
    (folder / "seqinfo.ini").write_text(text)
    assert run("import", out, folder).status == 0


def test_a_folder_of_ones_own_that_is_a_link_is_refused(one, tmp_path):
    out, _ = one
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, write in (
        ("export", lambda run: export_run(run, "cvat", ExportSettings())),
        ("clips", lambda run: cut_clips(run, ClipSettings())),
    ):
        place = out / name
        if place.is_dir():
            shutil.rmtree(place)
        place.symlink_to(elsewhere)
        try:
            with pytest.raises(OutputError, match="is a symbolic link"):
                write(FinishedRun.load(out))
        finally:
            place.unlink()
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("stem", ["../../a", "/tmp/a"])
def test_a_manifest_that_leads_out_of_its_folder_is_damaged(one, tmp_path, stem):
    out, _ = one
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["videos"][0]["stem"] = stem
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"videos\[0\]\.stem must be a path below the output folder"):
        FinishedRun.load(tmp_path)


def test_where_every_video_failed_the_reason_is_given(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"broken")
    with Engine(EngineConfig(backend="fake", visualize=False, min_hits=0)) as engine:
        engine.run([tmp_path / "a.mp4"], tmp_path / "out")
    with pytest.raises(InputError, match=r"contains no tracks: no frame was examined\. a\.mp4: "):
        export_run(FinishedRun.load(tmp_path / "out"), "mot")
    with pytest.raises(InputError, match=r"contains no tracks: no frame was examined\. a\.mp4: "):
        next(render(tmp_path / "out"))


@pytest.mark.timeout(20)
def test_a_manifest_that_is_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(InputError, match="not a regular file"):
        FinishedRun.load(tmp_path)


def test_names_that_would_be_files_or_markup(tmp_path):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=6), name='<b>&"x" \x1b').path
    twin = make(tmp_path / "in", Shot(frames=6), name="b x").path
    found = {
        video: (frames_of(video), moving(6, {1: 'a"<&>\x07', 2: "../up"})),
        twin: (frames_of(twin), moving(6, {1: "car"})),
    }
    out = run_with(tmp_path / "out", found)
    run = FinishedRun.load(out)
    made = export_run(run, "cvat")
    assert sorted(path.name for path in made.folder.glob("*.xml")) == ["b-x-2.xml", "b-x.xml"]
    labels = set()
    for path in made.folder.glob("*.xml"):
        labels |= {track.get("label") for track in ElementTree.parse(path).getroot().iterfind("track")}
    assert labels == {'a"<&>\\x07', "../up", "car"}
    for form in ("mot", "coco", "yolo", "labelstudio", "fiftyone"):
        folder = export_run(run, form).folder
        assert all(path.resolve().is_relative_to(tmp_path) for path in folder.rglob("*"))


def test_an_export_never_replaces_what_is_not_one(one, run):
    out, _ = one
    export_run(FinishedRun.load(out), "mot")
    export_run(FinishedRun.load(out), "mot")  # ours
    (out / "mine").mkdir()
    (out / "mine" / "thesis.txt").write_text("!")
    with pytest.raises(OutputError, match="holds other files than an export"):
        export_run(FinishedRun.load(out), "mot", folder=out / "mine")
    assert (out / "mine" / "thesis.txt").read_text() == "!"
    assert not list(out.glob("**/.*.part"))
    assert "has no video none" in run("export", out, "--to", "mot", "--video", "none").err
    assert run("export", out, "--to", "cvat", "--images").status == 2


def test_wrong_formats_of_a_configuration():
    from engine import EngineConfig

    with pytest.raises(ConfigError, match="export must be one of"):
        EngineConfig(export=["voc"])
    with pytest.raises(ConfigError, match="exports are made from tracks"):
        EngineConfig(export="cvat", formats="mot")
    assert EngineConfig(export="cvat,mot").export == ("cvat", "mot")


def test_what_a_killed_export_left_goes_and_one_under_way_stays(one, tmp_path):
    out, _ = one
    place = out / "export"
    dead, moved, busy, mine = (
        place / f".coco-{'0' * 16}.part",
        place / f".coco-{'1' * 16}.old",
        place / f".coco-{'2' * 16}.part",
        place / ".coco-mine.part",
    )
    first = export_run(FinishedRun.load(out), "coco", ExportSettings())
    shutil.copytree(first.folder, moved)
    for folder in (dead, busy, mine):
        folder.mkdir()
        (folder / "file").write_text("x")
    held = os.open(busy, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        export_run(FinishedRun.load(out), "coco", ExportSettings())
        assert sorted(path.name for path in place.iterdir()) == sorted([busy.name, mine.name, "coco"])
    finally:
        os.close(held)
    # Killed between its two last steps: what was there before is there again, until the next one is whole.
    (place / "coco").rename(moved)
    (tmp_path / "in").rename(tmp_path / "away")
    with pytest.raises(VideoError):
        export_run(FinishedRun.load(out), "coco", ExportSettings(images=True))
    assert sorted(path.name for path in place.iterdir()) == sorted([mine.name, "coco"])
    shutil.rmtree(place)


def test_an_export_does_not_follow_a_folder_that_became_a_link(one, tmp_path):
    out, _ = one
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    swapped = []

    def swap():
        if not swapped and list((out / "export").glob(".coco-*.part")):
            (out / "export").rename(tmp_path / "moved")
            (out / "export").symlink_to(elsewhere)
            swapped.append(True)

    export_run(FinishedRun.load(out), "coco", ExportSettings(images=True), tick=swap)
    assert swapped
    assert list(elsewhere.iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == ["coco"]
    assert len(list((tmp_path / "moved" / "coco").rglob("*.jpg"))) == 40
