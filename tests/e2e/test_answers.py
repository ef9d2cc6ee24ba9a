"""A run with a scene, and `analyze` afterwards: the same tables, byte for byte."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine import Engine, EngineConfig
from engine.analytics.tables import COLUMNS
from engine.cli.group import commands
from engine.errors import ConfigError, InputError
from tests.e2e.runs import clip, fake_engine, rows

SCENE = """
camera = "**"
[[line]]
name = "mid"
points = [[0.4, 0], [0.4, 1]]
in = "left"
out = "right"
anchor = "centre"
[[zone]]
name = "left half"
polygon = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
"""
TABLES = sorted(f"{name}.csv" for name in COLUMNS)


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.toml"
    path.write_text(SCENE)
    return path


def analyze(*arguments):
    result = CliRunner().invoke(commands, ["analyze", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


def table(folder, name):
    with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def bytes_of(folder):
    return {name: (folder / name).read_bytes() for name in TABLES}


def test_run_counts_and_analyze_writes_the_same_bytes(tmp_path, scene):
    clip(tmp_path / "in" / "cam1" / "a_20240101_120000.mp4", 40)
    clip(tmp_path / "in" / "cam2" / "b.mp4", 30, seed=3)
    with fake_engine(scene=scene, zone="Europe/Berlin", camera="folder") as engine:
        summary = engine.run([tmp_path / "in"], tmp_path / "out")
    assert summary["success"] is True
    first, second = summary["answers"]["cameras"]
    assert (first["camera"], second["camera"]) == ("cam1", "cam2")
    assert [(row["direction"], row["count"]) for row in first["lines"]] == [("left", 0), ("right", 1)]
    assert first["ids"] == first["objects"][1] == 2
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    clocks = [video["clock"] for video in manifest["videos"]]
    assert clocks[0] == {"start": "2024-01-01T12:00:00.000+01:00", "origin": "name", "zone": "Europe/Berlin"}
    assert clocks[1] == {"start": None, "origin": "none", "zone": "Europe/Berlin"}
    media = manifest["videos"][0]["media"]
    assert (media["size_wh"], media["step_s"]) == ([64, 48], "1/25")
    assert media["examined_s"] == [0.0, 1.6]
    counts = table(tmp_path / "out", "counts")
    assert [row["count"] for row in counts if row["camera"] == "cam1"] == ["0", "1"]
    assert counts[0]["bin_start"] == "2024-01-01T12:00:00.000+01:00"

    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "out", moved)
    for name in TABLES:
        (moved / name).unlink()
    analyze(moved)
    assert bytes_of(moved) == bytes_of(tmp_path / "out")


def test_what_was_not_examined_is_not_zero(tmp_path, scene):
    """A video that failed has no counts: not a 0, which would say that nobody came by."""
    clip(tmp_path / "in" / "seen.mp4", 20)
    (tmp_path / "in" / "failed.mp4").write_bytes(b"none")
    with fake_engine(scene=scene) as engine:
        failed, seen = engine.run([tmp_path / "in"], tmp_path / "out")["answers"]["cameras"]
    assert (failed["ids"], failed["objects"]) == (None, None)
    assert [row["count"] for row in failed["lines"]] == [None, None]
    assert [row["stays"] for row in failed["zones"]] == [None]
    assert [row["count"] for row in seen["lines"]] == [0, 1]
    assert {row["camera"] for row in table(tmp_path / "out", "counts")} == {"seen"}
    told = analyze(tmp_path / "out").output
    lines = [line.split() for line in told.splitlines() if line.startswith("failed ")]
    assert [line[-1] for line in lines[:3]] == ["-", "-", "-"]
    assert " ".join(lines[3]) == "failed not examined"
    assert json.loads(analyze(tmp_path / "out", "--json").output)["cameras"][0] == failed


def test_a_run_that_goes_on_gives_the_same_bytes(tmp_path, scene):
    for number in range(2):
        clip(tmp_path / "in" / f"{number}.mp4", 60, seed=number)

    def run(output, stop_at=None):
        with fake_engine(scene=scene, checkpoint_s=0, streams=1) as engine:

            def tick(streams):
                if stop_at is not None and any(stream.frames >= stop_at for stream in streams):
                    engine.stop()

            return engine.run([tmp_path / "in"], tmp_path / output, progress=tick)

    whole = run("whole")
    for stop_at in (5, 30):
        halted = run("halted", stop_at)
        if not engine_done(halted):
            assert "answers" not in halted, "counts of a part are no counts"
    assert run("halted")["success"] is True
    assert bytes_of(tmp_path / "halted") == bytes_of(tmp_path / "whole")
    assert whole["answers"]["cameras"]


def engine_done(summary):
    return all(video["status"] == "ok" for video in summary["videos"])


def test_what_lies_in_an_ignored_region_is_not_tracked(tmp_path, scene):
    clip(tmp_path / "a.mp4", 40)
    ignoring = tmp_path / "ignoring.toml"
    ignoring.write_text(SCENE + "[[ignore]]\npolygon = [[0, 0], [0.4, 0], [0.4, 1], [0, 1]]\n")
    with fake_engine(scene=scene) as engine:
        engine.run([tmp_path / "a.mp4"], tmp_path / "all")
    with fake_engine(scene=ignoring) as engine:
        engine.run([tmp_path / "a.mp4"], tmp_path / "some")

    def centres(folder):
        boxes = [row["box_xyxy"] for row in rows(tmp_path / folder / "a.tracks.jsonl")]
        return [(box[0] + box[2]) / 2 for box in boxes]

    assert min(centres("all")) < 0.4 * 64 < min(centres("some"))
    assert len(centres("some")) > 5


def test_another_region_to_ignore_does_a_video_anew_and_another_line_does_not(tmp_path, scene):
    clip(tmp_path / "in" / "a.mp4", 30)
    (tmp_path / "in" / "b.mp4").write_bytes(b"no video")  # keeps what was done of the others

    def run():
        with fake_engine(scene=scene) as engine:
            video = engine.run([tmp_path / "in"], tmp_path / "out")["videos"][0]
        return [note for note in video.get("notes", []) if "earlier" in note or "started over" in note]

    run()
    (tmp_path / "out" / ".yolo-engine").mkdir(exist_ok=True)
    scene.write_text(SCENE.replace("0.4", "0.3"))
    same = run()
    scene.write_text(SCENE + "[[ignore]]\npolygon = [[0, 0], [0.1, 0], [0.1, 0.1]]\n")
    anew = run()
    assert same in ([], ["done in an earlier run"])
    assert "done in an earlier run" not in anew


def test_a_failed_file_is_not_counted_as_nothing(tmp_path, scene):
    clip(tmp_path / "in" / "a.mp4", 30)
    (tmp_path / "in" / "b.mp4").write_bytes(b"no video")
    with fake_engine(scene=scene, camera="folder") as engine:
        summary = engine.run([tmp_path / "in"], tmp_path / "out")
    assert summary["success"] is False
    assert "error" not in summary["answers"]
    assert {row["video"] for row in table(tmp_path / "out", "tracks")} == {"a.mp4"}
    assert float(table(tmp_path / "out", "counts")[0]["examined_s"]) == 1.2


def test_a_scene_that_is_none_is_told_before_anything_is_done(tmp_path, scene):
    scene.write_text(SCENE.replace("anchor", "anchr"))
    with pytest.raises(ConfigError, match=r"scene\.toml, line 8: line\[1\]\.anchr: there is no such key"):
        fake_engine(scene=scene)
    with pytest.raises(ConfigError, match="can't be read"):
        fake_engine(scene=tmp_path / "none.toml")


def test_another_aspect_is_refused_by_analyze_too(tmp_path, scene):
    clip(tmp_path / "a.mp4", 12)
    with fake_engine() as engine:
        engine.run([tmp_path / "a.mp4"], tmp_path / "out")
    scene.write_text("size = [1000, 100]\n" + SCENE)
    with pytest.raises(InputError, match="another aspect"):
        analyze(tmp_path / "out", "--scene", scene)


def test_analyze_a_foreign_mot_file(tmp_path, scene):
    lines = [f"{frame},7,{10 * frame},100,20,50,0.9,-1,-1,-1" for frame in range(1, 61)]
    (tmp_path / "other.txt").write_text("\n".join(lines))
    about = ("--scene", scene, "--size", "640x480", "--fps", 10, "-o", tmp_path / "t")
    result = analyze(tmp_path / "other.txt", *about, "--json")
    answers = json.loads(result.output)
    assert [row["count"] for row in answers["cameras"][0]["lines"]] == [0, 1]
    (crossing,) = [row for row in table(tmp_path / "t", "events") if row["kind"] == "crossing"]
    assert (crossing["track_id"], float(crossing["time_s"])) == ("7", pytest.approx(23.6 / 10, abs=0.02))
    with pytest.raises(InputError, match="--size WxH --fps N"):
        analyze(tmp_path / "other.txt")


def test_foreign_ids_from_0_stay_apart(tmp_path, scene):
    """Three files of one camera: the last id of each is not the first of the next."""
    for name, ids in (("c1", [0]), ("c2", [0, 1]), ("c3", [0, 1])):
        lines = [f"{frame},{track},{10 * frame},100,20,50" for frame in range(1, 61) for track in ids]
        (tmp_path / f"{name}.txt").write_text("\ufeff" + "\n".join(lines))
    files = [tmp_path / f"c{number}.txt" for number in (1, 2, 3)]
    about = ("--scene", scene, "--size", "640x480", "--fps", 10, "--camera", "^c", "-o", tmp_path / "t")
    analyze(*files, *about)
    assert [(row["track_id"], row["rows"]) for row in table(tmp_path / "t", "tracks")] == [
        (str(number), "60") for number in range(5)
    ]


def test_a_size_that_the_boxes_are_not_of(tmp_path, scene):
    (tmp_path / "a.txt").write_text("".join(f"{frame},1,{10 * frame},100,20,50\n" for frame in range(1, 61)))
    told = [
        analyze(tmp_path / "a.txt", "--scene", scene, "--size", size, "--fps", 10, "-o", tmp_path / "t").stderr
        for size in ("640x480", "480x640")
    ]
    assert told[0] == ""
    assert "Warning: 22% of the boxes in" in told[1]
    assert "outside 480x640: is --size right?" in told[1]


def test_a_track_twice_in_a_frame_is_refused(tmp_path, scene):
    (tmp_path / "a.txt").write_text("2,4,10,100,20,50\n1,4,10,100,20,50\n2,4,300,100,20,50\n")
    with pytest.raises(InputError, match=r"a\.txt has track 4 twice in frame 2"):
        analyze(tmp_path / "a.txt", "--scene", scene, "--size", "640x480", "--fps", 10)


def test_analyze_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        analyze(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no manifest\.json"):
        analyze(tmp_path / "empty")
    (tmp_path / "empty" / "manifest.json").write_text('{"videos": [{"path": "a.mp4", "status": "ok"}]}')
    with pytest.raises(InputError, match="older version"):
        analyze(tmp_path / "empty")


def test_how_tracks_of_others_are_named_is_told_where_it_may_help(tmp_path):
    """Not of a folder that is a run's: there it would lead astray."""
    folder = tmp_path / "out"
    for path in (tmp_path / "nowhere", folder):
        with pytest.raises(InputError, match="needs --size and --fps"):
            analyze(path)
        folder.mkdir(exist_ok=True)
    (folder / ".yolo-engine").mkdir()
    for text in (None, "{", '{"videos": [{"path": "a.mp4", "status": "ok"}]}', '{"videos": []}'):
        if text is not None:
            (folder / "manifest.json").write_text(text)
        with pytest.raises(InputError, match=r"manifest\.json") as caught:
            analyze(folder)
        assert "--size" not in str(caught.value)


