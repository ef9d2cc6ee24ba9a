"""A server of HTTP within a test, in front of another one."""

from __future__ import annotations

import http.client
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self

_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


class Given(NamedTuple):
    """What the server behind answered; `length` is the header of that name, which is all that HEAD has."""

    status: int
    headers: dict[str, str]
    content: bytes
    length: str | None


class Listening(ABC):
    """Listens on a free port of 127.0.0.1 for the length of a block."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @abstractmethod
    def serve(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer a request."""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        listening = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def serve(self) -> None:
                listening.serve(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.serve)
        return Handler


def forwarded(host: str, port: int, method: str, target: str, headers: dict[str, str], body: bytes) -> Given:
    """Ask the server behind."""
    inner = http.client.HTTPConnection(host, port, timeout=30)
    inner.request(method, target, body, headers)
    got = inner.getresponse()
    found = {name: value for name, value in got.getheaders() if name.lower() not in _HOP}
    content, length = got.read(), got.getheader("Content-Length")
    inner.close()
    return Given(got.status, found, content, length)
