"""The worker's side of an engine process (main.py): start it, read its events, give orders, end it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType

from engine.choices.loading import additions
from orchestrator.engine_process.ipc import Sender, received
from orchestrator.engine_process.messages import AnyTask, Event, Order, event_of

log = logging.getLogger(__name__)

KILLED_S = 10.0
_ROOT = Path(__file__).resolve().parents[2]


class EngineProcess:
    """One engine process. As a context manager, it never outlives the block."""

    def __init__(self, task: AnyTask, *, cores: int | None = None) -> None:
        """`cores` is the number of cores it may use (None: all that this worker may use)."""
        events_read, events_write = os.pipe()
        orders_read, orders_write = os.pipe()
        environment = dict(os.environ)
        if cores is not None:
            environment["YOLO_ENGINE_CORES"] = str(cores)
        environment.update(additions(environment))
        # An editable or unpacked checkout may not be on the path of a worker that was started elsewhere.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), environment.get("PYTHONPATH")]))
        # -P: the current folder may contain files that shadow our modules.
        program = [sys.executable, "-P", "-m", "orchestrator.engine_process.main"]
        command = [*program, str(events_write), str(orders_read), str(os.getpid())]
        try:
            self.process = subprocess.Popen(
                command, pass_fds=(events_write, orders_read), stdin=subprocess.DEVNULL, env=environment
            )
        except OSError:
            for descriptor in (events_read, orders_write):
                os.close(descriptor)
            raise
        finally:
            os.close(events_write)
            os.close(orders_read)
        self._events = os.fdopen(events_read, "rb")
        self._orders = Sender(orders_write)
        self._arrived: SimpleQueue[Event | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="engine events", daemon=True)
        self._reader.start()
        with contextlib.suppress(OSError):
            self._orders.send(task)

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._reader.join(KILLED_S)
        if not self._reader.is_alive():  # otherwise the process hangs in the kernel and keeps the pipe open
            self._events.close()
        with contextlib.suppress(OSError):
            self._orders.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def order(self, order: Order) -> None:
        """Send an order. If the process has ended, this does nothing; `event` reports its end."""
        with contextlib.suppress(OSError):
            self._orders.send(order)

    def event(self, timeout_s: float) -> Event | None:
        """Return the next event; None after `timeout_s`. Raises EOFError after the last event of a process that has
        ended."""
        try:
            event = self._arrived.get(timeout=timeout_s)
        except Empty:
            return None
        if event is None:
            self._arrived.put(None)
            raise EOFError
        return event

    def events(self, first_s: float, silence_s: float, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Event]:
        """Yield events until the process ends. Raises TimeoutError after `first_s` without a first one, or `silence_s`
        without another. `meanwhile` is called at least once per second."""
        until = time.monotonic() + first_s
        while True:
            meanwhile()
            try:
                event = self.event(min(1.0, max(0.0, until - time.monotonic())))
            except EOFError:
                return
            if event is not None:
                yield event
                until = time.monotonic() + silence_s
            elif time.monotonic() >= until:
                raise TimeoutError

    def kill(self) -> None:
        """Kill the process, and return when it is gone. A process that hangs in the kernel, for example in a read from
        a dead share, dies when that returns; it is waited for only a few seconds."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        try:
            self.process.wait(KILLED_S)
        except subprocess.TimeoutExpired:
            log.error("engine process %d hangs in the kernel: it is left behind", self.process.pid)

    def ended(self) -> str:
        """Describe how the process ended. Call it after EOFError."""
        deadline = time.monotonic() + 5
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        code = self.process.poll()
        if code is None:
            return "does not answer"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for event in received(self._events, event_of):
                self._arrived.put(event)
        self._arrived.put(None)
