"""kombu's side of a broker that is a folder (folder_queues.py), for `filesystem:///FOLDER`.

kombu's own transport of that name removes a message when it is taken, has no levels, and takes messages by copying if
the temporary folder is on another file system, so two workers may get the same one.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.broker import polled
from orchestrator.broker.folder_queues import FolderQueues, held_here, tag_of


class Channel(polled.Channel):
    """The queues of a folder."""

    held = held_here

    @property
    def queues(self) -> FolderQueues:
        return FolderQueues(Path(self.connection.client.transport_options["folder"]))

    def take(self, queue: str) -> tuple[bytes, str, str] | None:
        taken = self.queues.take(queue)
        if taken is None:
            return None
        raw, name = taken
        return raw, tag_of(name), name

    def done(self, held: str) -> None:
        self.queues.done(held)

    def give_back(self, held: str) -> None:
        self.queues.give_back(held)


class Transport(polled.Transport):
    """The transport of `filesystem://`."""

    Channel = Channel
    driver_type = driver_name = "filesystem"
    polling_interval = 0.5
