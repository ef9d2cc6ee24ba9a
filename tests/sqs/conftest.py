"""A server that speaks SQS for all tests of this folder, which `make test-sqs` runs."""

import importlib.util
import itertools
import logging
from collections.abc import Iterator

import pytest

NUMBERS = itertools.count()

if importlib.util.find_spec("moto") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"{host}:{port}"
    running.stop()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture
def url(server) -> str:
    """A broker of its own there: queues with names of their own."""
    return f"sqs://key:S3cretOfTheTest@{server}/?region=us-east-1&tls=false&prefix=t{next(NUMBERS)}-"
