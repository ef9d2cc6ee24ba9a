"""kombu's side of an SQS (sqs_queues.py), for `sqs://`.

kombu's own transport of that name has one level per queue, and needs pycurl; its messages are not checked.
"""

from __future__ import annotations

import contextlib
from functools import cached_property
from uuid import uuid4

from orchestrator.broker import polled
from orchestrator.broker.sqs_queues import SqsFailed, SqsQueues, held_here


class Channel(polled.Channel):
    """The queues of an SQS."""

    held = held_here

    @cached_property
    def queues(self) -> SqsQueues:
        options = self.connection.client.transport_options
        return SqsQueues(str(options["url"]), hidden_s=float(options["visibility_timeout"]))

    def take(self, queue: str) -> tuple[bytes, str, tuple[str, str]] | None:
        taken = self.queues.take(queue)
        return None if taken is None else (taken.raw, str(uuid4()), (taken.queue_url, taken.receipt))

    def done(self, held: tuple[str, str]) -> None:
        self.queues.done(*held)

    def give_back(self, held: tuple[str, str]) -> None:
        with contextlib.suppress(SqsFailed):  # it was delivered again already
            self.queues.hide(*held, for_s=0)


class Transport(polled.Transport):
    """The transport of `sqs://`."""

    Channel = Channel
    driver_type = driver_name = "sqs"
    polling_interval = 1.0
    can_parse_url = True  # else kombu takes the URL's query for arguments of its own
