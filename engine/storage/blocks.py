"""Blocks of an object: a bounded number of them is kept, and the next ones are fetched while the last is read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

BLOCK_BYTES = 1 << 20
KEPT = 32
AHEAD = 6


class Blocks:
    """The bytes of an object, fetched in blocks. Any number of threads may read.

    At most `kept` blocks are held, those read last; up to `ahead` of them are fetched before they are asked for, once
    blocks have been read in their order.
    """

    def __init__(
        self,
        fetch: Callable[[int, int], bytes],
        size: int,
        *,
        first: bytes = b"",
        block: int = BLOCK_BYTES,
        kept: int = KEPT,
        ahead: int = AHEAD,
    ) -> None:
        """`fetch` returns the bytes from a first to before a last place, and raises what reading is to raise. `first`
        is the first block where it is known already."""
        if kept < ahead + 2:
            raise ValueError(f"kept must be at least ahead + 2. Got {kept} and {ahead}.")
        self.size = size
        self._fetch = fetch
        self._block = block
        self._kept = kept
        self._ahead = ahead
        self._lock = threading.Lock()
        self._found: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        if first and len(first) >= min(block, size):
            known: Future[bytes] = Future()
            known.set_result(first[:block])
            self._found[0] = known

    def read(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start`, fewer at the end. Raises what fetching raises, and ValueError once
        it is closed."""
        end = min(self.size, start + max(0, count))
        parts = []
        while start < end:
            number, offset = divmod(start, self._block)
            data = self._of(number)
            part = data[offset : offset + end - start]
            if not part:
                raise ValueError("a block is shorter than it should be")
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Drop all blocks; what is under way is not waited for."""
        with self._lock:
            self._closed = True
            self._found.clear()
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _of(self, number: int) -> bytes:
        with self._lock:
            if self._closed:
                raise ValueError("the object is closed")
            future = self._asked(number)
            self._found.move_to_end(number)
            if number - 1 in self._found:  # the one before was read as well: on it goes
                for following in range(number + 1, min(number + 1 + self._ahead, self._count)):
                    self._asked(following)
                    self._found.move_to_end(following)
            while len(self._found) > self._kept:
                self._found.popitem(last=False)  # not cancelled: another thread may be waiting for it
        try:
            return future.result()
        except CancelledError as error:
            raise ValueError("the object is closed") from error
        except BaseException:
            with self._lock:  # whoever asks again has it fetched again
                if self._found.get(number) is future:
                    del self._found[number]
            raise

    def _asked(self, number: int) -> Future[bytes]:
        if (future := self._found.get(number)) is None:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._ahead + 1, "fetch")
            first = number * self._block
            future = self._pool.submit(self._fetch, first, min(self.size, first + self._block))
            self._found[number] = future
        return future

    @property
    def _count(self) -> int:
        return -(-self.size // self._block)
