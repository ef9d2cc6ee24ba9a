"""A stand-in for Google's storage: its dialect of S3's protocol, spoken in front of a server for S3.

Objects have generations instead of conditions on etags: `x-goog-if-generation-match` has the one that must be there, 0
for none, and each answer names the present one.
"""

from __future__ import annotations

import itertools
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import quote, unquote, urlsplit

from tests.storage.listening import Listening, forwarded

Answered = tuple[int, dict[str, str], bytes]

_WRITES = ("PUT", "POST", "DELETE")


class Google(Listening):
    """`signed` is what the server behind it takes for a signature, `asked` has method, path and condition of each
    request."""

    def __init__(self, host: str, port: int, signed: str) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self._behind = (host, port)
        self._signed = signed
        self._numbers = itertools.count(1)
        self._generations: dict[str, int] = {}
        self._writing = threading.Lock()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answered:
        """Status, headers and body for a request."""
        path, is_part = unquote(urlsplit(target).path), method == "PUT" and "uploadId=" in target
        target = f"{quote(path)}?{urlsplit(target).query}"  # Google's client writes even a slash as %2F
        wanted = headers.pop("x-goog-if-generation-match", None)
        self.asked.append((method, path, wanted))
        with self._writing if method in _WRITES else threading.Lock():
            if wanted is not None and int(wanted) != self._generations.get(path, 0):
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            signed = {**headers, "authorization": self._signed}
            status, got, content, length = forwarded(*self._behind, method, target, signed, body)
            if method == "HEAD":
                got["Content-Length"] = length or "0"
            if method == "DELETE":
                self._generations.pop(path, None)
            elif status < 300 and not is_part and (method == "PUT" or b"<CompleteMultipartUploadResult" in content):
                self._generations[path] = next(self._numbers)
        return status, got | {"x-goog-generation": str(self._generations.get(path, 0))}, content

    def serve(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        asked = {name.lower(): value for name, value in request.headers.items()}
        status, headers, content = self.answer(request.command, request.path, asked, body)
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)
