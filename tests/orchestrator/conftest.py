"""What the tests of the job system share: a real server on a unix socket, one for all and one for a test alone."""

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
    """A private server. It may be stopped, killed, frozen and started again on the same socket."""

    def __init__(self, directory: Path) -> None:
        self.broker = EmbeddedBroker(directory)
        self._client: redis.Redis | None = None

    @property
    def url(self) -> str:
        """For Celery, as broker and as result store."""
        return self.broker.url

    @property
    def client(self) -> redis.Redis:
        """Answers in text, waits 2 s, never tries again."""
        if self._client is None:
            self._client = client(self.url)
        return self._client

    @property
    def pid(self) -> int:
        assert self.broker.pid is not None
        return self.broker.pid

    def start(self, *, fresh: bool = False) -> None:
        """With the data it had, or with none."""
        if fresh:
            shutil.rmtree(self.broker.state / "appendonlydir", ignore_errors=True)
        self.broker.start()

    def stop(self) -> None:
        """As a machine does that shuts down: the data are on the disk afterwards."""
        if self._client is not None:
            self._client.close()
        self.freeze(False)
        self.broker.stop()

    def kill(self) -> None:
        """As a crash does. `start()` afterwards."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def freeze(self, frozen: bool = True) -> None:
        """Connections are accepted, nothing answers; `freeze(False)` ends it."""
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
    """One server for all tests; whoever fills it empties it, and nobody stops it."""
    yield from _serve()


@pytest.fixture
def fresh_valkey() -> Iterator[Valkey]:
    """An empty server for this test alone, to be stopped, killed and spoilt."""
    yield from _serve()