def test_runs_of_two_folders_are_one_camera(tmp_path, scene):
    for day in ("monday", "tuesday"):
        clip(tmp_path / day / "cam" / "a.mp4", 30)
        with fake_engine() as engine:
            engine.run([tmp_path / day], tmp_path / f"out-{day}")
    folders = [tmp_path / f"out-{day}" for day in ("monday", "tuesday")]
    result = analyze(*folders, "--scene", scene, "--camera", "folder", "-o", tmp_path / "t", "--json")
    (camera,) = json.loads(result.output)["cameras"]
    assert camera["camera"] == "cam"
    tracks = table(tmp_path / "t", "tracks")
    assert len({row["track_id"] for row in tracks}) == len(tracks) == camera["ids"]
    assert len({row["video"] for row in tracks}) == 2


def test_other_formats_hold_the_same_rows(tmp_path, scene):
    parquet = pytest.importorskip("pyarrow.parquet")
    clip(tmp_path / "a.mp4", 40)
    with fake_engine(scene=scene, tables="parquet") as engine:
        engine.run([tmp_path / "a.mp4"], tmp_path / "out")
    for name in COLUMNS:
        read = parquet.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()
        texts = [{key: "" if value is None else str(value) for key, value in row.items()} for row in read]
        assert texts == table(tmp_path / "out", name)


