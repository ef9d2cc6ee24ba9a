"""Getting a model's file: from a mirror, from the cache, from a server that behaves, and from servers that don't."""

import hashlib
import http.server
import socket
import threading
import time
from pathlib import Path

import pytest

from models import registry
from models.errors import DownloadError, HashError, MissingModelError, ModelError, UnknownModelError
from models.registry import find, get_manifest, pull, require

BODY = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = b"something else"
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing.onnx":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized.onnx":
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.path == "/stalls.onnx":
            self.wfile.write(BODY[:1000])
            self.wfile.flush()
            self.server.released.wait(10)
        elif self.path == "/short.onnx":
            self.wfile.write(BODY[: len(BODY) // 2])
        else:
            self.wfile.write(BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """The base URL of a server on loopback."""
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.released = threading.Event()
    httpd.handle_error = lambda *args: None  # a client that hangs up is part of these tests
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.released.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def manifest_for(url: str, sha256: str = SHA256):
    return get_manifest("yolox-nano")._replace(url=url, sha256=sha256, other_sha256=())


def test_a_good_file_is_kept_and_found(server, cache, in_zoo):
    manifest = in_zoo(manifest_for(f"{server}/good.onnx"))
    assert find(manifest.name) is None
    seen = []
    path = pull(manifest.name, progress=lambda done, total: seen.append((done, total)))
    assert path == cache / "yolox_nano.onnx"
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert find(manifest.name) == path
    assert [p.name for p in cache.iterdir()] == ["yolox_nano.onnx"]


def test_a_server_that_does_not_say_the_size(server, cache):
    totals = set()
    pull(manifest_for(f"{server}/unsized.onnx"), progress=lambda done, total: totals.add(total))
    assert totals == {None}


@pytest.mark.parametrize(
    ("page", "sha256", "timeout_s", "message"),
    [
        ("good.onnx", OTHER_SHA256, 5, f"the file has SHA-256 {SHA256} where {OTHER_SHA256} was expected"),
        ("short.onnx", SHA256, 5, f"the connection ended after {len(BODY) // 2} of {len(BODY)} bytes"),
        ("missing.onnx", SHA256, 5, "the server answered 404 Not Found"),
        ("stalls.onnx", SHA256, 0.2, "no data for 0.2 s"),
    ],
)
def test_a_bad_download_leaves_nothing(server, cache, page, sha256, timeout_s, message):
    url = f"{server}/{page}"
    with pytest.raises(DownloadError) as caught:
        pull(manifest_for(url, sha256), timeout_s=timeout_s)
    for part in (url, message, str(cache), "YOLO_ENGINE_MODELS"):
        assert part in str(caught.value)
    assert list(cache.glob("*")) == []


def test_no_server_at_all(cache):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/m.onnx"
        with pytest.raises(DownloadError, match=r"cannot be reached: .*refused") as caught:
            pull(manifest_for(url))
    assert str(cache) in str(caught.value)
    assert list(cache.glob("*")) == []


def test_a_server_that_never_answers(cache):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        with pytest.raises(DownloadError):
            pull(manifest_for(f"http://127.0.0.1:{mute.getsockname()[1]}/m.onnx"), timeout_s=0.2)
    assert time.monotonic() - started < 5


def test_ctrl_c_leaves_nothing_and_keeps_the_old_file(server, cache):
    cache.mkdir(parents=True)
    (cache / "yolox_nano.onnx").write_bytes(OTHER)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(manifest_for(f"{server}/good.onnx"), progress=interrupt)
    assert [(p.name, p.read_bytes()) for p in cache.iterdir()] == [("yolox_nano.onnx", OTHER)]


def test_a_wrong_file_in_the_cache_is_refused_then_replaced(server, cache, in_zoo):
    manifest = in_zoo(manifest_for(f"{server}/good.onnx"))
    cache.mkdir(parents=True)
    (cache / manifest.file).write_bytes(OTHER)
    with pytest.raises(HashError, match=f"SHA-256 {SHA256} expected, {OTHER_SHA256} found"):
        find(manifest.name)
    assert pull(manifest.name).read_bytes() == BODY


def test_a_present_file_is_not_fetched_again(cache, in_zoo):
    manifest = in_zoo(manifest_for("http://127.0.0.1:9/never.onnx"))
    cache.mkdir(parents=True)
    (cache / manifest.file).write_bytes(BODY)
    assert pull(manifest.name) == cache / manifest.file


def test_mirrors_come_first_and_are_checked(tmp_path, cache, in_zoo, monkeypatch):
    manifest = in_zoo(manifest_for("http://127.0.0.1:9/never.onnx"))
    empty, mirror = tmp_path / "empty", tmp_path / "mirror"
    for folder in (empty, mirror, cache):
        folder.mkdir(parents=True)
    monkeypatch.setenv("YOLO_ENGINE_MODELS", f"{empty}:{mirror}")
    (mirror / manifest.file).write_bytes(BODY)
    (cache / manifest.file).write_bytes(OTHER)
    assert find(manifest.name) == pull(manifest.name) == mirror / manifest.file
    (mirror / manifest.file).write_bytes(OTHER)  # a mirror is the user's: never overwritten, never passed over
    for function in (find, pull):
        with pytest.raises(HashError, match="is not yolox-nano"):
            function(manifest.name)
    assert (mirror / manifest.file).read_bytes() == OTHER


def test_a_known_re_export_in_a_mirror_is_good(tmp_path, in_zoo, monkeypatch):
    manifest = in_zoo(manifest_for("http://127.0.0.1:9/x")._replace(other_sha256=(OTHER_SHA256,)))
    monkeypatch.setenv("YOLO_ENGINE_MODELS", str(tmp_path))
    (tmp_path / manifest.file).write_bytes(OTHER)
    assert find(manifest.name) == tmp_path / manifest.file


class TestNoPublishedHash:
    @pytest.fixture
    def manifest(self, server, in_zoo):
        return in_zoo(manifest_for(f"{server}/good.onnx", sha256=""))

    def test_pull_says_the_hash_and_keeps_nothing(self, manifest, cache):
        with pytest.raises(HashError) as caught:
            pull(manifest.name)
        for part in ("No published hash", SHA256, f"--sha256 {SHA256}", "--accept-unverified", "not kept"):
            assert part in str(caught.value)
        assert list(cache.glob("*")) == []

    @pytest.mark.parametrize("how", [{"sha256": SHA256}, {"sha256": SHA256.upper()}, {"accept_unverified": True}])
    def test_what_was_accepted_is_recorded_and_checked_later(self, manifest, cache, how):
        path = pull(manifest.name, **how)
        assert (cache / "yolox_nano.onnx.sha256").read_text() == f"{SHA256}  yolox_nano.onnx\n"
        assert find(manifest.name) == pull(manifest.name) == path
        path.write_bytes(OTHER)
        with pytest.raises(HashError, match="is not yolox-nano"):
            find(manifest.name)
        assert pull(manifest.name, accept_unverified=True).read_bytes() == BODY

    def test_another_hash_than_asked_for(self, manifest, cache):
        with pytest.raises(DownloadError, match=f"has SHA-256 {SHA256} where {OTHER_SHA256}"):
            pull(manifest.name, sha256=OTHER_SHA256)
        assert list(cache.glob("*")) == []

    def test_a_file_put_there_by_hand(self, manifest, cache):
        cache.mkdir(parents=True)
        (cache / manifest.file).write_bytes(OTHER)
        for function in (find, pull):
            with pytest.raises(HashError, match=f"It has SHA-256 {OTHER_SHA256}"):
                function(manifest.name)
        assert pull(manifest.name, sha256=OTHER_SHA256) == cache / manifest.file
        assert find(manifest.name) == cache / manifest.file

    def test_an_accepted_file_of_a_mirror_stays_there_and_its_record_goes_to_the_cache(
        self, manifest, cache, tmp_path, monkeypatch
    ):
        mirror = tmp_path / "mirror"
        mirror.mkdir()
        (mirror / manifest.file).write_bytes(OTHER)
        monkeypatch.setenv("YOLO_ENGINE_MODELS", str(mirror))
        assert pull(manifest.name, accept_unverified=True).read_bytes() == OTHER
        assert [p.name for p in mirror.iterdir()] == [manifest.file]
        assert find(manifest.name) == pull(manifest.name) == mirror / manifest.file
        assert [p.name for p in cache.iterdir()] == [f"{manifest.file}.sha256"]
        (mirror / manifest.file).write_bytes(BODY)
        with pytest.raises(HashError, match="is not yolox-nano"):
            find(manifest.name)


def test_a_published_hash_cannot_be_overruled():
    with pytest.raises(HashError, match="is not the published hash of yolox-nano"):
        pull("yolox-nano", sha256=OTHER_SHA256)


def test_a_missing_model_says_how_to_get_it(cache):
    with pytest.raises(MissingModelError) as caught:
        require("yolox-s")
    for part in ("yolo-engine models pull yolox-s", get_manifest("yolox-s").url, str(cache), "YOLO_ENGINE_MODELS"):
        assert part in str(caught.value)
    with pytest.raises(MissingModelError, match=r"/onnx/model\.onnx elsewhere and put it as dfine_n_coco\.onnx into"):
        require("dfine-n")


@pytest.mark.parametrize(
    ("name", "close"),
    [("yolox_nano", "yolox-nano"), ("yolox-nan", "yolox-nano"), ("YOLOX-S", "yolox-s")],
)
def test_a_wrong_name_lists_close_and_available_ones(name, close):
    with pytest.raises(UnknownModelError) as caught:
        get_manifest(name)
    assert f"did you mean {close}" in str(caught.value)
    available = "Available: dfine-n, dfine-s, rfdetr-n, street-nano, yolox-m, yolox-nano, yolox-s, yolox-tiny."
    assert available in str(caught.value)


def test_a_cache_that_cannot_be_made(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written"):
        pull(manifest_for(f"{server}/good.onnx"))


def test_the_cache_defaults_to_the_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert registry.models_cache() == Path("/home/somebody/.cache/yolo-engine/models")
