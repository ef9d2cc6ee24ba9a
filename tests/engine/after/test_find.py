"""`yolo-engine find`: over all folders of a tree, kept current, and the same as a look through the tables by hand."""

import csv
import json
import threading
from datetime import datetime, time

import av
import pytest

pytest.importorskip("duckdb")

from engine.errors import InputError
from engine.find import Index, Question, ask
from tests.e2e.clips import Shot, make
from tests.engine.after.finished_runs import Life, finished, frames_of

SCENE = (
    '[[line]]\nname = "kerb"\npoints = [[0.5, 0.0], [0.5, 1.0]]\nanchor = "centre"\nin = "home"\nout = "away"\n'
    '[[zone]]\nname = "bus stop"\npolygon = [[0,0],[0.4,0],[0.4,1],[0,1]]\nanchor = "centre"\n'
)
LEFT, RIGHT = (5, 8, 25, 28), (70, 8, 90, 28)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two folders, one of them with a scene; clips of four seconds from 7:59:59 and from 23:59:58."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "scene.toml").write_text(SCENE)
    (tmp_path / "in").mkdir()
    morning = make(tmp_path / "in", Shot(frames=100), name="cam_2024-05-01_07-59-59").path
    night = make(tmp_path / "in", Shot(frames=100), name="=cam_2024-05-01_23-59-58").path
    lives = [
        Life(0, 20, 1, LEFT, "car"),
        Life(50, 99, 2, LEFT, "person"),
        Life(10, 40, 3, LEFT, "car"),
        Life(41, 60, 3, RIGHT, "car"),
    ]
    shown = frames_of(morning)
    one = finished(tmp_path / "jobs" / "one", {morning: (shown, lives)}, zone="Europe/Berlin")
    two = finished(tmp_path / "jobs" / "deep" / "two", {night: (shown, lives)}, zone="Europe/Berlin")
    return tmp_path / "jobs", one, two, tmp_path / "scene.toml"


def found(root, **asked):
    with Index(root) as index:
        return ask(index, Question(**asked))


def ids(answer):
    return [(each.folder, each.track_id) for each in answer.found]


def test_tracks_of_all_folders(tree):
    root, *_ = tree
    answer = found(root)
    assert answer.total == 6
    first = answer.found[0]
    assert (first.folder, first.video, first.class_name) == ("one", "cam_2024-05-01_07-59-59.mp4", "car")
    assert (first.at, first.video_s, first.duration_s) == ("2024-05-01T07:59:59.000+0200"[:23] + "+02:00", 0.0, 0.8)
    assert answer.found[3].video.startswith("=cam")  # as it is called, not as a spreadsheet has it
    assert ids(found(root, classes=("person",))) == [("one", 2), ("deep/two", 2)]
    assert ids(found(root, classes=("car",), longer_s=1.5)) == [("one", 3), ("deep/two", 3)]
    assert found(root, limit=2).total == 6
    assert len(found(root, limit=2).found) == 2


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        # 7:59:59 to 8:00:03, 23:59:58 to 0:00:02
        ("08:00", "09:00", [("one", 3), ("one", 2)]),
        ("07:00", "08:00", [("one", 1), ("one", 3)]),
        ("00:00", "01:00", [("deep/two", 3), ("deep/two", 2)]),
        ("23:00", "01:00", [("deep/two", 1), ("deep/two", 3), ("deep/two", 2)]),
        ("09:00", "08:00", [("one", 1), ("one", 3), ("deep/two", 1), ("deep/two", 3), ("deep/two", 2)]),
        ("12:00", "13:00", []),
        ("08:00", "08:00", None),  # the whole day
    ],
)
def test_times_of_day(tree, first, last, expected):
    answer = found(tree[0], between=(time.fromisoformat(first), time.fromisoformat(last)))
    assert sorted(ids(answer)) == sorted(expected) if expected is not None else answer.total == 6


