"""A server that listens in place of Redis and sends given answers."""

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def fake_server(*answers: bytes, drip_s: float = 0.0) -> Iterator[str]:
    """Return its URL. Each connection gets one answer per request, and is closed after the last.

    Without answers it accepts connections and stays silent. `drip_s` is the pause before each byte.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    threads = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # a client that has heard enough
            if not answers:
                over.wait(20)
            for answer in answers:
                connection.recv(4096)
                for byte in answer:
                    if over.wait(drip_s):
                        return
                    connection.send(bytes([byte]))
            connection.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)
