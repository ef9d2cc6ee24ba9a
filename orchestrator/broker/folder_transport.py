"""kombu's side of a broker that is a folder (folder_queues.py), for `filesystem:///FOLDER`.

kombu's own transport of that name removes a message when it is taken, has no levels, and takes messages by copying if
the temporary folder is on another file system, so two workers may get the same one.
"""

from __future__ import annotations

import json
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import virtual

from orchestrator.broker import polled
from orchestrator.broker.board import Board
from orchestrator.broker.dropped import set_aside
from orchestrator.broker.folder_queues import FolderQueues, held_here, tag_of
from orchestrator.broker.inbound import Refused, checked
from orchestrator.settings import settings


class QoS(virtual.QoS):  # type: ignore[misc]
    """Acknowledges messages in the folder."""

    def ack(self, delivery_tag: str) -> None:
        """Remove the message."""
        name = held_here.pop(delivery_tag, None)
        if name is not None:
            self.channel.queues.done(name)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put the message back, or remove it."""
        name = held_here.pop(delivery_tag, None)
        if name is not None:
            (self.channel.queues.give_back if requeue else self.channel.queues.done)(name)
        self._quick_ack(delivery_tag)


class Channel(polled.Channel):
    """The queues of a folder; messages from queues of jobs are checked."""

    QoS = QoS

    @property
    def queues(self) -> FolderQueues:
        return FolderQueues(Path(self.connection.client.transport_options["folder"]))

    def _put(self, queue: str, message: dict[str, Any], **_: object) -> None:
        level = message["properties"].get("priority") or 0
        self.queues.put(queue, level if isinstance(level, int) else 0, json.dumps(message).encode())

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        while (taken := self.queues.take(queue)) is not None:
            raw, name = taken
            try:
                known = settings().known_queues
                message: dict[str, Any] = json.loads(checked(raw, queue, known))
            except Refused as refused:
                set_aside(raw, queue, str(refused), Board(settings().board_folder).set_aside)
                self.queues.done(name)
                continue
            tag = message["properties"]["delivery_tag"] = tag_of(name)
            held_here[tag] = name
            return message
        raise Empty

    def _restore(self, message: Any) -> None:
        """Put back a message that was taken but not acknowledged."""
        name = held_here.pop(message.delivery_tag, None)
        if name is not None:
            self.queues.give_back(name)


class Transport(polled.Transport):
    """The transport of `filesystem://`."""

    Channel = Channel
    driver_type = driver_name = "filesystem"
    polling_interval = 0.5
