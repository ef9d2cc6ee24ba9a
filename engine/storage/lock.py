"""The object that says who writes to a prefix: created where there is none, renewed, and taken over when its holder is
gone.

All three are conditional writes, so that of two that try one succeeds. Whoever finds another's object in its place
writes nothing more.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.errors import OutputError, StorageError
from engine.storage.urls import Place

if TYPE_CHECKING:
    from engine.storage.stores import Store

log = logging.getLogger(__name__)

RENEWED_EVERY_S = 60.0
GONE_AFTER_S = 600.0

STATE = ".yolo-engine"
LOCK = f"{STATE}/lock.json"

_TRIES = 20  # of the workers of one job, who renew the same object


class Lock:
    """Says that `owner` writes to a place: a run, by a name of its own, or all workers of a job, by the job's id."""

    def __init__(
        self,
        store: Store,
        place: Place,
        owner: str,
        *,
        shared: bool = False,
        has_ended: Callable[[str], bool] = lambda job: False,
    ) -> None:
        """With `shared`, several processes of this owner hold it; whichever gives it back does so for all. `has_ended`
        says whether another job, which holds it, is over."""
        self.place = place
        self._store = store
        self._at = place.below(LOCK)
        self._owner = owner
        self._shared = shared
        self._has_ended = has_ended
        self._etag = ""
        self._lost = False
        self._left = threading.Event()
        self._renewing: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether nobody else has taken over the place."""
        return not self._lost

    def take(self) -> None:
        """Take it, and renew it from now on. Raises OutputError while somebody else holds it, and StorageError."""
        for _ in range(_TRIES):
            etag = self._store.create(self._at.key, self._who())
            if etag is None:
                facts, holder = self._store.facts(self._at.key), table_of(self._store.get(self._at.key))
                if facts is None:
                    continue
                idle_s = (datetime.now(UTC) - facts.modified).total_seconds()
                if not (self._is_own(holder) or idle_s > GONE_AFTER_S or self._is_over(holder)):
                    raise self._taken(holder)
                etag = self._store.replace(self._at.key, self._who(), facts.etag)
            if etag is not None:
                self._etag = etag
                self._renewing = threading.Thread(target=self._renew, name="renew", daemon=True)
                self._renewing.start()
                return
        raise self._taken({})

    def check(self) -> None:
        """Raise OutputError if it was taken over."""
        if self._lost:
            raise OutputError(f"Another run has taken over {self.place.url} meanwhile: nothing more is written there.")

    def leave(self) -> None:
        """Renew it no more."""
        self._left.set()
        if self._renewing is not None:
            self._renewing.join()

    def give_back(self) -> None:
        """Leave it and let others have the place. Raises StorageError."""
        self.leave()
        if not self._lost:
            self._store.delete(self._at.key)

    def _taken(self, holder: Mapping[str, Any]) -> OutputError:
        process = f"{holder.get('host', 'an unknown machine')}, process {holder.get('pid', 'unknown')}"
        who = f"job {holder['job']}, {process}" if "job" in holder else process
        return OutputError(
            f"Another run writes to {self.place.url} ({who}): wait for it, or name another prefix. If it was killed, "
            f"its place is free {GONE_AFTER_S / 60:.0f} minutes after that, or at once if you delete {self._at.url}"
        )

    def _who(self) -> bytes:
        key = "job" if self._shared else "run"
        found = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            key: self._owner,
            "at": datetime.now(UTC).isoformat(),
        }
        return json.dumps(found).encode()

    def _is_own(self, holder: Mapping[str, Any]) -> bool:
        return holder.get("job" if self._shared else "run") == self._owner

    def _is_over(self, holder: Mapping[str, Any]) -> bool:
        return self._has_ended(str(holder["job"])) if "job" in holder else _has_ended(holder)

    def _renew(self) -> None:
        while not self._left.wait(RENEWED_EVERY_S):
            try:
                etag = self._store.replace(self._at.key, self._who(), self._etag)
                if etag is None:  # another worker of the job may have renewed it, or an answer was lost
                    facts, holder = self._store.facts(self._at.key), table_of(self._store.get(self._at.key))
                    if facts is None or not self._is_own(holder):
                        self._lost = True
                        return
                    etag = facts.etag
                self._etag = etag
            except StorageError as error:
                log.warning("%s %s", self._at.url, error)


def table_of(text: bytes | None) -> Mapping[str, Any]:
    """Return a table of JSON; an empty one for anything else."""
    try:
        found = json.loads(text or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_ended(holder: Mapping[str, Any]) -> bool:
    """Return whether a holder was a run of this machine whose process is there no more."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
