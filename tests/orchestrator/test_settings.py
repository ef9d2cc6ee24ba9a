"""Settings from the environment and the file, and the one configuration that all processes share."""

import os
import re
from pathlib import Path

import pytest

from orchestrator.application import make_app
from orchestrator.errors import SettingsError
from orchestrator.settings import DEFAULT_URL, Settings, celery_settings, settings
from orchestrator.worker import steps as jobs


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("YOLO_", "CELERY_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes the settings file."""

    def write(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text)
        monkeypatch.setenv("YOLO_SETTINGS", str(path))
        settings.cache_clear()
        return path

    return write


def test_defaults(tmp_path):
    given = settings()
    assert (given.broker_url, given.results_url) == (DEFAULT_URL, DEFAULT_URL)
    assert (given.video_roots, given.output_roots, given.watch) == ((), (), ())
    assert given.state_dir == tmp_path / "state"
    assert given.known_queues == ("yolo", "yolo-gpu", "yolo-log", "celery")
    assert settings() is given


def test_roots_may_be_urls(monkeypatch):
    monkeypatch.setenv("YOLO_VIDEO_ROOTS", "/a:s3://cams/street:/b:gs://c:az://d")
    roots = settings().video_roots
    assert [str(root) for root in roots] == ["/a", "s3:/cams/street", "/b", "gs:/c", "az:/d"]  # as Path has them


def test_the_environment_wins_over_the_file(file, monkeypatch):
    file('broker_url = "redis://a/0"\nresult_backend = "redis://b/0"\nvideo_roots = ["/a"]\nmax_attempts = 5')
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://c/0")
    monkeypatch.setenv("YOLO_VIDEO_ROOTS", "/b::/c:")
    monkeypatch.setenv("YOLO_OUTPUT_ROOTS", "")
    given = settings()
    assert (given.broker_url, given.results_url) == ("redis://c/0", "redis://b/0")
    assert given.video_roots == (Path("/b"), Path("/c"))
    assert given.output_roots == ()
    assert given.max_attempts == 5


def test_home_folders(file, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("YOLO_STATE_DIR", "~/s")
    file('video_roots = ["~/v"]\noutput_roots = ["~/o", "/p"]')
    given = settings()
    assert given.state_dir == Path("/home/me/s")
    assert given.video_roots == (Path("/home/me/v"),)
    assert given.output_roots == (Path("/home/me/o"), Path("/p"))


def test_a_user_without_a_home(monkeypatch):
    """A container that runs under a number."""
    monkeypatch.setattr(Path, "expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(SettingsError, match=r"Set YOLO_STATE_DIR\."):
        settings()


def test_state_of_the_desktop(monkeypatch):
    monkeypatch.delenv("YOLO_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/me")
    assert settings().state_dir == Path("/var/me/yolo-engine")


WATCH = '[[watch]]\nfolder = "/v"\noutput = "/o"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_attempt = 3", r"Unknown key 'max_attempt' in the settings\. The keys are: broker_url"),
        ("max_attempts = 0", r"Setting max_attempts: input should be greater than or equal to 1\. Got 0\."),
        ('max_attempts = "many"', "Setting max_attempts"),
        ("lease_s = 0", "Setting lease_s"),
        ("lease_s = -1", "Setting lease_s"),
        ("lease_s = nan", "Setting lease_s"),
        ("stall_s = inf", "Setting stall_s"),
        ("lease_s = 1e9", "Setting lease_s"),
        ("video_roots = 3", "Setting video_roots"),
        (WATCH + "every_minutes = 0", r"Setting watch\.0\.every_minutes"),
        (WATCH + "workers = 0", r"Setting watch\.0\.workers"),
        (WATCH + "folders = 1", r"Unknown key 'watch\.0\.folders'"),
        ('[[watch]]\nfolder = "/v"', r"Setting watch\.0\.output"),
        ("lease_s = ", "is not TOML"),
        ("a = 1\na = 2", "is not TOML"),
    ],
)
def test_a_wrong_file_is_told(file, text, said):
    file(text)
    with pytest.raises(SettingsError, match=said):
        settings()


@pytest.mark.parametrize(
    ("name", "said"), [("missing.toml", "no such file"), (".", "is a directory"), ("latin", "is not TOML")]
)
def test_a_file_that_can_not_be_read(tmp_path, monkeypatch, name, said):
    (tmp_path / "latin").write_bytes(b"a = '\xff'")
    monkeypatch.setenv("YOLO_SETTINGS", str(tmp_path / name))
    with pytest.raises(SettingsError, match=said):
        settings()


def test_worker_and_client_agree_on_what_the_broker_is_told():
    """A process with another visibility timeout would put tasks that run back on the queue."""
    given = Settings(visibility_timeout_s=123)
    worker, client = celery_settings(given, "worker"), celery_settings(given, "client")
    for made in (worker, client):
        assert made["visibility_timeout"] == 123
        assert made["broker_transport_options"]["visibility_timeout"] == 123
        assert made["result_backend_transport_options"]["visibility_timeout"] == 123
    waits = {
        "broker_transport_options",
        "result_backend_transport_options",
        "task_publish_retry_policy",
        "broker_connection_max_retries",
    }
    assert {key for key in worker.keys() & client.keys() if worker[key] != client[key]} == waits
    assert client["accept_content"] == client["result_accept_content"] == ["json"]


def test_celery_takes_them():
    app = make_app("client")
    assert set(app.amqp.queues) == {"yolo", "yolo-gpu", "yolo-log", "celery"}
    route = app.amqp.router.route({}, "log_end_yolo")
    assert route["queue"].name == "yolo-log"


@pytest.mark.parametrize(
    ("url", "keepalive"), [("redis://h/0", True), ("redis+socket:///s", False), ("unix:///s", False)]
)
def test_a_unix_socket_has_no_keepalive(url, keepalive):
    assert (
        celery_settings(Settings(broker_url=url), "worker")["broker_transport_options"]["socket_keepalive"] is keepalive
    )


def test_beat_sends_what_is_watched(file):
    file(WATCH + "every_minutes = 2\n" + WATCH.replace("/v", "/w"))
    schedule = celery_settings(settings(), "worker")["beat_schedule"]
    assert [entry["args"] for entry in schedule.values()] == [("/v",), ("/w",)]
    first = schedule["sweep 0: /v"]
    assert (first["task"], first["schedule"]) == ("sweep_yolo", 120)
    assert first["options"]["expires"] < first["schedule"]


def test_defaults_for_every_job(tmp_path, monkeypatch):
    """`[config]`: below what a job asks for itself, and checked when the settings are read."""
    path = tmp_path / "settings.toml"
    path.write_text(f'state_dir = "{tmp_path}/state"\n[config]\nbackend = "fake"\nconf = 0.5\nclasses = ["person"]\n')
    monkeypatch.setenv("YOLO_SETTINGS", str(path))
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    (tmp_path / "videos").mkdir()
    job = jobs.begin(str(tmp_path / "videos"), {"conf": 0.3}, settings(), output=str(tmp_path / "out"))
    assert job.config == {
        "backend": "fake",
        "conf": 0.3,
        "classes": ["person"],
        "output_folder": str(tmp_path / "out"),
    }
    for text, said in (("max_agee = 3", "Did you mean max_age?"), ("conf = 7", "conf")):
        path.write_text(f"[config]\n{text}\n")
        settings.cache_clear()
        with pytest.raises(SettingsError, match=f"Setting config: .*{re.escape(said)}"):
            settings()
    settings.cache_clear()
