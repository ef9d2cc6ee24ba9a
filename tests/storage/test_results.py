"""Commands over finished results in storage: they do what they do over a folder with the same files."""

import json
import re

import pytest
from click.testing import CliRunner

from engine import Engine, EngineConfig
from engine.cli.group import commands
from engine.errors import InputError, OutputError
from engine.storage.lock import Lock
from engine.storage.outputs import StoredOutput
from engine.storage.stores import store
from engine.storage.urls import place_of
from tests.storage.faulty import Answer
from tests.storage.test_outputs import names

SCENE = '[[line]]\nname = "middle"\npoints = [[0.5, 0.0], [0.5, 1.0]]\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "yolo-engine" / "results"


@pytest.fixture
def scene(tmp_path):
    (tmp_path / "scene.toml").write_text(SCENE)
    return tmp_path / "scene.toml"


@pytest.fixture
def out(bucket, cams, tmp_path, scene):
    """The URL of the results of a run over objects."""
    config = {"backend": "fake", "min_hits": 1, "visualize": True, "report": False, "scene": (scene,)}
    with (
        StoredOutput(place_of(f"{bucket.url}/out"), overwrite=False, root=tmp_path / "spool") as stored,
        Engine(EngineConfig(**config, overwrite=True, output_folder=stored.folder)) as engine,
    ):
        assert engine.run([cams], stored=stored)["success"]
    return f"{bucket.url}/out"


@pytest.fixture
def copy(bucket, out, tmp_path):
    """A folder with the same files."""
    for name in names(bucket):
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store("s3", bucket.name).get(f"out/{name}"))
    return tmp_path / "copy"


