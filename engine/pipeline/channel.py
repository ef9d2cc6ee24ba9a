"""The bounded queue between two threads.

When it is full, the producer decides what happens: files wait (`put`), live sources make room first (`drop_oldest`). A
queue that failed or closed wakes both sides, so no failure leads to a hang.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from engine.pipeline.waiting import Condition

T = TypeVar("T")


class Closed(Exception):
    """The queue was closed: nothing more goes in, and everything in it has been taken out."""


class Handoff(Generic[T]):
    """A first-in first-out queue of at most `capacity` records."""

    def __init__(self, name: str, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"{name}: capacity must be at least 1. Got {capacity}.")
        self.name = name
        self.capacity = capacity
        self._items: deque[T] = deque()
        self._lock = threading.RLock()
        self._not_empty = Condition(self._lock)
        self._not_full = Condition(self._lock)
        self._closed = False

    def put(self, item: T) -> None:
        """Add a record, waiting for room. Raises Closed."""
        with self._lock:
            while len(self._items) >= self.capacity and not self._closed:
                self._not_full.wait()
            if self._closed:
                raise Closed(self.name)
            self._items.append(item)
            self._not_empty.notify()

    def put_first(self, item: T) -> None:
        """Add a record in front of all others, without waiting for room. Raises Closed."""
        with self._lock:
            if self._closed:
                raise Closed(self.name)
            self._items.appendleft(item)
            self._not_empty.notify()

    def drop_oldest(self, droppable: Callable[[T], bool]) -> T | None:
        """Take out and return the oldest record for which `droppable` holds; None when there is none."""
        with self._lock:
            for position, item in enumerate(self._items):
                if droppable(item):
                    del self._items[position]
                    self._not_full.notify()
                    return item
            return None

    def get(self, timeout_s: float | None = None) -> T:
        """Take the oldest record. Raises TimeoutError after `timeout_s`, Closed when closed and empty."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while not self._items:
                if self._closed:
                    raise Closed(self.name)
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(self.name)
                self._not_empty.wait(left)
            item = self._items.popleft()
            self._not_full.notify()
            return item

    def close(self, *, discard: bool = False) -> None:
        """Close the queue: waiting producers get Closed, consumers get the remaining records (none, with `discard`)."""
        with self._lock:
            self._closed = True
            if discard:
                self._items.clear()
            self._not_empty.notify_all()
            self._not_full.notify_all()

    def __len__(self) -> int:
        return len(self._items)
