"""The form of every stage.

A stage declares what it takes and gives, opens once, handles one record at a time, forgets a stream when it ends and
closes. Stages without a queue between them run one after the other on the same thread.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from engine.specs import Spec, check_link


class Stage:
    """Base of the stages. Those that keep nothing override only `process`."""

    name = "stage"
    accepts: Spec
    produces: Spec

    def open(self) -> None:
        """Prepares; called once before the first record."""

    def process(self, record: Any) -> Any:
        """Handles one record and returns what follows from it."""
        raise NotImplementedError

    def forget(self, stream: int) -> None:
        """Drops everything kept for a stream that has ended."""

    def close(self) -> None:
        """Frees what was opened; called once, also after a failure."""


def link(stages: list[Stage]) -> list[Stage]:
    """Checks each neighbouring pair and returns the stages. Raises LinkError."""
    for producer, consumer in pairwise(stages):
        check_link(producer.name, producer.produces, consumer.name, consumer.accepts)
    return stages
