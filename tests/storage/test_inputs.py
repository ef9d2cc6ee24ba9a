"""Inputs from object storage: read by ranges, and what goes wrong on the way."""

import json

import pytest

from engine.errors import InputError
from engine.media.inputs import find_videos
from engine.storage import stores
from engine.storage.blocks import BLOCK_BYTES
from tests.e2e.runs import clip, fake_engine, rows
from tests.storage.faulty import Answer

MIB = 1 << 20


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(stores, "PAUSES_S", (0.01,) * 5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("in") / "a.mp4", 20)


def padded(path, size):
    """The clip with an `mdat` of zeros before its own index, as a long recording's lies between head and index."""
    data = path.read_bytes()
    at = data.index(b"moov") - 4
    assert data.index(b"mdat") < at
    return data[:at] + (size + 8).to_bytes(4, "big") + b"free" + bytes(size) + data[at:]


def run(inputs, output, **settings):
    with fake_engine(**settings) as engine:
        return engine.run(inputs, output)


def failures(summary):
    return [video["error"] for video in summary["videos"]]


def test_results_are_those_of_the_file(bucket, small, tmp_path):
    bucket.put("cam/a.mp4", small.read_bytes())
    assert run([f"{bucket.url}/cam/a.mp4"], tmp_path / "there")["success"]
    assert run([small], tmp_path / "here")["success"]
    there, here = tmp_path / "there/a.tracks.jsonl", tmp_path / "here/a.tracks.jsonl"
    assert there.read_bytes() == here.read_bytes()
    assert rows(there)
    entry = json.loads((tmp_path / "there/manifest.json").read_text())["videos"][0]
    assert entry["path"] == f"{bucket.url}/cam/a.mp4"
    assert entry["input"]["size_bytes"] == small.stat().st_size
    assert set(entry["input"]) == {"size_bytes", "etag"}


def test_an_index_at_the_end_costs_no_copy(bucket, small, tmp_path):
    data = padded(small, 40 * MIB)
    bucket.put("long.mp4", data)
    summary = run([f"{bucket.url}/long.mp4"], tmp_path)
    assert summary["success"], failures(summary)
    gets = bucket.proxy.asked("GET", "long.mp4")
    assert len(gets) <= 4
    assert sum(each.sent for each in gets) <= 4 * BLOCK_BYTES < len(data) / 9
    assert all(each.range for each in gets)


def test_a_prefix_is_searched_and_others_are_left_alone(bucket, small, tmp_path):
    for key in ("cam/1/b.mp4", "cam/a.mp4", "cam/notes.txt", "cam/.hidden/x.mp4", "camera/c.mp4", "cam/out/d.mp4"):
        bucket.put(key, small.read_bytes())
    found = find_videos([f"{bucket.url}/cam/"], tmp_path)
    assert [(each.path.removeprefix(bucket.url), str(each.stem)) for each in found] == [
        ("/cam/1/b.mp4", "1/b"),
        ("/cam/a.mp4", "a"),
        ("/cam/out/d.mp4", "out/d"),
    ]
    assert [each.path for each in find_videos([f"{bucket.url}/cam"], tmp_path)] == [each.path for each in found]
    assert [str(each.stem) for each in find_videos([f"{bucket.url}/cam*/?.mp4"], tmp_path)] == ["a", "c"]


@pytest.mark.parametrize("name", ["with space & plus+.mp4", "a@b.mp4", "kä.mp4"])
def test_names_are_taken_as_they_are(bucket, small, tmp_path, name):
    stores.store("s3", bucket.name).put(name, small.read_bytes())
    summary = run([f"{bucket.url}/{name}"], tmp_path)
    assert summary["success"], failures(summary)
    assert summary["videos"][0]["path"] == f"{bucket.url}/{name}"


def nth(numbers, answer, name=".mp4"):
    """A fault of the requests of these numbers, counted among those with a range."""
    seen = [0]

    def fault(request):
        if request.method != "GET" or name not in request.path:
            return None
        seen[0] += 1
        return answer if seen[0] in numbers else None

    return fault


