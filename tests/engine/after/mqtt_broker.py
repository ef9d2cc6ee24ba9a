"""A broker of a few lines: MQTT 3.1.1, CONNECT and PUBLISH at QoS 1, as much as a sender needs."""

from __future__ import annotations

import contextlib
import socket
import threading


class Broker:
    """As a context manager; `taken` are (topic, body). The first `refuse` publications end the connection."""

    def __init__(self, refuse=0):
        self.taken = []
        self._refuse = refuse
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection, contextlib.suppress(OSError, EOFError):
                    self._talk(connection)

    def _talk(self, connection):
        with connection.makefile("rb") as stream:
            while head := stream.read(1):
                body = stream.read(_length(stream))
                kind = head[0] >> 4
                if kind == 1:
                    connection.sendall(b"\x20\x02\x00\x00")
                elif kind == 3:
                    if self._refuse:
                        self._refuse -= 1
                        return
                    size = int.from_bytes(body[:2], "big")
                    self.taken.append((body[2 : 2 + size].decode(), body[4 + size :]))
                    connection.sendall(b"\x40\x02" + body[2 + size : 4 + size])
                elif kind == 12:
                    connection.sendall(b"\xd0\x00")
                elif kind == 14:
                    return


def _length(stream):
    value = shift = 0
    while byte := stream.read(1):
        value |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return value
    raise EOFError