def test_days(tree):
    root = tree[0]
    assert found(root, first=datetime(2024, 5, 2)).total == 2
    assert found(root, last=datetime(2024, 5, 1, 12)).total == 3
    assert found(root, first=datetime(2024, 5, 3)).total == 0


def test_zones_and_lines_once_they_are_counted(tree, run):
    root, one, _, scene = tree
    with pytest.raises(InputError, match=r"No zone 'bus stop' .* There is: none"):
        found(root, zones=("bus stop",))
    assert run("analyze", one, "--scene", scene).status == 0
    answer = found(root, zones=("bus stop",), classes=("car",))  # the index is made anew
    assert [(each.track_id, each.kind, each.place) for each in answer.found] == [
        (1, "stay", "bus stop"),
        (3, "stay", "bus stop"),
    ]
    (crossing,) = found(root, lines=("kerb",)).found
    assert (crossing.track_id, crossing.kind, crossing.place) == (3, "crossing", "kerb")
    assert crossing.video_s == pytest.approx(1.62, abs=0.03)
    assert crossing.direction == "away"
    assert found(root, lines=("kerb",), directions=("home",)).total == 0  # known, and nobody went that way
    with pytest.raises(InputError, match=r"No direction 'elsewhere' in the runs below .* There is: away, home"):
        found(root, lines=("kerb",), directions=("elsewhere",))
    with pytest.raises(InputError, match=r"No zone 'bus-stop' in the runs .* Did you mean 'bus stop'\?"):
        found(root, zones=("bus-stop",))
    with pytest.raises(InputError, match=r"No class 'cart' .* Did you mean 'car'\? There is: car, person, square"):
        found(root, classes=("cart",))


def test_only_what_has_changed_is_read_anew(tree):
    root, one, two, _ = tree
    with Index(root) as index:
        assert (index.refreshed.folders, index.refreshed.read) == (2, 2)
    with Index(root) as index:
        assert index.refreshed.read == 0
    (one / "manifest.json").write_text((one / "manifest.json").read_text() + " ")
    with Index(root) as index:
        assert index.refreshed.read == 1
        assert ask(index, Question()).total == 6
    (two / "manifest.json").unlink()
    with Index(root) as index:
        assert (index.refreshed.folders, index.refreshed.read) == (1, 0)
        assert ask(index, Question()).total == 3


def test_a_damaged_folder_or_index_stops_nothing(tree, tmp_path, run):
    root, one, two, _ = tree
    (one / "manifest.json").write_text("{")
    done = run("find", root)
    assert done.status == 0
    assert "one: left out" in done.err
    assert "3 found in 2 folders" in done.out
    (index,) = (tmp_path / "cache").rglob("*.duckdb")
    index.write_bytes(b"no database" * 1000)
    with Index(root) as again:
        assert ask(again, Question()).total == 3
    (two / "tracks.csv").write_text("camera,track_id\r\nx,1\r\n")
    (two / "events.csv").write_text("")
    done = run("find", root)
    assert "deep/two: left out" in done.err
    assert "make them again with analyze" in done.err


@pytest.mark.parametrize("table", ["tracks", "events"])
def test_one_bad_row_leaves_its_folder_out_and_no_other(tree, run, table):
    """Folders are read together; where that fails, each alone. An older table, with fewer columns, is read as well."""
    root, one, two, scene = tree
    for folder in (one, two):
        assert run("analyze", folder, "--scene", scene).status == 0
    head, *rows = (two / f"{table}.csv").read_text().splitlines()
    place = head.split(",").index("track_id")
    assert rows
    bad = rows[0].split(",")
    bad[place] = "many"
    (two / f"{table}.csv").write_text("\r\n".join([head, ",".join(bad), *rows[1:]]) + "\r\n")
    with Index(root) as index:
        assert list(index.refreshed.failed) == ["deep/two"]
        assert "its tables can't be read (Conversion Error" in index.refreshed.failed["deep/two"]
        assert {each.folder for each in ask(index, Question()).found} == {"one"}
        assert {each.folder for each in ask(index, Question(zones=("bus stop",))).found} == {"one"}
    columns = [k for k, name in enumerate(head.split(",")) if name not in ("votes", "x", "born_inside")]
    older = [",".join(row.split(",")[k] for k in columns) for row in (head, *rows)]
    (two / f"{table}.csv").write_text("\r\n".join(older) + "\r\n")
    with Index(root) as index:
        assert index.refreshed.failed == {}
        found = ask(index, Question(zones=("bus stop",))).found
        assert {each.folder for each in found} == {"one", "deep/two"}
        assert all(each.best_frame is not None and each.best_video for each in found)


