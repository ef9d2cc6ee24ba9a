"""Checks whether the broker serves us before anything else is done, because Celery's own clients hang if a broker does.

Celery needs up to 45 s to notice that a broker is unreachable. Here every kind of failure is named, with a remedy,
within 5 s. A merely distant broker is waited for: its round trip time is measured here, and other timeouts grow with
it.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import redis
from amqp.exceptions import AMQPError
from redis import exceptions

from engine.install import extra
from orchestrator.broker import amqp_preflight, folder_results, keys
from orchestrator.broker.amqp_broker import Address, AmqpFailed
from orchestrator.broker.connection import client, one_broker, without_password
from orchestrator.broker.folder_queues import FolderQueues
from orchestrator.broker.sqs_queues import SqsQueues
from orchestrator.errors import BrokerUnreachable, BrokerUrlError
from orchestrator.settings import QUEUE, broker_folder, is_amqp, is_database, is_sqs

ANSWER_S = 2.0
_RECORD_BYTES = 16_384  # of TLS, at most
_SECOND_TRY_S = 0.7
DEADLINE_S = 4.0
"""Timeout between answers: a name lookup has no timeout of its own, and a host may have many addresses."""
MAX_LOOK_S = 3 * DEADLINE_S + 1.0
"""The longest duration of a check, for a server that answers each question late."""

_NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)

_LOOK_REDIS = "Look: `redis-cli -u URL ping`, `systemctl status redis-server`."
_LOOK_AMQP = "Look: `rabbitmq-diagnostics ping`, `systemctl status rabbitmq-server`."

T = TypeVar("T")

_round_trips: dict[str, float] = {}


def extra_s(url: str, round_trips: int) -> float:
    """Return the seconds for this many round trips to a server, as last measured in this process; 0 if it is near or
    was never checked."""
    return round_trips * _round_trips.get(url, 0.0)


def preflight(url: str, *, write: bool = True, variable: str = "CELERY_BROKER_URL") -> None:
    """Check the server at `url` once. Raises BrokerUnreachable within 5 s of its last sign of life, and BrokerUrlError
    for a bad URL.

    `write` also stores a key for a second, which a full server or a read-only replica refuses; pass False to only read.
    A user without permission to write that key passes. `variable` is the environment variable named in the message.
    """
    failure = failure_of(url, write=write)
    if failure is not None:
        what, remedy = explain(failure, url, variable)
        raise BrokerUnreachable(f"{without_password(url)}: {what}. {remedy}") from failure


def failure_of(url: str, *, write: bool = True) -> Exception | None:
    """Return the exception that shows why the server at `url` does not serve us; None if it does. Takes at most 5 s,
    longer only while the server answers."""
    questions = _questions(url, write)  # outside the thread: a bad URL raises at once
    answered = time.monotonic()

    def ask() -> Exception | None:
        nonlocal answered
        try:
            for took in questions:
                answered = time.monotonic()
                if took is not None:
                    _round_trips[url] = took
        except (exceptions.RedisError, AMQPError, OSError) as error:
            return _of_the_other_kind(error, url) or error
        return None

    answer = begin(ask)
    while True:
        try:
            return answer(answered + DEADLINE_S - time.monotonic())
        except TimeoutError as error:
            if time.monotonic() - answered >= DEADLINE_S:
                return error


def _questions(url: str, write: bool) -> Iterator[float | None]:
    """Return an iterator that asks a server a series of questions and yields, after a plain one, the seconds until its
    answer. Raises BrokerUrlError; errors of the server are raised during iteration."""
    if folder_results.is_folder(url):
        return _of_folder(url)
    if is_database(url):
        return _of_database(url)
    one_broker(url)
    if (folder := broker_folder(url)) is not None:
        return _of_queues(FolderQueues(folder))
    if is_amqp(url):
        Address.of(url)
        return amqp_preflight.asked(url, ANSWER_S, write=write)
    if is_sqs(url):
        return _of_sqs(SqsQueues(url, timeout_s=ANSWER_S))
    return _asked(client(url, ANSWER_S), write)


def _of_folder(url: str) -> Iterator[None]:
    folder_results.probe(url)
    yield None


def _of_database(url: str) -> Iterator[None]:
    try:
        from orchestrator.broker import database_results
    except ImportError as error:
        raise BrokerUrlError(
            f"{without_password(url)}: results in a database need SQLAlchemy: {extra('database')} ({error})."
        ) from error
    return database_results.asked(url)


def _of_queues(queues: FolderQueues) -> Iterator[None]:
    queues.probe()
    yield None


def _of_sqs(queues: SqsQueues) -> Iterator[None]:
    queues.probe(QUEUE)
    yield None


def _asked(connection: redis.Redis, write: bool) -> Iterator[float | None]:
    with connection:
        yield from _asked_redis(connection, write)


def _asked_redis(connection: redis.Redis, write: bool) -> Iterator[float | None]:
    pool = connection.connection_pool
    pool.release(pool.get_connection())
    yield None
    begun = time.monotonic()
    if connection.ping() is not True:
        raise exceptions.InvalidResponse("something else than PONG in answer to PING")
    yield time.monotonic() - begun
    if write:
        with contextlib.suppress(exceptions.NoPermissionError):
            connection.set(f"{keys.PROBES}{secrets.token_hex(8)}", "1", px=1000)
        yield None


class _SpeaksTls(exceptions.ConnectionError):
    """The server closed a plain connection but accepts an encrypted one."""


class _SpeaksPlain(exceptions.ConnectionError):
    """The server failed an encrypted connection but answers on a plain one."""


def _of_the_other_kind(error: Exception, url: str) -> Exception | None:
    """Return the error that explains a failure by the use of TLS, or its absence; None if that is not the reason. No
    password is sent."""
    if isinstance(error, exceptions.AuthenticationError) or not url.startswith(("redis://", "rediss://")):
        return None
    address = client(url).connection_pool.connection_kwargs
    try:
        with socket.create_connection((address["host"], address["port"]), _SECOND_TRY_S) as plain:
            if url.startswith("rediss://"):
                plain.sendall(b"PING\r\n")
                return _SpeaksPlain() if plain.recv(1) in (b"+", b"-") else None
            if type(error) is exceptions.ConnectionError:
                return _SpeaksTls() if _shakes_hands(plain) else None
    except OSError:
        pass
    return None


def _shakes_hands(plain: socket.socket) -> bool:
    """Return whether the server at the other end of a connection accepts TLS. Raises OSError."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # Not `wrap_socket`, which leaves a connection open that was reset before it.
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(received, to_send)
    over = time.monotonic() + _SECOND_TRY_S
    while time.monotonic() < over:
        try:
            handshake.do_handshake()
        except ssl.SSLWantReadError:
            plain.sendall(to_send.read())
            if not (answer := plain.recv(_RECORD_BYTES)):
                break
            received.write(answer)
        else:
            plain.sendall(to_send.read())
            return True
    return False


