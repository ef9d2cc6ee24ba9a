"""A proxy in front of an object storage server: records requests, and injects faults of networks and servers."""

from __future__ import annotations

import http.client
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from orchestrator.job.jobdir import Job
from tests.storage.listening import Listening

HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


@dataclass
class Request:
    """A request, with the number of bytes of its answer's body that were sent."""

    method: str
    path: str
    range: str | None
    status: int = 0
    sent: int = 0


@dataclass(frozen=True)
class Answer:
    """An injected answer: an error of S3, or the server's own answer, broken off after some bytes."""

    status: int = 0
    code: str = ""
    break_after: int | None = None


def cancelling(job: Job, name: str) -> Callable[[Request], None]:
    """A fault that cancels a job when a file with this name is sent."""

    def cancel(request: Request) -> None:
        if request.method == "PUT" and name in request.path:
            job.cancel("a test")

    return cancel


def killing(worker: subprocess.Popen[bytes], name: str) -> Callable[[Request], None]:
    """A fault that kills a worker when it sends a file with this name, and waits until it is gone."""

    def kill(request: Request) -> None:
        if request.method == "PUT" and name in request.path and worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
            worker.wait()

    return kill


@dataclass
class Proxy(Listening):
    """`fault` says what a request gets instead of its answer; None: the answer."""

    host: str
    port: int
    requests: list[Request] = field(default_factory=list)
    fault: Callable[[Request], Answer | None] = lambda request: None

    def asked(self, method: str, name: str = "") -> list[Request]:
        return [each for each in self.requests if each.method == method and name in each.path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, self.headers.get("Range"))
                proxy.requests.append(request)
                answer = proxy.fault(request)
                if answer is not None and answer.status:
                    text = f"<Error><Code>{answer.code}</Code><Message>of the test</Message></Error>".encode()
                    self._send(request, answer.status, {}, text)
                    return
                inner = http.client.HTTPConnection(proxy.host, proxy.port, timeout=30)
                inner.request(self.command, self.path, body, dict(self.headers))
                got = inner.getresponse()
                headers = {name: value for name, value in got.getheaders() if name.lower() not in HOP}
                content, length = got.read(), got.getheader("Content-Length")
                inner.close()
                broken = answer.break_after if answer is not None else None
                self._send(request, got.status, headers, content, length, broken)

            def _send(
                self,
                request: Request,
                status: int,
                headers: dict[str, str],
                content: bytes,
                length: str | None = None,
                break_after: int | None = None,
            ) -> None:
                request.status = status
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                if request.method == "HEAD":
                    return
                part = content[:break_after]
                self.wfile.write(part)
                request.sent = len(part)
                if break_after is not None:
                    self.close_connection = True
                    self.connection.close()

        for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.serve)
        return Handler