def test_two_at_once_wait_for_each_other(tree):
    root = tree[0]
    totals = []
    threads = [threading.Thread(target=lambda: totals.append(found(root).total)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == [6, 6, 6]


def test_what_is_shown_and_the_pictures(tree, tmp_path, run):
    root = tree[0]
    done = run("find", root, "--class", "car", "--longer", "1s", "--crops", tmp_path / "crops")
    assert done.status == 0, done.err
    assert "2 found in 2 folders" in done.out
    assert "cam_2024-05-01_07-59-59" in done.out.replace("\n", "")
    pictures = sorted((tmp_path / "crops").glob("*.jpg"))
    assert [path.suffix for path in pictures] == [".jpg", ".jpg"]
    with av.open(str(pictures[0])) as picture:
        frame = next(picture.decode(video=0))
        assert (frame.width, frame.height) == (24, 24)  # of 20 by 20, with a margin
    told = json.loads(run("find", root, "--class", "person", "--json").out)
    assert told["total"] == 2
    assert told["found"][0]["video_s"] == 2.0
    assert told["found"][0]["crop"] is None


def test_a_run_that_blurs_gives_no_pictures(tree, tmp_path, run):
    root, one, *_ = tree
    manifest = json.loads((one / "manifest.json").read_text())
    manifest["config"] |= {"blur": ["person"], "visualize": True}
    (one / "manifest.json").write_text(json.dumps(manifest))
    done = run("find", root, "--crops", tmp_path / "crops")
    assert "no images: its run blurs" in done.err
    assert len(list((tmp_path / "crops").glob("*.jpg"))) == 3


def test_hostile_names(tmp_path, run, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=6), name="a'\"[b]\x1b[31m;--").path
    out = finished(
        tmp_path / "jobs[*]'", {video: (frames_of(video), [Life(0, 5, 1, LEFT, "'); DROP TABLE tracks;--")])}
    )
    done = run("find", out, "--class", "'); DROP TABLE tracks;--")
    assert done.status == 0, done.err
    assert "1 found in 1 folder," in done.out
    assert "\x1b[31m" not in done.out
    assert run("find", out).out.count("DROP TABLE") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--between", "8", "9h"], "a time of day such as 08:00"),
        (["--longer", "soon"], "such as 30s"),
        (["--from", "yesterday"], "a day or a time such as"),
        (["--limit", "0"], "range"),
    ],
)
def test_wrong_usage(tmp_path, run, arguments, message):
    done = run("find", tmp_path, *arguments)
    assert done.status == 2
    assert message in done.err


def test_no_folder(tmp_path, run):
    done = run("find", tmp_path / "none")
    assert done.status == 2
    assert "is not a folder" in done.err


