"""Delivers events to receivers, each with its own queue and thread, so that none delays another.

An event is tried several times, with pauses that double up to half a minute; then it is given up and counted. So is an
event that finds the queue full: a dead receiver costs bounded memory and no time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from engine.alarms.receivers import DeliveryError, Receiver, receiver_of
from engine.summary import AlarmsJson
from engine.text.printable import printable

log = logging.getLogger(__name__)


SECRET = "YOLO_EVENT_SECRET"
"""The environment variable with the secret that signs events: other users can read a command line."""


@dataclass(frozen=True)
class Notice:
    """An event ready to send: its id, by which receivers recognise repetitions, its body, and `of`, the identity of the
    video's results. `live`: its source can't be replayed."""

    id: str
    body: bytes
    of: str = ""
    live: bool = False


@dataclass(frozen=True)
class AlarmSettings:
    """`targets` receive events of these `kinds` (crossing, enter, loiter, stay, track; empty: those of the scene, or
    tracks if there is none). `loiter_s` is how long a stay must last to be reported while it continues, in zones
    without a value of their own. `secret` signs requests to URLs. Up to `waiting` events may wait for a receiver; each
    is tried `tries` times with a timeout of `timeout_s`; `first_pause_s` is the first pause. At the end of a run,
    waiting events have `close_s`."""

    targets: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    loiter_s: float | None = None
    secret: bytes | None = field(default=None, repr=False)
    waiting: int = 1000
    tries: int = 6
    timeout_s: float = 10.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    close_s: float = 10.0


class Alarms:
    """The receivers of a run. `tell` never waits and never raises; `settle` waits for a bounded time. An event may be
    sent again after a kill, because it is not known then which receivers got it."""

    def __init__(self, settings: AlarmSettings) -> None:
        """Create the receivers. Raises ConfigError if a target is invalid."""
        self.settings = settings
        self._lines = [
            _Line(receiver_of(target, settings.secret, settings.timeout_s), settings) for target in settings.targets
        ]

    def tell(self, notice: Notice) -> None:
        """Queue an event for all receivers."""
        for line in self._lines:
            line.put(notice)

    def waiting(self, of: str) -> list[Notice]:
        """Return the events of `of` that are still queued for some receiver, each once, in order."""
        return [notice for notice in self._all_waiting() if notice.of == of]

    def waiting_live(self) -> list[Notice]:
        """Return the queued events of live sources, as `waiting` does."""
        return [notice for notice in self._all_waiting() if notice.live]

    def _all_waiting(self) -> list[Notice]:
        return list({notice.id: notice for line in self._lines for notice in line.waiting()}.values())

    def settle(self) -> list[AlarmsJson]:
        """Wait for a bounded time until all queues are empty, give up the rest, and return the outcome per receiver."""
        until = time.monotonic() + self.settings.close_s
        return [line.settle(until) for line in self._lines]

    def close(self) -> None:
        """Stop all threads and give up waiting events."""
        for line in self._lines:
            line.close()


class _Line:
    """One receiver, with its queue and its thread."""

    def __init__(self, receiver: Receiver, settings: AlarmSettings) -> None:
        self._receiver = receiver
        self._settings = settings
        self._waiting: deque[Notice] = deque()
        self._under_way: Notice | None = None
        self._changed = threading.Condition()
        self._closed = self._hurry = False
        self._sent = self._given_up = 0
        self._error: str | None = None
        self._thread = threading.Thread(target=self._work, name="alarms", daemon=True)
        self._thread.start()

    def put(self, notice: Notice) -> None:
        with self._changed:
            if not self._closed and len(self._waiting) < self._settings.waiting:
                self._waiting.append(notice)
                self._changed.notify_all()
                return
        self._give_up("too many events wait for it")

    def waiting(self) -> list[Notice]:
        """Return the queued events, in order."""
        with self._changed:
            return [*([self._under_way] if self._under_way is not None else []), *self._waiting]

    def settle(self, until: float) -> AlarmsJson:
        with self._changed:
            self._changed.wait_for(
                lambda: not self._waiting and not self._under_way, timeout=max(0.0, until - time.monotonic())
            )
            left = len(self._waiting)
            self._waiting.clear()
            self._hurry = self._under_way is not None  # the current try is the last
            self._changed.notify_all()
            late = self._hurry and not self._changed.wait_for(lambda: self._under_way is None, timeout=0.5)
        for _ in range(left):
            self._give_up(self._error or "the run ended before it could be sent")
        with self._changed:
            found: AlarmsJson = {
                "target": self._receiver.name,
                "sent": self._sent,
                "given_up": self._given_up + late,  # an answer that arrives now is too late
            }
            if self._error is not None:
                found["error"] = self._error
        return found

    def close(self) -> None:
        with self._changed:
            self._closed = self._hurry = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(0.5)
        if not self._thread.is_alive():
            self._receiver.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                notice = self._under_way = self._waiting.popleft()
            try:
                self._send(notice)
            finally:
                with self._changed:
                    self._under_way, self._hurry = None, False
                    self._changed.notify_all()

    def _send(self, notice: Notice) -> None:
        pause_s, why = self._settings.first_pause_s, ""
        for number in range(self._settings.tries):
            if number:
                with self._changed:  # jitter, so that a receiver's clients do not all retry at once
                    self._changed.wait_for(lambda: self._hurry, timeout=pause_s * random.uniform(0.8, 1.2))
                    if self._hurry:
                        break
                pause_s = min(2 * pause_s, self._settings.longest_pause_s)
            try:
                self._receiver.deliver(notice.id, notice.body)
            except DeliveryError as error:
                why = printable(str(error))
            except Exception as error:
                why = f"failed: {type(error).__name__}"
                log.debug("%s", self._receiver.name, exc_info=error)
            else:
                with self._changed:
                    self._sent += 1
                return
            with self._changed:
                self._error = why
        self._give_up(why)

    def _give_up(self, why: str) -> None:
        with self._changed:
            self._given_up += 1
            first, self._error = self._given_up == 1, why
        if first:  # once: a dead receiver would fill the log
            log.warning("%s: an event was given up: %s", printable(self._receiver.name), why)
