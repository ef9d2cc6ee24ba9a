"""A distant broker: a proxy on loopback in front of a unix socket that delays each byte by half a round trip."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue


class SlowProxy:
    """`mute`, once set, drops what the server sends, like a connection that is broken in one direction."""

    def __init__(self, server: str, round_trip_s: float) -> None:
        self.mute = threading.Event()
        self._server = server
        self._half_s = round_trip_s / 2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _begin(self, what, *arguments) -> None:
        self._threads.append(threading.Thread(target=what, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += [client, server]
                server.connect(self._server)
                for source, target, back in ((client, server, False), (server, client, True)):
                    arrived: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
                    self._begin(self._read, source, arrived)
                    self._begin(self._write, target, arrived, back)

    def _read(self, source: socket.socket, arrived: SimpleQueue[tuple[float, bytes]]) -> None:
        data = b"."
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            arrived.put((time.monotonic() + self._half_s, data))

    def _write(self, target: socket.socket, arrived: SimpleQueue[tuple[float, bytes]], back: bool) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = arrived.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                if not (back and self.mute.is_set()):
                    target.sendall(data)


@contextlib.contextmanager
def slow_proxy(server: str, round_trip_s: float) -> Iterator[SlowProxy]:
    with contextlib.closing(SlowProxy(server, round_trip_s)) as proxy:
        yield proxy