def test_a_folder_without_results_is_an_error(tmp_path, run, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = run("find", tmp_path)
    assert (done.status, done.out) == (2, "")
    assert f"{tmp_path} contains no results" in done.err
    assert "Name the output folder of a run or a job" in done.err


def test_a_name_that_is_known_and_did_not_come_up_finds_nothing(tree, run):
    """What can come up is the model's classes and the scene's places; what is asked for and can't is an error."""
    root, one, *_ = tree
    manifest = json.loads((one / "manifest.json").read_text())
    assert manifest["classes"] == ["square"]
    manifest["classes"] = ["car", "person", "truck"]
    tables = [{"line": [{"name": "lane", "points": [[0.1, 0.1], [0.2, 0.2]]}]}]
    manifest["config"] |= {"classes": ["car", "truck"], "scene": tables}
    (one / "manifest.json").write_text(json.dumps(manifest))
    assert run("find", root, "--class", "truck").out.startswith("0 found")
    assert run("find", root, "--line", "lane").out.startswith("0 found")
    for asked, message in (
        (("--class", "trick"), "No class 'trick' in the runs below"),
        (("--line", "lame"), "Did you mean 'lane'? There is: lane."),
        (("--line", "lane", "--direction", "inn"), "Did you mean 'in'? There is: in, out."),
        (("--camera", "nowhere"), "No camera 'nowhere'"),
        (("--line", "lane", "--longer", "3s"), "A crossing has no duration"),
        (("--longer", "5s", "--shorter", "3s"), "Nothing lasts at least 5 s and at most 3 s."),
        (("--from", "2024-05-02", "--to", "2024-05-01"), "No time is after"),
    ):
        done = run("find", root, *asked)
        assert (done.status, done.out) == (2, "")
        assert message in done.err


def test_pictures_of_an_earlier_search_go_and_nothing_else(tree, tmp_path, run):
    root, crops = tree[0], tmp_path / "crops"
    assert run("find", root, "--crops", crops).status == 0
    listed = list(csv.DictReader((crops / "found.csv").read_text().splitlines()))
    assert len(listed) == 6
    assert {row["class_name"] for row in listed} == {"car", "person"}
    (crops / "mine.jpg").write_text("mine")
    taken = next(row["picture"] for row in listed if row["class_name"] == "car")
    assert run("find", root, "--class", "person", "--crops", crops).status == 0
    listed = [row["picture"] for row in csv.DictReader((crops / "found.csv").read_text().splitlines())]
    assert len(listed) == 2
    assert sorted(path.name for path in crops.iterdir()) == sorted([*listed, "found.csv", "mine.jpg"])
    (crops / taken).write_text("mine")
    run("find", root, "--class", "car", "--crops", crops)
    assert (crops / taken).read_text() == "mine"
    (crops / "found.csv").write_text("what I found")
    done = run("find", root, "--class", "car", "--crops", crops)
    assert done.status == 2
    assert "found.csv was not written by yolo-engine" in done.err
    assert run("find", root, "--class", "car", "--crops", crops, "--overwrite").status == 0


@pytest.mark.parametrize(
    ("box", "size_wh"),
    [
        ((10.0, 10.0, 30.0, 30.0), (24, 24)),  # with a tenth on each side
        ((-50.0, -50.0, 20.0, 20.0), (26, 26)),
        ((90.0, 60.0, 300.0, 200.0), (28, 18)),  # beyond the frame's edge, of 96 x 64
        ((95.5, 63.5, 95.6, 63.6), (2, 2)),
        ((500.0, 500.0, 600.0, 600.0), (2, 2)),
    ],
)
def test_pictures_are_what_is_in_the_box_and_of_even_sides(tree, tmp_path, run, box, size_wh):
    root, one, *_ = tree
    rows = (one / "cam_2024-05-01_07-59-59.tracks.jsonl").read_text().splitlines()
    row = json.loads(rows[0]) | {"box_xyxy": list(box), "track_id": 99, "class": "cat"}
    (one / "cam_2024-05-01_07-59-59.tracks.jsonl").write_text(json.dumps(row) + "\n")
    (one / "manifest.json").write_text((one / "manifest.json").read_text() + " ")
    assert run("find", root, "--class", "cat", "--crops", tmp_path / "crops").status == 0
    (picture,) = (tmp_path / "crops").glob("*.jpg")
    with av.open(str(picture)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == size_wh
