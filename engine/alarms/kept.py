"""Persists events of live sources that wait for a receiver, so that a killed run loses none that it had written.

A file is watched again from its checkpoint, which holds the events waiting then. A live source can't be replayed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from engine.alarms.sending import Alarms, Notice
from engine.errors import describe_os_error
from engine.files.folders import Folder

log = logging.getLogger(__name__)

NAME = "events-waiting.json"
_SCHEMA = 1
_LARGEST = 1 << 26


class Kept:
    """The file of waiting events of a run, in the folder `state` below its output folder, created if missing. One
    thread writes it, at most a few times per second. Errors are logged and never fail a run."""

    def __init__(self, alarms: Alarms, output: Folder, state: str) -> None:
        self._alarms, self._output, self._state = alarms, output, state
        self._written: list[str] = []
        self._told = False

    def tell_again(self) -> None:
        """Send the events that a killed run left behind."""
        try:
            with self._output.sub(self._state) as folder:
                left = _notices(folder.read(NAME, _LARGEST))
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("events that waited for a receiver can't be read: %s", describe_os_error(error))
            return
        except (ValueError, KeyError, TypeError, RecursionError):
            log.warning(
                "%s is damaged: events that waited for a receiver are lost", self._output.shown / self._state / NAME
            )
            return
        self._written = [notice.id for notice in left]
        for notice in left:
            self._alarms.tell(notice)
        log.warning("sending the events that waited for a receiver when a run was killed: %s", f"{len(left):,}")

    def look(self) -> None:
        """Write the waiting events if they have changed."""
        waiting = self._alarms.waiting_live()
        ids = [notice.id for notice in waiting]
        if ids == self._written:
            return
        try:
            with self._output.sub(self._state, make=True) as folder:
                if waiting:
                    folder.put(NAME, _encoded(waiting))
                else:
                    folder.remove(NAME)
            self._written, self._told = ids, False
        except OSError as error:
            if not self._told:  # once per series of failures
                log.warning("events that wait for a receiver can't be kept: %s", describe_os_error(error))
            self._told = True


def _encoded(waiting: Sequence[Notice]) -> bytes:
    values = [[notice.id, notice.body.decode("ascii")] for notice in waiting]
    return json.dumps({"schema": _SCHEMA, "waiting": values}).encode() + b"\n"


def _notices(text: bytes) -> list[Notice]:
    """Parse the content of a file. Raises ValueError, KeyError or TypeError if it is damaged."""
    values = json.loads(text)
    if values["schema"] != _SCHEMA:
        raise ValueError("of another version")
    found = [Notice(event_id, body.encode("ascii"), live=True) for event_id, body in values["waiting"]]
    if not all(isinstance(notice.id, str) and notice.id.isascii() and notice.id.isalnum() for notice in found):
        raise ValueError("no ids")
    return found
