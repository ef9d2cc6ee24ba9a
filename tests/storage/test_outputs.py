"""Outputs in object storage: complete or not at all, one run at a time, and continued by the next run."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import InputError, OutputError
from engine.storage import stores
from engine.storage.outputs import StoredOutput
from engine.storage.urls import place_of
from tests.assets import ROOT
from tests.e2e.runs import clip, fake_engine
from tests.storage.faulty import Answer
from tests.waiting import until


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(stores, "PAUSES_S", (0.01,) * 5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    for number, name in enumerate("abc"):
        clip(folder / f"{name}.mp4", 12, seed=number)
    return folder


def names(bucket, prefix="out/"):
    found = stores.store("s3", bucket.name).list(prefix)
    return sorted(each.key.removeprefix(prefix) for each in found)


def manifest_of(bucket):
    return json.loads(stores.store("s3", bucket.name).get("out/manifest.json"))


def run(bucket, inputs, root, *, overwrite=False, **settings):
    place = place_of(f"{bucket.url}/out")
    with (
        StoredOutput(place, overwrite=overwrite, root=root) as stored,
        fake_engine(**{"overwrite": True, "output_folder": stored.folder, **settings}) as engine,
    ):
        return engine.run(inputs, stored=stored)


def done_before(summary):
    return [video["stem"] for video in summary["videos"] if "done in an earlier run" in video.get("notes", ())]


COMPLETE = [f"{name}{suffix}" for name in "abc" for suffix in (".mot.txt", ".tracks.jsonl")]


def test_all_is_there_and_nothing_else(bucket, videos, tmp_path):
    summary = run(bucket, [videos], tmp_path / "spool", visualize=True)
    assert summary["success"], summary
    assert names(bucket) == sorted([*COMPLETE, "a.mp4", "b.mp4", "c.mp4", "manifest.json"])
    assert summary["videos"][0]["outputs"]["tracks"] == f"{bucket.url}/out/a.tracks.jsonl"
    assert not list((tmp_path / "spool").iterdir())
    with fake_engine(visualize=True) as engine:
        engine.run([videos], tmp_path / "here")
    store = stores.store("s3", bucket.name)
    for name in (*COMPLETE, "a.mp4"):
        assert store.get(f"out/{name}") == (tmp_path / "here" / name).read_bytes()
    puts = [each.path for each in bucket.proxy.asked("PUT") if "lock.json" not in each.path]
    assert puts[-1].endswith("/out/manifest.json")


def test_a_copy_is_what_its_manifest_says(bucket, videos, tmp_path, monkeypatch):
    from engine.output_folder.manifest import read_manifest

    run(bucket, [videos / "a.mp4"], tmp_path / "spool")
    store, copy = stores.store("s3", bucket.name), tmp_path / "copy"
    for name in names(bucket):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(store.get(f"out/{name}"))
    manifest = read_manifest(copy)
    assert manifest["videos"][0]["files"]["tracks"]["size_bytes"] == (copy / "a.tracks.jsonl").stat().st_size
    assert str(tmp_path / "spool") not in (copy / "manifest.json").read_text()
    with pytest.raises(InputError, match="is in object storage, and results are read from a folder here: copy them"):
        read_manifest(Path(f"{bucket.url}/out"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_manifest_has_the_configuration_that_was_asked_for(bucket, videos, tmp_path, overwrite):
    run(bucket, [videos / "a.mp4"], tmp_path, overwrite=overwrite)
    manifest = manifest_of(bucket)
    assert manifest["config"]["overwrite"] is overwrite
    assert manifest["config"]["output_folder"] == f"{bucket.url}/out"
    text = json.dumps(manifest["config"], sort_keys=True).encode()
    assert manifest["config_sha256"] == hashlib.sha256(text).hexdigest()


def test_pages_name_the_place_and_not_the_folder(bucket, tmp_path):
    with StoredOutput(place_of(f"{bucket.url}/out"), root=tmp_path) as stored:
        page = stored.folder / "report.html"
        page.write_text(f"<p>{stored.folder}/a.mp4")
        stored.tell_pages()
        assert page.read_text() == f"<p>{bucket.url}/out/a.mp4"


def test_two_runs_are_kept_apart(bucket, tmp_path):
    place = place_of(f"{bucket.url}/out")
    second = StoredOutput(place, root=tmp_path / "two")
    told = r"Another run writes to s3://.*process \d+\)"
    with StoredOutput(place, root=tmp_path / "one"), pytest.raises(OutputError, match=told):
        second.__enter__()
    with StoredOutput(place, root=tmp_path / "two"):
        pass


def test_the_lock_of_a_process_that_is_gone_is_taken(bucket, tmp_path):
    place = place_of(f"{bucket.url}/out")
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    holder = {"host": os.uname().nodename, "pid": int(gone.stdout), "at": ""}
    bucket.put("out/.yolo-engine/lock.json", json.dumps(holder).encode())
    with StoredOutput(place, root=tmp_path):
        pass
    assert names(bucket) == []


def test_a_lock_that_was_taken_over_stops_the_run(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.storage.lock.RENEWED_EVERY_S", 0.02)
    with StoredOutput(place_of(f"{bucket.url}/out"), root=tmp_path) as stored:
        stores.store("s3", bucket.name).put("out/.yolo-engine/lock.json", b"{}")
        until(lambda: not stored.held)
        (stored.folder / "a.tracks.jsonl").write_text("x")
        with pytest.raises(OutputError, match="Another run has taken over"):
            stored.finish(settled=True)
    assert names(bucket) == [".yolo-engine/lock.json"]


def test_what_is_not_ours_is_left_alone(bucket, videos, tmp_path):
    bucket.put("out/a.tracks.jsonl", b"of somebody else")
    with pytest.raises(OutputError, match="was not written by yolo-engine, and would be overwritten"):
        run(bucket, [videos / "a.mp4"], tmp_path)
    assert bucket.get("out/a.tracks.jsonl") == b"of somebody else"
    assert run(bucket, [videos / "a.mp4"], tmp_path, overwrite=True)["success"]
    assert run(bucket, [videos / "a.mp4"], tmp_path)["success"]  # by now it is ours


def test_the_next_run_sends_what_could_not_be_sent(bucket, videos, tmp_path):
    bucket.proxy.fault = lambda request: (
        Answer(400, "ExpiredToken") if request.method == "PUT" and "b.tracks" in request.path else None
    )
    summary = run(bucket, [videos], tmp_path)
    assert not summary["success"]
    assert "the credentials have expired" in summary["error"]
    assert "the same command goes on" in summary["error"]
    assert "manifest.json" not in names(bucket)
    bucket.proxy.fault = lambda request: None
    summary = run(bucket, [videos], tmp_path)
    assert summary["success"], summary
    assert done_before(summary) == ["a", "b", "c"]
    assert names(bucket) == [*COMPLETE, "manifest.json"]


KILLED = """
import os, sys
from pathlib import Path
from engine.storage.outputs import StoredOutput
from engine.storage.urls import place_of
from tests.e2e.runs import fake_engine
place, root, folder = place_of(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
with StoredOutput(place, root=root) as stored:
    with fake_engine(overwrite=True, output_folder=stored.folder, streams=1, visualize=True, delay_s=0.05) as engine:
        def progress(streams):
            if stored.videos_sent:
                os._exit(9)
        engine.run([folder], stored=stored, progress=progress)
"""


def test_another_machine_goes_on_with_the_next_video(bucket, videos, tmp_path):
    arguments = [f"{bucket.url}/out", str(tmp_path / "one"), str(videos)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 9
    left = names(bucket)
    assert "manifest.json" not in left
    assert {"a.mp4", "a.tracks.jsonl"} <= set(left)
    before = stores.store("s3", bucket.name).get("out/a.mp4")
    (sent,) = (tmp_path / "one").rglob("a.mp4")
    assert (sent.stat().st_size, sent.stat().st_blocks) == (len(before), 0)  # on the disk it takes nothing any more
    summary = run(bucket, [videos], tmp_path / "two", visualize=True)
    assert summary["success"], summary
    assert "a" in done_before(summary)
    assert names(bucket) == sorted([*COMPLETE, "a.mp4", "b.mp4", "c.mp4", "manifest.json"])
    assert stores.store("s3", bucket.name).get("out/a.mp4") == before
    assert manifest_of(bucket)["videos"][0]["files"]["video"]["size_bytes"] == len(before)


def test_what_was_sent_and_is_gone_is_made_again(bucket, videos, tmp_path):
    arguments = [f"{bucket.url}/out", str(tmp_path), str(videos)]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, timeout=60, check=False)
    store = stores.store("s3", bucket.name)
    before = store.get("out/a.mp4")
    store.delete("out/a.mp4")
    summary = run(bucket, [videos], tmp_path, visualize=True)
    assert summary["success"], summary
    assert store.get("out/a.mp4") == before


def test_live_sources_are_not_recorded_there(bucket, tmp_path):
    with pytest.raises(InputError, match="is a live source, which is recorded to a folder on disk"):
        run(bucket, ["rtsp://127.0.0.1:9/x"], tmp_path)
