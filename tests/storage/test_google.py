"""`gs://`: the requests that the client for Google makes, of a stand-in that speaks Google's dialect. Not Google."""

import json
import urllib.request

import pytest

from engine.errors import OutputError
from engine.storage import stores
from engine.storage.lock import Lock
from engine.storage.urls import place_of
from orchestrator.job.leases import Owner, take
from orchestrator.settings import Settings
from orchestrator.worker import steps
from tests.e2e.runs import fake_engine
from tests.storage.conftest import SIGNED, new_name
from tests.storage.google import Google
from tests.storage.machines import LEASE_S, go_on
from tests.storage.test_jobs import CONFIG, local


@pytest.fixture
def google(server, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "PAUSES_S", (0.01,) * 5)
    with Google(*server, SIGNED) as running:
        key = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        (tmp_path / "key.json").write_text(json.dumps({**key, "gcs_base_url": running.url, "disable_oauth": True}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "key.json"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        running.bucket = new_name()
        urllib.request.urlopen(urllib.request.Request(f"{running.url}/{running.bucket}", method="PUT")).close()
        yield running


@pytest.fixture
def store(google):
    return stores.store("gs", google.bucket)


def test_writes_have_conditions(store):
    first = store.create("a/x", b"one")
    assert first
    assert store.create("a/x", b"two") is None
    second = store.replace("a/x", b"two", first)
    assert second not in (None, first)
    assert store.replace("a/x", b"three", first) is None
    assert store.replace("a/none", b"three", first) is None
    assert store.version("a/x") == (b"two", second)
    store.put("a/y", b"")
    assert store.names("a/") == ["x", "y"]
    store.delete("a/x")
    store.delete("a/x")
    assert store.facts("a/x") is None


def test_of_two_that_replace_an_object_one_does(store, google, monkeypatch):
    """Another writes between the look at the generation and the write."""
    etag = store.create("x", b"one")
    answer, written = google.answer, []

    def late(method, target, headers, body):
        if method == "PUT" and not written:
            written.append(body)
            store.put("x", b"another's")
        return answer(method, target, headers, body)

    monkeypatch.setattr(google, "answer", late)
    assert store.replace("x", b"two", etag) is None
    assert store.get("x") == b"another's"


def test_a_large_file_goes_in_parts(store, tmp_path):
    (tmp_path / "large").write_bytes(bytes(range(256)) * (33 << 12))
    store.put("large", tmp_path / "large")
    assert store.facts("large").size == 33 << 20
    with open(tmp_path / "back", "wb") as file:
        store.fetch("large", file)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()


def test_one_run_at_a_time(store, google):
    place = place_of(f"gs://{google.bucket}/out")
    first = Lock(store, place, "one")
    first.take()
    with pytest.raises(OutputError, match="Another run writes to"):
        Lock(store, place, "two").take()
    first.give_back()


def test_a_job_writes_and_is_kept_there(google, store, videos, tmp_path):
    for path in videos.iterdir():
        store.put(f"cam/{path.name}", path)
    home = f"gs://{google.bucket}"
    settings = Settings(state_dir=tmp_path / "state", jobs_dir=f"{home}/jobs", lease_s=LEASE_S)
    job = steps.begin(f"{home}/cam", {**CONFIG, "visualize": True}, settings, output=f"{home}/out")
    assert job.apart
    lease = take(job.task_base("process-1"), Owner("a", "elsewhere", "boot", 1, 1), LEASE_S)
    before = store.facts(lease.path.place.key).modified
    lease.touch()
    assert [each for each in google.asked if each[0] == "PUT" and each[1].endswith("process-1.1.json")][-1][2] != "0"
    assert store.facts(lease.path.place.key).modified >= before
    lease.release("handed back")
    result = go_on(job, settings)
    assert result.success, result.message
    for name, data in local(videos, settings, tmp_path / "here", visualize=True).items():
        assert store.get(f"out/{name}") == data, name


def test_an_input_is_read_by_ranges(google, store, videos, tmp_path):
    store.put("cam/a.mp4", videos / "a.mp4")
    with fake_engine() as engine:
        assert engine.run([f"gs://{google.bucket}/cam/a.mp4"], tmp_path / "there")["success"]
        assert engine.run([videos / "a.mp4"], tmp_path / "here")["success"]
    rows = [(tmp_path / name / "a.tracks.jsonl").read_bytes() for name in ("here", "there")]
    assert rows[0] == rows[1]
