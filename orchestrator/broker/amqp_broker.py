"""RabbitMQ as a broker. It carries messages and reports how many wait; everything else is on the board (board.py).

It can't list waiting messages without consuming them. So they are derived from the jobs' directories, which record what
was sent and what has begun; a message counts as waiting for as long as its queue is not empty.

Priorities: with Redis, Celery serves level 0 first; RabbitMQ serves the highest number first, so levels are inverted
(`messages.priority_of`). Queues are declared with `x-max-priority`, which can only be set on creation; except for
`celery`, which any program may declare in its own way.

Acknowledgement: a message is acknowledged when its task has ended. If that takes longer than `consumer_timeout` (30
minutes by default), RabbitMQ closes the worker's channel and delivers the message again; the second delivery finds the
step taken and is dropped, and the work continues. `docs/operations.md` explains how to set it.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import amqp
from amqp import exceptions

from orchestrator.broker.connection import without_password
from orchestrator.broker.messages import Message, level_of, message_of
from orchestrator.broker.sent import CountingBroker
from orchestrator.broker.view import Untold
from orchestrator.errors import BrokerUrlError
from orchestrator.settings import Settings

_PORT, _TLS_PORT = 5672, 5671

T = TypeVar("T")


class AmqpFailed(ConnectionError):
    """An error of RabbitMQ or of the connection to it; the cause is py-amqp's error."""


@dataclass(frozen=True)
class Address:
    """The address of a RabbitMQ and the credentials. `tls` is None for a plain connection."""

    host: str
    port: int
    user: str
    password: str
    vhost: str
    tls: Mapping[str, object] | None

    @classmethod
    def of(cls, url: str) -> Address:
        """Parse `amqp[s]://[USER:PASSWORD@]HOST[:PORT]/[VHOST]`. Raises BrokerUrlError."""
        shown = without_password(url)
        try:
            parts = urlsplit("http://" + url.partition("://")[2])
            host, port, query = parts.hostname, parts.port, dict(parse_qsl(parts.query))
        except ValueError:
            # The cause might quote a part of the password.
            raise BrokerUrlError(
                f"{shown}: host or port can't be read. In a password, write / as %2F, @ as %40, : as %3A, # as %23."
            ) from None
        encrypted = url.startswith("amqps")
        return cls(
            host=host or "localhost",
            port=port or (_TLS_PORT if encrypted else _PORT),
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            vhost=unquote(parts.path[1:]) or "/",
            tls=_tls(query) if encrypted else None,
        )

    def connect(self, timeout_s: float) -> amqp.Connection:
        """Connect, waiting at most `timeout_s` for each answer. Raises py-amqp's errors."""
        connection = amqp.Connection(
            host=f"{self.host}:{self.port}",
            userid=self.user,
            password=self.password,
            virtual_host=self.vhost,
            ssl=dict(self.tls) if self.tls is not None else False,
            connect_timeout=timeout_s,
            read_timeout=timeout_s,
            write_timeout=timeout_s,
            heartbeat=0,
            confirm_publish=True,
        )
        connection.connect()
        return connection


def _tls(query: Mapping[str, str]) -> dict[str, object]:
    """Return the TLS options: the certificate is verified unless the URL says otherwise, as with `rediss://`."""
    given = query.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    found: dict[str, object] = {
        "cert_reqs": {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL}.get(given, ssl.CERT_REQUIRED)
    }
    for key, name in (("ssl_ca_certs", "ca_certs"), ("ssl_certfile", "certfile"), ("ssl_keyfile", "keyfile")):
        if key in query:
            found[name] = query[key]
    return found


class AmqpBroker(CountingBroker):
    """The view of a RabbitMQ. Thread-safe: requests are serialised."""

    untold: Sequence[Untold] = (
        Untold("memory", "it stops taking messages at its limits: `rabbitmq-diagnostics alarms`"),
        Untold("messages", "it only reports how many wait: which ones is known from the jobs' directories"),
    )

    def __init__(self, given: Settings, timeout_s: float = 2.0, *, url: str | None = None) -> None:
        """Parse the URL; nothing is sent yet. Raises BrokerUrlError."""
        super().__init__(given)
        self._address = Address.of(url or given.broker_url)
        self._timeout_s = timeout_s
        self._one_asks = threading.Lock()
        self._connection: amqp.Connection | None = None

    @property
    def name(self) -> str:
        connection = self._connection
        about = connection.server_properties if connection is not None else {}
        return f"{about.get('product', 'RabbitMQ')} {about.get('version', '')}".strip()

    # -- messages -----------------------------------------------------------------------------------------------------

    def ping(self) -> None:
        self._ask(lambda channel: channel.basic_qos(0, 1, False))

    def lengths(self, names: Iterable[str]) -> Mapping[str, int]:
        return {name: self._length(name) for name in names}

    def _length(self, queue: str) -> int:
        def ask(channel: Any) -> int:
            return int(channel.queue_declare(queue, passive=True).message_count)

        try:
            return self._ask(ask)
        except AmqpFailed as error:
            if isinstance(error.__cause__, exceptions.NotFound):  # no such queue (yet)
                return 0
            raise

    def take_away(self, names: Iterable[str]) -> list[Message]:
        found: list[Message] = []
        for queue in names:
            for _ in range(self._length(queue)):
                # One at a time and acknowledged at once, so that an interruption loses no message unseen.
                message = self._ask(partial(_taken, queue))
                if message is None:
                    break
                found.append(_message(message, queue))
        return found

    def renew(self, delivery_tags: Iterable[str]) -> None:
        """Do nothing: RabbitMQ requeues a message when its worker's connection ends."""

    # -- the connection -----------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Ask on a separate channel, since an error closes it. Raises AmqpFailed."""
        with self._one_asks, self._translated():
            connection = self._connection
            if connection is None or not connection.connected:
                connection = self._connection = self._address.connect(self._timeout_s)
            channel = connection.channel()
            answer = question(channel)
            channel.close()
            return answer

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.AMQPError, OSError, AttributeError, IndexError) as error:
            # py-amqp raises AttributeError if the connection ends while it is being used.
            if not isinstance(error, exceptions.ChannelError):
                self._drop()
            raise AmqpFailed(str(error)) from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.collect()

    def close(self) -> None:
        with self._one_asks:
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.close()

    def __enter__(self) -> AmqpBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _taken(queue: str, channel: Any) -> amqp.Message | None:
    return channel.basic_get(queue, no_ack=True)


def _message(message: amqp.Message, queue: str) -> Message:
    """Return the displayed facts of a message, which is untrusted."""
    headers = message.properties.get("application_headers")
    keywords: dict[str, object] = {}
    with contextlib.suppress(ValueError, TypeError, IndexError, RecursionError):
        keywords = dict(json.loads(message.body)[1])
    level = level_of(message.properties.get("priority"))
    return message_of(headers if isinstance(headers, dict) else {}, keywords, queue, level)
