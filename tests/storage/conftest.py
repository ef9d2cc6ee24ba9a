"""An object storage server for all tests of this folder, which `make test-storage` runs; a proxy and bucket each."""

import importlib.util
import itertools
import logging
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.settings import Settings
from tests.e2e.runs import clip
from tests.storage.faulty import Proxy
from tests.storage.machines import LEASE_S

# Credentials of which moto checks no more.
SIGNED = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
_NUMBERS = itertools.count()


def new_name() -> str:
    """The name of a bucket that no test of any process has used: stores are kept for the process, each with its
    endpoint, and folders in the cache of this machine have the hash of a URL."""
    return f"bucket-{os.getpid()}-{next(_NUMBERS)}"


if importlib.util.find_spec("moto") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, int]]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    yield running.get_host_and_port()
    running.stop()


@pytest.fixture
def bucket(server, monkeypatch) -> Iterator[SimpleNamespace]:
    """A new bucket behind a proxy: its `name`, `url` and `proxy`, and `put`, `get` and `delete`."""
    name = new_name()
    for variable, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "S3cretOfTheTest",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    with Proxy(*server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

        def send(method: str, path: str, data: bytes | None = None) -> bytes:
            headers = {"Content-Type": "application/octet-stream", "Authorization": SIGNED}
            where = f"http://{server[0]}:{server[1]}/{name}{path}"
            request = urllib.request.Request(where, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read()

        send("PUT", "")
        yield SimpleNamespace(
            name=name,
            url=f"s3://{name}",
            proxy=proxy,
            put=lambda key, data: send("PUT", f"/{key}", data),
            get=lambda key: send("GET", f"/{key}"),
            delete=lambda key: send("DELETE", f"/{key}"),
        )


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes this process one on another machine: with a cache and a state of its own."""

    def be(name: str, bucket) -> Settings:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name / "cache"))
        state, jobs_dir = tmp_path / name / "state", f"{bucket.url}/jobs"
        return Settings(state_dir=state, jobs_dir=jobs_dir, max_attempts=10, lease_s=LEASE_S)

    return be


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """A folder with two short videos, which no test changes."""
    folder = tmp_path_factory.mktemp("in")
    for number, name in enumerate("ab"):
        clip(folder / f"{name}.mp4", 12, seed=number)
    return folder


@pytest.fixture
def cams(bucket, videos) -> str:
    """The URL of a prefix with the videos."""
    for path in videos.iterdir():
        bucket.put(f"cam/{path.name}", path.read_bytes())
    return f"{bucket.url}/cam"