def within(seconds: float, ask: Callable[[], T]) -> T:
    """Run `ask` on a separate thread and return its result. Raises TimeoutError, and then abandons the thread."""
    return begin(ask)(seconds)


def begin(ask: Callable[[], T]) -> Callable[[float], T]:
    """Run `ask` on a separate thread. The returned function waits for the given seconds and returns the result, or
    raises TimeoutError."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(ask())
        except BaseException as error:  # noqa: BLE001 - raised again where it was requested
            errors.append(error)

    thread = threading.Thread(target=run, name="yolo-ask", daemon=True)
    thread.start()

    def wait(seconds: float) -> T:
        thread.join(max(0.0, seconds))
        if errors:
            raise errors[0]
        if not results:
            raise TimeoutError("no answer in time")
        return results[0]

    return wait


def explain(error: BaseException, url: str, variable: str = "CELERY_BROKER_URL") -> tuple[str, str]:
    """Return what happened (without a full stop) and the remedy, for an error raised by a client of `url`."""
    own = (
        f"Name your Redis: `export {variable}=redis://HOST:6379/0`. For one on this machine: "
        "`sudo apt-get install redis-server`. Without any: `yolo-server --worker --embedded`."
    )
    if is_amqp(url):
        own = (
            f"Name your RabbitMQ: `export {variable}=amqp://USER:PASSWORD@HOST:5672//`. For one on this machine: "
            "`sudo apt-get install rabbitmq-server`. Without any: `yolo-server --worker --embedded`."
        )
    certificate = "If the server asks for a certificate, add `&ssl_certfile=FILE&ssl_keyfile=FILE`."
    text = str(error)
    causes = list(_chain(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    untrusted = next((cause.verify_message for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), "")
    if untrusted:
        return (
            f"the server's certificate is not trusted: {untrusted.rstrip('.')}",
            "Give the authority that signed it, `&ssl_ca_certs=/PATH/ca.pem` at the end of the URL, and the host by "
            "the name that the certificate holds.",
        )
    if isinstance(error, _SpeaksPlain):
        return "the server speaks without TLS", "Write redis:// instead of rediss://, or give the server a certificate."
    if has(ssl.SSLError):
        return f"no TLS connection: {_reason(causes)}", certificate
    if isinstance(error, _SpeaksTls):
        return "the server speaks TLS", "Write rediss:// instead of redis://, with `?ssl_cert_reqs=required`."
    if isinstance(error, exceptions.InvalidResponse):
        return "something answers there, but it is not a Redis", own
    if isinstance(error, exceptions.BusyLoadingError):
        return "the server is still loading its data from disk", "Try again in a few seconds."
    if is_amqp(url) and (found := amqp_preflight.explain(causes, variable)) is not None:
        return found
    if folder_results.is_folder(url) or broker_folder(url) is not None:
        return f"can't be written: {_reason(causes)}", f"Name a folder that workers and programs share: {variable}."
    if is_database(url):
        return f"the database can't be used: {_reason(causes[:1])}", f"Name one that all machines reach: {variable}."
    if is_sqs(url):
        return (
            f"SQS does not serve: {error}",
            "Check the region (`?region=`, AWS_REGION) and the credentials, which must be allowed to create, read and "
            "write queues (docs/operations.md).",
        )
    if has(socket.gaierror):
        return "the name of the host is not known", f"Check its spelling and the network. {own}"
    if has(ConnectionRefusedError):
        return "refused: nothing listens there", own
    if any(isinstance(cause, OSError) and cause.errno in _NO_WAY for cause in causes):
        return f"no way to that host: {_reason(causes)}", f"Check the address and the network. {own}"
    if has(FileNotFoundError) and url.startswith("rediss://"):
        return "a file of ssl_ca_certs, ssl_certfile or ssl_keyfile does not exist", "Correct its path in the URL."
    if has(FileNotFoundError):
        return "there is no such socket: the server that made it is gone", own
    if has(PermissionError):
        return "the socket or a file of the URL belongs to another user", "Run this as that user, or use a port."
    if has(TimeoutError, exceptions.TimeoutError):
        return (
            "no answer in time",
            "The server hangs or is overloaded, or a firewall drops what is sent to it. "
            f"{_LOOK_AMQP if is_amqp(url) else _LOOK_REDIS} {own}",
        )
    server = "RabbitMQ" if is_amqp(url) else "Redis"
    return _explain_answer(error, text, variable, own) or (
        f"the connection broke without an answer ({_reason(causes)})",
        certificate
        if url.startswith(("rediss://", "amqps://"))
        else f"It is not a {server}, or it is just restarting. {own}",
    )


def _explain_answer(error: BaseException, text: str, variable: str, own: str) -> tuple[str, str] | None:
    """Do the same for an answer of the server itself; None if there was none."""
    if isinstance(error, exceptions.AuthenticationError):
        with_password = f"`export {variable}=redis://USER:PASSWORD@HOST:6379/0`"
        if "required" in text.lower():
            return "authentication required: the URL contains no password", f"Give one: {with_password}."
        if "without any password" in text:
            return "the URL contains a password, but the server has none", "Remove it from the URL."
        return (
            "wrong user or password",
            f"Correct them: {with_password}; in a password, write @ as %40, / as %2F, : as %3A.",
        )
    if isinstance(error, exceptions.NoPermissionError):
        return f"this user may not do that ({error})", "docs/redis/users.acl has users with what each needs."
    if isinstance(error, exceptions.ReadOnlyError):
        return (
            "it is a read-only replica, and jobs need the primary",
            f"Name that: `export {variable}=redis://PRIMARY:6379/0`.",
        )
    if isinstance(error, exceptions.OutOfMemoryError):
        return (
            "its memory is full, so it refuses every write",
            "See what fills it: `redis-cli --bigkeys`. Give it more: `redis-cli config set maxmemory 1gb`.",
        )
    if "MISCONF" in text:
        return (
            "it can't write to its disk (full, or no permission) and refuses every write",
            "Free space there: `redis-cli config get dir`, then `df -h`. The reason is in the server's log.",
        )
    if isinstance(error, exceptions.MovedError | exceptions.ClusterError):
        return "it is a Redis Cluster, which Celery can't use as a broker", own
    if "max number of clients" in text:
        return "it has no connection left", "Close clients, or `redis-cli config set maxclients 10000`."
    if "DB index is out of range" in text:
        return "it has no database of that number", "Use /0 at the end of the URL."
    if isinstance(error, exceptions.ConnectionError | AmqpFailed) or type(error) is OSError:
        return None
    return f"it answers with an error: {text}", "The server's log may say more."


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _reason(causes: list[BaseException]) -> str:
    last = causes[-1]
    if isinstance(last, ssl.SSLError) and last.reason:
        return last.reason.replace("_", " ").lower()
    return ((last.strerror if isinstance(last, OSError) else None) or str(last)).lower().rstrip(".")
