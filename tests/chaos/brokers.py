"""The brokers that are broken: an embedded Valkey, or with CHAOS_BROKER=rabbitmq a RabbitMQ, =folder a folder, =sqs
moto's SQS (`make chaos-sqs`, in an environment that has it)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from orchestrator.broker.local_server import EmbeddedBroker, client
from tests.orchestrator.rabbit import RabbitMq, free_ports
from tests.waiting import until

ENVIRONMENT = "CHAOS_BROKER"


class Broken(Protocol):
    """A broker and the ways to break it."""

    @property
    def url(self) -> str:
        """Where it is."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None:
        """kill -9."""

    def revive(self) -> None:
        """Start it again, with the data it had."""

    def pause(self, paused: bool) -> None:
        """Have it answer nothing, its connections open."""

    def forget(self) -> None:
        """Have it lose all that it holds."""

    def fill(self, full: bool) -> None:
        """Have it refuse all that is written."""


class Valkey:
    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedBroker(folder / "b", state=folder / "data")

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGKILL)

    def revive(self) -> None:
        self._server.watch()

    def pause(self, paused: bool) -> None:
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGSTOP if paused else signal.SIGCONT)

    def forget(self) -> None:
        client(self._server.url).flushall()

    def fill(self, full: bool) -> None:
        client(self._server.url).config_set("maxmemory", "1" if full else "256mb")


class Rabbit:
    def __init__(self, folder: Path) -> None:
        self._server = RabbitMq(folder / "rabbitmq", consumer_timeout_ms=int(os.environ.get("CHAOS_ACK_MS", 1_800_000)))

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()

    def revive(self) -> None:
        self._server.watch()

    def pause(self, paused: bool) -> None:
        self._server.send(signal.SIGSTOP if paused else signal.SIGCONT)

    def forget(self) -> None:
        self._server.forget()

    def fill(self, full: bool) -> None:
        self._server.control("set_vm_memory_high_watermark", "0.00001" if full else "0.4")


class Folder:
    """Nothing that runs: it can lose its messages, and that is all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "queue"

    @property
    def url(self) -> str:
        return f"filesystem://{self._folder}"

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...

    def revive(self) -> None: ...

    def pause(self, paused: bool) -> None: ...

    def fill(self, full: bool) -> None: ...

    def forget(self) -> None:
        shutil.rmtree(self._folder / "queues", ignore_errors=True)
        shutil.rmtree(self._folder / "taken", ignore_errors=True)


class Sqs:
    """moto's SQS. It keeps nothing on a disk: killed, it has lost its messages, as SQS never does."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "moto.log"
        (self._port,) = free_ports(1)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"sqs://key:S3cretOfTheTest@127.0.0.1:{self._port}/?region=us-east-1&tls=false"

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(self._port)]
        with open(self._log, "ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until(self._listens, 60, self._log.read_text)

    revive = start

    def stop(self) -> None:
        self.kill()

    def kill(self) -> None:
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def pause(self, paused: bool) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def forget(self) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{self._port}/moto-api/reset", b"", timeout=30).close()

    def fill(self, full: bool) -> None: ...

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


KINDS: dict[str, Callable[[Path], Broken]] = {"valkey": Valkey, "rabbitmq": Rabbit, "folder": Folder, "sqs": Sqs}

MEANINGLESS = {
    "valkey": (),
    # Each client of a Redis delivers again what was not acknowledged.
    "rabbitmq": ("short_visibility_timeout", "client_with_foreign_settings"),
    "sqs": (
        "short_visibility_timeout", "client_with_foreign_settings", "broker_out_of_memory", "deaf_worker",
        "revoked_through_celery",
    ),
    "folder": (
        "short_visibility_timeout", "client_with_foreign_settings", "broker_restart_with_its_data", "broker_pauses",
        "broker_out_of_memory", "deaf_worker", "revoked_through_celery",
    ),
}  # fmt: skip


def which(scenarios: Iterable[str]) -> list[str]:
    """The scenarios that mean something for the broker that is asked for."""
    return [name for name in scenarios if name not in MEANINGLESS[_kind()]]


def made(folder: Path) -> Broken:
    """The broker that the environment asks for."""
    return KINDS[_kind()](folder)


def _kind() -> str:
    return os.environ.get(ENVIRONMENT, "valkey")