def told(*arguments, status=0):
    """What a command prints."""
    done = CliRunner().invoke(commands, list(map(str, arguments)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert (done.return_value or 0) == status, done.output
    return done.output


def content(bucket, name):
    return store("s3", bucket.name).get(f"out/{name}")


def test_analyze_writes_its_tables_there(bucket, out, copy, cache):
    before = set(names(bucket))
    bucket.proxy.requests.clear()
    here, there = (json.loads(told("analyze", where, "--json")) for where in (copy, out))
    assert there["cameras"] == here["cameras"]
    assert there["tables"] == {name: f"{out}/{name}" for name in here["tables"]}
    assert set(names(bucket)) == before | set(here["tables"])
    for name in here["tables"]:
        assert content(bucket, name) == (copy / name).read_bytes()
    assert f"Tables in {out}/: " in told("analyze", out)
    assert not bucket.proxy.asked("GET", "out/a.mp4")


def test_a_table_can_be_wanted_on_disk(bucket, out, copy, tmp_path):
    before = names(bucket)
    for where, to in ((copy, "here"), (out, "there")):
        told("analyze", where, "-o", tmp_path / to)
    assert (tmp_path / "there" / "counts.csv").read_bytes() == (tmp_path / "here" / "counts.csv").read_bytes()
    assert names(bucket) == before


def test_the_report_is_beside_its_videos(bucket, out, copy, cache):
    assert told("report", out) == f"Report: {out}/report.html\n"
    page = content(bucket, "report.html")
    assert b"a.mp4" in page
    assert b"<h1>out</h1>" in page
    assert str(cache).encode() not in page
    told("report", copy)
    assert len(page) == pytest.approx((copy / "report.html").stat().st_size, rel=0.02)
    assert content(bucket, "a.mp4") == (copy / "a.mp4").read_bytes()
    assert json.loads(told("report", out, "--json")) == {"report": f"{out}/report.html", "pages": []}


def test_an_export(bucket, out, copy, tmp_path):
    assert told("export", out, "--to", "mot").startswith(f"{out}/export/mot: 2 videos")
    told("export", copy, "--to", "mot")
    made = [path for path in (copy / "export").rglob("*") if path.is_file()]
    assert made
    for path in made:
        assert content(bucket, path.relative_to(copy).as_posix()) == path.read_bytes(), path
    told("export", out, "--to", "cvat", "-o", tmp_path / "cvat")
    assert list((tmp_path / "cvat").iterdir())
    assert not [name for name in names(bucket) if "cvat" in name]


def test_clips_are_cut_from_the_sources(bucket, out, copy):
    assert f" in {out}/clips; " in told("clips", out, "--kind", "track")
    told("clips", copy, "--kind", "track")
    made = sorted(path.relative_to(copy).as_posix() for path in (copy / "clips").iterdir())
    assert sorted(name for name in names(bucket) if name.startswith("clips/")) == made
    assert content(bucket, "clips/clips.csv") == (copy / "clips" / "clips.csv").read_bytes()


def test_an_audit_looks_at_every_byte(bucket, out, cache):
    assert "all is as claimed" in told("audit", out, "--frames", "3")
    (video,) = cache.glob("*/out/a.mp4")
    assert (video.stat().st_blocks, video.stat().st_size) == (0, len(content(bucket, "a.mp4")))
    data = bytearray(content(bucket, "a.mp4"))
    data[len(data) // 2] ^= 1
    bucket.put("out/a.mp4", bytes(data))
    printed = told("audit", out, "--frames", "0", status=1)
    assert re.search(r"a\.mp4 .*SHA-256", printed)
    assert "1 finding" in printed
    assert str(cache) not in printed


def test_a_tree_is_searched(bucket, out, copy):
    pytest.importorskip("duckdb")
    for key in ("other/stray.mkv", "out/stray.mkv"):
        bucket.put(key, b"a large video")
    bucket.put("other/manifest.txt", b"")
    here, there = (json.loads(told("find", where, "--json")) for where in (copy, bucket.url))
    assert there["total"] == here["total"] > 0
    assert not bucket.proxy.asked("GET", "/stray.mkv"), "not everything below a prefix is a result"
    assert there["folders"] == 1
    assert [each["track_id"] for each in there["found"]] == [each["track_id"] for each in here["found"]]
    bucket.proxy.requests.clear()
    assert json.loads(told("find", bucket.url, "--json"))["total"] == here["total"]
    assert not [each for each in bucket.proxy.asked("GET") if "/out/" in each.path], "what is here is not copied again"


def test_what_has_changed_is_copied_again(bucket, out, cache):
    told("analyze", out)
    bucket.put("out/a.tracks.jsonl", content(bucket, "b.tracks.jsonl"))
    bucket.delete("out/b.mot.txt")
    told("analyze", out)
    (folder,) = cache.glob("*/out")
    assert (folder / "a.tracks.jsonl").read_bytes() == content(bucket, "b.tracks.jsonl")
    assert not (folder / "b.mot.txt").exists()
    assert "b.mot.txt" not in names(bucket)
    (folder / "a.tracks.jsonl").write_bytes(b"left by a command that was killed")
    told("analyze", out)
    assert content(bucket, "a.tracks.jsonl") == content(bucket, "b.tracks.jsonl")


def test_one_output_can_be_named_twice(bucket, out, tmp_path):
    counted = json.loads(told("analyze", out, out, "-o", tmp_path / "tables", "--json"))
    assert {"out/a", "out/b"} < {each["camera"] for each in counted["cameras"]}


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"videos": 5}', b'{"files": 1, "videos": [3]}'])
def test_a_damaged_manifest_is_told(bucket, out, damaged):
    bucket.put("out/manifest.json", damaged)
    with pytest.raises(InputError, match=rf"{out}/manifest.json is (damaged|not the manifest of a run)"):
        told("report", out)


def test_what_others_write_meanwhile_stays(bucket, out):
    written = []

    def fault(request):
        if request.method == "PUT" and "lock.json" in request.path and not written:
            written.append(request.path)
            bucket.put("out/counts.csv", b"another's")

    bucket.proxy.fault = fault
    with pytest.raises(OutputError, match=r"out/counts.csv was written by others meanwhile. Give the command again"):
        told("analyze", out)
    assert content(bucket, "counts.csv") == b"another's"
    assert not [name for name in names(bucket) if "lock" in name]


def test_a_run_that_writes_there_is_not_disturbed(bucket, out):
    place = place_of(out)
    lock = Lock(store("s3", bucket.name), place, "run")
    lock.take()
    before = names(bucket)
    with pytest.raises(OutputError, match="Another run writes to"):
        told("analyze", out)
    assert names(bucket) == before
    lock.give_back()


@pytest.mark.parametrize("command", ["analyze", "report", "audit"])
def test_errors_name_the_url(bucket, cache, command):
    bucket.put("out/else.txt", b"")
    with pytest.raises(InputError, match=rf"{bucket.url}/out contains no manifest.json") as caught:
        told(command, f"{bucket.url}/out")
    assert str(cache) not in str(caught.value)
    bucket.put("out/.yolo-engine/a/1/ticket", b"")
    with pytest.raises(InputError, match="the run there has not ended"):
        told(command, f"{bucket.url}/out")


def test_storage_that_refuses_is_told(bucket, out):
    bucket.proxy.fault = lambda request: Answer(403, "AccessDenied")
    with pytest.raises(InputError, match=r"out can't be read: access is denied .*Check AWS_ACCESS_KEY_ID"):
        told("report", out)


def test_names_that_lead_elsewhere_are_left_out(bucket, out, cache, tmp_path):
    for key in ("out/.copied.json", "out/.git/config"):
        bucket.put(key, b"{}")
    told("analyze", out, "-o", tmp_path / "tables")
    assert not list(cache.rglob("config"))
    (notes,) = cache.glob("*/out/.copied.json")
    assert notes.read_bytes() != b"{}"
    bucket.put("out/%2e%2e/%2e%2e/elsewhere", b"x")
    with pytest.raises(InputError, match=r"out can't be read: an object there has a name that is no path"):
        told("analyze", out, "-o", tmp_path / "tables")