def test_formats_whose_library_is_absent(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'yolo-engine\[tables\]'"):
        fake_engine(tables="xlsx")


def test_two_runs_write_the_same_workbook(tmp_path, scene):
    pytest.importorskip("xlsxwriter")
    clip(tmp_path / "a.mp4", 40)
    books = []
    for name in ("one", "two"):
        with fake_engine(scene=scene, tables="xlsx") as engine:
            made = engine.run([tmp_path / "a.mp4"], tmp_path / name)["answers"]["tables"]
        books.append(Path(made["tables.xlsx"]).read_bytes())
    assert books[0] == books[1]


def test_heatmap_of_a_run_and_afterwards(tmp_path):
    clip(tmp_path / "a.mp4", 40)
    with fake_engine(heatmap=True) as engine:
        made = engine.run([tmp_path / "a.mp4"], tmp_path / "out")["answers"]["tables"]
    first = Path(made["heatmap.json"]).read_bytes()
    cells = json.loads(first)["cameras"]["a"]["classes"]["square"]
    assert sum(seconds for *_, seconds in cells) == pytest.approx(1.5, abs=0.1)
    analyze(tmp_path / "out", "-o", tmp_path / "again", "--heatmap")
    assert (tmp_path / "again" / "heatmap.json").read_bytes() == first


def test_a_name_that_is_not_text_costs_no_tables(tmp_path, scene):
    path = tmp_path / os.fsdecode(b"a\xff.mp4")
    clip(path, 12)
    with fake_engine(scene=scene, tables=("csv", "parquet", "xlsx")) as engine:
        summary = engine.run([path], tmp_path / "out")
    assert summary["success"], summary
    assert "a\\udcff" in (tmp_path / "out" / "tracks.csv").read_text()


def test_another_aspect_is_told_before_work_is_spent(tmp_path, scene):
    """A video that its scene is not for fails at its first frame; the others are done and counted."""
    scene.write_text("size = [160, 90]\n" + SCENE)
    clip(tmp_path / "in" / "tall.mp4", 30, (64, 96))
    clip(tmp_path / "in" / "wide.mp4", 30, (96, 54))
    with fake_engine(scene=scene) as engine:
        summary = engine.run([tmp_path / "in"], tmp_path / "out")
    tall, wide = summary["videos"]
    assert (tall["status"], wide["status"]) == ("failed", "ok")
    assert tall["error"] == (
        "is 64x96, but its scene was drawn on 160x90: another aspect. Draw the scene on this video, or correct `size` "
        "and `camera`"
    )
    assert tall["inferred_frames"] == 0
    assert "error" not in summary["answers"]


def test_rows_have_the_wall_clock_where_it_is_known(tmp_path):
    """Summer time begins inside the second file; a part keeps the file's clock; the rest of a row is as it was."""
    named = clip(tmp_path / "in" / "a_20240331_015959.mp4", 60)
    plain = clip(tmp_path / "in" / "b.mp4", 60)
    with fake_engine(zone="Europe/Berlin") as engine:
        engine.run([tmp_path / "in"], tmp_path / "out")
    clocked, without = (rows(tmp_path / "out" / f"{video.stem}.tracks.jsonl") for video in (named, plain))
    assert list(clocked[0]) == "frame pts time_s time track_id class_id class score box_xyxy".split()
    by_frame = {row["frame"]: row["time"] for row in clocked}
    assert by_frame[0] == "2024-03-31T01:59:59.000+01:00"
    assert by_frame[24] == "2024-03-31T01:59:59.960+01:00"
    assert by_frame[25] == "2024-03-31T03:00:00.000+02:00"
    assert [{key: value for key, value in row.items() if key != "time"} for row in clocked] == without
    with fake_engine(zone="Europe/Berlin", start_s=1.0) as engine:
        engine.run([named], tmp_path / "part")
    first, *_ = rows(tmp_path / "part" / f"{named.stem}.tracks.jsonl")
    assert (first["frame"], first["time"]) == (25, "2024-03-31T03:00:00.000+02:00")


def test_another_clock_after_a_kill_starts_over(tmp_path):
    video = clip(tmp_path / "a.mp4", 120)
    given = {"workers": 1, "start": "2024-01-01T12:00:00"}
    fake_engine(**given, fail_after=80, checkpoint_s=0.03, delay_s=0.004).run([video], tmp_path / "out")
    with fake_engine(**given) as engine:
        whole = engine.run([video], tmp_path / "whole")
    with fake_engine(**given) as engine:
        (entry,) = engine.run([video], tmp_path / "out")["videos"]
    assert entry["resumed_from"] > 0
    assert (tmp_path / "out" / "a.tracks.jsonl").read_bytes() == (tmp_path / "whole" / "a.tracks.jsonl").read_bytes()
    assert whole["success"]
    fake_engine(**given, fail_after=80, checkpoint_s=0.03, delay_s=0.004).run([video], tmp_path / "other")
    with fake_engine(**{**given, "start": "2024-01-01T13:00:00"}) as engine:
        (entry,) = engine.run([video], tmp_path / "other")["videos"]
    assert "started over" in entry["notes"][0]
    assert rows(tmp_path / "other" / "a.tracks.jsonl")[0]["time"] == "2024-01-01T13:00:00.000+00:00"


LINE = '[[line]]\nname = "a"\npoints = [[0, 0], [1, 1]]\n'


def scenes(folder, **cameras):
    folder.mkdir()
    for name, camera in cameras.items():
        (folder / f"{name}.toml").write_text(f'camera = "{camera}"\n{LINE}')
    return folder


def test_scenes_for_none_of_the_videos_are_told_before_work_begins(tmp_path, caplog):
    clip(tmp_path / "in" / "cam1" / "a.mp4", 20)
    given = scenes(tmp_path / "scenes", one="cam7/**", two="a.mp4")
    with fake_engine(scene=given) as engine:
        with pytest.raises(ConfigError, match=r"No scene is for any .* 'cam7/\*\*', 'a.mp4'\. .* cam1/a.mp4"):
            engine.run([tmp_path / "in"], tmp_path / "out")
        assert not (tmp_path / "out").exists()
    # Of several, one may be for another night's videos: that is said.
    (given / "three.toml").write_text(LINE)
    (given / "unseen.toml").write_text(LINE)  # behind one that is for the same videos
    with fake_engine(scene=given) as engine:
        assert engine.run([tmp_path / "in"], tmp_path / "out")["success"]
    assert "Scenes whose `camera` matches none of the videos" in caplog.text
    assert "'cam7/**', 'a.mp4', '**'." in caplog.text
    for command in ("analyze", "report"):
        other = tmp_path / "scenes" / "one.toml"
        with pytest.raises(ConfigError, match="No scene is for any of the videos"):
            CliRunner().invoke(
                commands, [command, str(tmp_path / "out"), "--scene", str(other)], catch_exceptions=False
            )


@pytest.mark.parametrize(
    ("more", "settings", "message"),
    [
        (
            'classes = ["squad"]',
            {},
            "classes of the line 'a' of a scene must be names that the model fake knows: square",
        ),
        ('classes = ["square"]', {"clips": {"places": ["b"]}}, "There is no line or zone 'b'"),
        ("", {"clips": {"kinds": ["stay"]}}, "There is no kind 'stay' in these videos"),
        (
            "",
            {"clips": {"classes": ["squad"]}},
            "No class 'squad' is looked for in these videos. Did you mean 'square'",
        ),
    ],
)
def test_names_that_can_not_come_up_are_told_before_work_begins(tmp_path, more, settings, message):
    (tmp_path / "scene.toml").write_text(LINE + more)
    with pytest.raises(ConfigError) as caught:
        fake_engine(scene=tmp_path / "scene.toml", **settings)
    assert message in str(caught.value)


def test_a_line_for_classes_that_are_left_out(tmp_path):
    (tmp_path / "scene.toml").write_text(LINE + 'classes = ["car", "truck"]\n')
    EngineConfig(scene=tmp_path / "scene.toml")
    with pytest.raises(ConfigError, match="line 'a' of a scene is for car, truck, and `classes` keeps person alone"):
        Engine(EngineConfig(scene=tmp_path / "scene.toml", classes="person"))
    Engine(EngineConfig(scene=tmp_path / "scene.toml", classes="person,car")).close()
