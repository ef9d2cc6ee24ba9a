"""A private RabbitMQ: a node in a folder, on free ports, with a port mapper (epmd) that ends with it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from orchestrator.broker.amqp_broker import Address
from tests.waiting import until

PROGRAMS = next(iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"))), None)
MISSING = "RabbitMQ is not installed: sudo apt-get install --no-install-recommends rabbitmq-server"


class RabbitMq:
    """`start` and `stop` it, or use it as a context manager. `consumer_timeout_ms`: how long it waits for an
    acknowledgement; it looks every two seconds."""

    def __init__(self, folder: Path, consumer_timeout_ms: int = 1_800_000) -> None:
        assert PROGRAMS is not None, MISSING
        self.folder = folder
        self.port, self._mapper, distribution = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.pid: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "HOME": str(folder / "home"),  # of the cookie that authenticates its tools
            "RABBITMQ_NODENAME": f"yolo{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -rabbit channel_tick_interval 2000",
            "ERL_EPMD_PORT": str(self._mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        (folder / "home").mkdir(parents=True, exist_ok=True)
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nconsumer_timeout = {consumer_timeout_ms}\n"
        )

    def start(self) -> None:
        """Start it, or start it again with what it has kept."""
        with open(self.folder / "out", "ab") as log:
            self._server = server = subprocess.Popen(
                [str(PROGRAMS / "rabbitmq-server")],  # type: ignore[operator]
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True,
            )  # fmt: skip
        until(lambda: self._listens() or server.poll() is not None, 90, self._told)
        assert server.poll() is None, self._told()
        self.pid = server.pid

    def kill(self) -> None:
        """kill -9 of the node."""
        assert self._server is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()

    def watch(self) -> bool:
        """Restart it if it has ended."""
        if self._server is None or self._server.poll() is not None:
            self.start()
        return True

    def send(self, number: int) -> None:
        """Send a signal to all of it."""
        assert self._server is not None
        os.killpg(self._server.pid, number)

    def stop(self) -> None:
        if self._server is not None:
            self.kill()
            until(self._mapper_ends, 20, lambda: "the port mapper lives on")
        shutil.rmtree(self.folder, ignore_errors=True)

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl`; a second or two."""
        command = [str(PROGRAMS / "rabbitmqctl"), "-q", *arguments]  # type: ignore[operator]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout

    def forget(self) -> None:
        """Delete all queues, with what is in them."""
        with contextlib.closing(Address.of(self.url).connect(4.0)) as connection:
            for queue in ("yolo", "yolo-gpu", "yolo-log", "celery"):
                connection.channel().queue_delete(queue)

    def timed_out(self) -> int:
        """Return how often an acknowledgement timed out."""
        return sum(log.read_text().count("delivery acknowledgement") for log in (self.folder / "log").glob("*.log"))

    def __enter__(self) -> RabbitMq:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _mapper_ends(self) -> bool:
        """End the port mapper, which refuses for as long as it has not noticed that its node is gone."""
        asked = subprocess.run(["epmd", "-kill"], env=self._environment, capture_output=True, text=True, check=False)
        return "Killed" in asked.stdout + asked.stderr or "onnect" in asked.stdout + asked.stderr

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def _told(self) -> str:
        return (self.folder / "out").read_text(errors="replace")[-2000:]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
