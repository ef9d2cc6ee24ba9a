"""An HTTP receiver of events that a test can take down, make slow or make refuse."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    """As a context manager; `events` are those taken, `at` when, by time.monotonic, `requests` counts all. `answer`
    gives the status of the request of a number, from 1; 0 is a server that dies in the middle of it."""

    def __init__(self, answer=lambda number: 200, delay_s=0.0):
        self.events, self.headers, self.bodies = [], [], []
        self.at = []
        self.requests = 0
        lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    receiver.requests += 1
                    status = answer(receiver.requests)
                time.sleep(delay_s)
                if status == 0:
                    self.close_connection = True
                    return
                if status == 200:
                    with lock:
                        receiver.bodies.append(body)
                        receiver.headers.append(dict(self.headers))
                        receiver.events.append(json.loads(body))
                        receiver.at.append(time.monotonic())
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", receiver.url + "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
