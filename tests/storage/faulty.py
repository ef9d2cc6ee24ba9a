"""A proxy in front of an object storage server: records requests, and injects faults of networks and servers."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from orchestrator.job.jobdir import Job
from tests.storage.listening import Given, Listening, forwarded


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

    def serve(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        noted = Request(request.command, request.path, request.headers.get("Range"))
        self.requests.append(noted)
        answer = self.fault(noted)
        if answer is not None and answer.status:
            text = f"<Error><Code>{answer.code}</Code><Message>of the test</Message></Error>".encode()
            _send(request, noted, Given(answer.status, {}, text, None))
            return
        given = forwarded(self.host, self.port, request.command, request.path, dict(request.headers), body)
        _send(request, noted, given, answer.break_after if answer is not None else None)


def _send(request: BaseHTTPRequestHandler, noted: Request, given: Given, break_after: int | None = None) -> None:
    noted.status = given.status
    request.send_response(given.status)
    for name, value in given.headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", given.length or str(len(given.content)))
    request.end_headers()
    if request.command == "HEAD":
        return
    part = given.content[:break_after]
    request.wfile.write(part)
    noted.sent = len(part)
    if break_after is not None:
        request.close_connection = True
        request.connection.close()
