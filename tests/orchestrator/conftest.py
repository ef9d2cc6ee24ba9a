"""Fixtures of the job system's tests: a real server on a unix socket, one shared and one for a single test."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.broker.local_server import EmbeddedBroker, client


class Valkey:
    """A private server that can be stopped, killed, frozen and restarted on the same socket."""

    def __init__(self, directory: Path) -> None:
        self.broker = EmbeddedBroker(directory)
        self._client: redis.Redis | None = None

    @property
    def url(self) -> str:
        """Its URL for Celery, as broker and as result store."""
        return self.broker.url

    @property
    def client(self) -> redis.Redis:
        """A client that decodes text, waits 2 s and never retries."""
        if self._client is None:
            self._client = client(self.url)
        return self._client

    @property
    def pid(self) -> int:
        assert self.broker.pid is not None
        return self.broker.pid

    def start(self, *, fresh: bool = False) -> None:
        """Start it, with the previous data or without."""
        if fresh:
            shutil.rmtree(self.broker.state / "appendonlydir", ignore_errors=True)
        self.broker.start()

    def stop(self) -> None:
        """Stop it as in a shutdown, after which the data are on the disk."""
        if self._client is not None:
            self._client.close()
        self.freeze(False)
        self.broker.stop()

    def kill(self) -> None:
        """Kill it as in a crash. Then call `start()`."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def freeze(self, frozen: bool = True) -> None:
        """Suspend it: connections are accepted, but nothing answers. `freeze(False)` ends that."""
        if self.broker.pid is not None and self.broker.alive():
            os.kill(self.pid, signal.SIGSTOP if frozen else signal.SIGCONT)


def _serve() -> Iterator[Valkey]:
    directory = Path(tempfile.mkdtemp(prefix="yolo-test-"))
    server = Valkey(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """The shared server. Tests remove what they put into it, and never stop it."""
    yield from _serve()


@pytest.fixture
def fresh_valkey() -> Iterator[Valkey]:
    """An empty server for one test, which may stop, kill and damage it."""
    yield from _serve()
