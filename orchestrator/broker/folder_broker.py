"""A folder as a broker, for a few machines that share one and have no server: messages are files, as is everything else
(board.py). Workers poll every half second, and Celery's remote control commands don't reach them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from orchestrator.broker.board_side import BoardSide
from orchestrator.broker.folder_queues import FolderQueues, Waiting, held_here
from orchestrator.broker.messages import MAX_LISTED, Message
from orchestrator.broker.queues import MAX_LOOKED_THROUGH, id_of, read_message
from orchestrator.broker.view import Untold
from orchestrator.settings import Settings


class FolderBroker(BoardSide):
    """The view of a folder. Thread-safe."""

    name = "A folder"
    tells_which = True
    untold: Sequence[Untold] = ()

    def __init__(self, given: Settings, folder: Path) -> None:
        super().__init__(given)
        self._queues = FolderQueues(folder)
        self._restore_after_s = given.visibility_timeout_s

    def ping(self) -> None:
        self._queues.probe()

    def lengths(self, names: Iterable[str]) -> Mapping[str, int]:
        return {name: self._queues.length(name) for name in names}

    def message_ids(self, names: Iterable[str]) -> set[str] | None:
        found = set[str]()
        for name in names:
            if self._queues.length(name) > MAX_LOOKED_THROUGH:
                return None
            found |= {id_of(each.raw) for each in self._queues.waiting(name, MAX_LOOKED_THROUGH)}
        return found

    def waiting(self, names: Iterable[str], limit: int = MAX_LISTED) -> list[Message]:
        return [_message(each) for name in names for each in self._queues.waiting(name, limit)]

    def held_back(self) -> list[Message]:
        return []

    def take_away(self, names: Iterable[str]) -> list[Message]:
        return [_message(each) for name in names for each in self._queues.take_away(name)]

    def renew(self, delivery_tags: Iterable[str]) -> None:
        """Renew the messages whose tasks continue."""
        self._queues.renew(name for tag in delivery_tags if (name := held_here.get(tag)) is not None)

    def looks_alone(self, for_s: float) -> bool:
        """Return whether it is this process; if so, put back messages not renewed within the visibility timeout."""
        mine = super().looks_alone(for_s)
        if mine:
            self._queues.restore(self._restore_after_s)
        return mine

    def close(self) -> None:
        """Do nothing: no file is open."""

    def __enter__(self) -> FolderBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _message(each: Waiting) -> Message:
    return read_message(each.raw, each.queue, each.level)