@pytest.mark.parametrize(
    "answer",
    [
        Answer(503, "SlowDown"),
        Answer(429, "TooManyRequests"),
        Answer(500, "InternalError"),
        Answer(break_after=1000),
        Answer(break_after=0),
    ],
    ids=lambda answer: answer.code or f"broken after {answer.break_after}",
)
def test_what_passes_is_waited_for(bucket, small, tmp_path, answer):
    bucket.put("a.mp4", padded(small, 3 * MIB))
    bucket.proxy.fault = nth({1, 2, 4}, answer)
    summary = run([f"{bucket.url}/a.mp4"], tmp_path / "there")
    assert summary["success"], failures(summary)
    run([small], tmp_path / "here")
    assert (tmp_path / "there/a.tracks.jsonl").read_bytes() == (tmp_path / "here/a.tracks.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(400, "ExpiredToken"), "the credentials have expired (ExpiredToken). Renew them"),
        (Answer(403, "AccessDenied"), "access is denied (403, AccessDenied)"),
        (Answer(403, "InvalidAccessKeyId"), "the credentials are not valid (InvalidAccessKeyId)"),
        (Answer(301, "PermanentRedirect"), "is in another region. Set AWS_REGION"),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_what_does_not_pass_is_told_at_once(bucket, small, tmp_path, answer, told):
    bucket.put("a.mp4", small.read_bytes())
    bucket.proxy.fault = lambda request: answer
    with pytest.raises(InputError) as caught:
        find_videos([f"{bucket.url}/a.mp4"], tmp_path)
    assert told in str(caught.value)
    assert f"{bucket.url}/a.mp4" in str(caught.value)
    assert "S3cretOfTheTest" not in str(caught.value)


def test_credentials_that_expire_on_the_way_fail_that_video(bucket, small, tmp_path):
    bucket.put("a.mp4", padded(small, 3 * MIB))
    bucket.put("b.mp4", small.read_bytes())
    bucket.proxy.fault = lambda request: (
        Answer(400, "ExpiredToken") if "a.mp4" in request.path and len(bucket.proxy.asked("GET", "a.mp4")) > 1 else None
    )
    summary = run([f"{bucket.url}/a.mp4", f"{bucket.url}/b.mp4"], tmp_path)
    assert [video["status"] for video in summary["videos"]] == ["failed", "ok"]
    assert "the credentials have expired" in failures(summary)[0]
    assert "S3cretOfTheTest" not in (tmp_path / "manifest.json").read_text()


def test_an_object_that_changes_is_never_mixed(bucket, small, tmp_path):
    bucket.put("a.mp4", padded(small, 3 * MIB))

    def change(request):
        if request.range and len(bucket.proxy.asked("GET", "a.mp4")) == 2:
            bucket.put("a.mp4", padded(small, 3 * MIB)[:-1] + b"x")
        return

    bucket.proxy.fault = change
    summary = run([f"{bucket.url}/a.mp4"], tmp_path)
    assert summary["videos"][0]["status"] == "failed"
    assert "has changed while it was read" in failures(summary)[0]


@pytest.mark.parametrize(
    ("key", "told"),
    [("nothing.mp4", "there is no such object, and none below it"), ("nothing/", "there is no such object")],
)
def test_what_is_not_there(bucket, tmp_path, key, told):
    with pytest.raises(InputError, match=told):
        find_videos([f"{bucket.url}/{key}"], tmp_path)


def test_a_bucket_that_is_not_there(bucket, tmp_path):
    with pytest.raises(InputError, match="there is no bucket 'no-such-bucket'"):
        find_videos(["s3://no-such-bucket/a.mp4"], tmp_path)


def test_a_server_that_is_not_there(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CLIENT_TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9 can't be reached.*AWS_ENDPOINT_URL"):
        find_videos(["s3://behind-nothing/a.mp4"], tmp_path)


def test_roots_hold_for_objects(bucket, small, tmp_path):
    bucket.put("cam/a.mp4", small.read_bytes())
    url = f"{bucket.url}/cam/a.mp4"
    for roots in ([f"{bucket.url}/cam"], [bucket.url], [f"{bucket.url}/cam/", tmp_path]):
        assert find_videos([url], tmp_path, roots)
    for roots in ([f"{bucket.url}/ca"], ["s3://other"], [tmp_path]):
        with pytest.raises(InputError, match="is outside what may be read"):
            find_videos([url], tmp_path, roots)


@pytest.mark.parametrize("changed", [False, True], ids=["the same", "another"])
def test_a_checkpoint_is_of_one_version_of_an_object(bucket, tmp_path, changed):
    path = clip(tmp_path / "long.mp4", 80)
    store, url = stores.store("s3", bucket.name), f"{bucket.url}/long.mp4"
    store.put("long.mp4", path)
    with fake_engine(fail_after=40, checkpoint_s=0.03, delay_s=0.004, workers=1) as engine:
        assert not engine.run([url], tmp_path / "out")["success"]
    if changed:
        store.put("long.mp4", path.read_bytes() + b"\0\0\0\x08free")
    (entry,) = run([url], tmp_path / "out")["videos"]
    assert (entry["frames"], entry.get("resumed_from", 0) > 0) == (80, not changed)
    started_over = [note for note in entry.get("notes", ()) if "the input has changed since the checkpoint" in note]
    assert bool(started_over) is changed
