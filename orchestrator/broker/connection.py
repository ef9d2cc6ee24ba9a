"""The URL of a broker or result store: a client for it, and a form of it that may be logged.

Its forms:

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]
    rediss://[USER:PASSWORD@]HOST[:PORT][/DB]?ssl_cert_reqs=required[&ssl_ca_certs=FILE]
    redis+socket:///PATH?virtual_host=DB        a unix socket, as Celery writes it
    unix:///PATH?db=DB                          a unix socket, as redis-py writes it
"""

from __future__ import annotations

import re
from typing import Literal, TypedDict
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engine.text import masks
from orchestrator.errors import BrokerUrlError
from orchestrator.settings import broker_folder

_SCHEMES = ("redis", "rediss", "redis+socket", "unix")
_CERT_REQS = {"CERT_REQUIRED": "required", "CERT_OPTIONAL": "optional", "CERT_NONE": "none"}
_SSL_FILES: tuple[Literal["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"], ...] = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
)
# Transports of kombu that can't carry jobs; what each lacks was tried or is documented.
_CAN_NOT = {
    "memory": "only one process can see it",
    "sqla": "Celery removes a message from a database when a worker takes it, and there are no priorities",
    "sqlalchemy": "Celery removes a message from a database when a worker takes it, and there are no priorities",
}
_NEXT_URL = re.compile(r";(?=[a-z][a-z0-9+]*://)")


class _Parameters(TypedDict, total=False):
    """The parts of a URL, as arguments of redis-py."""

    connection_class: type[redis.Connection] | type[redis.UnixDomainSocketConnection]
    username: str | None
    password: str | None
    host: str
    port: int
    path: str
    db: int
    socket_connect_timeout: float
    ssl_cert_reqs: str
    ssl_check_hostname: bool
    ssl_ca_certs: str
    ssl_certfile: str
    ssl_keyfile: str


def without_password(url: str) -> str:
    """Return a URL, or several separated by `;`, with passwords masked."""
    return ";".join(map(_one_without_password, _NEXT_URL.split(url)))


def _one_without_password(url: str) -> str:
    if "@" in url and "://" not in url:  # neither a URL nor a path
        return f"***@{url.rpartition('@')[2]}"
    return masks.without_password(url)


def socket_url(path: str, db: int = 0) -> str:
    """Return the URL of a server on a unix socket, in a form that Celery accepts for brokers and result stores."""
    return f"redis+socket://{quote(path)}?virtual_host={db}"


def client(url: str, timeout_s: float = 2.0) -> redis.Redis:
    """Return a redis-py client that decodes text, waits at most `timeout_s` for each answer, and never retries.

    Nothing is sent yet. Raises BrokerUrlError for an unusable URL.
    """
    return redis.Redis(
        connection_pool=redis.ConnectionPool(
            **_parameters(url, timeout_s),
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            protocol=2,  # RESP3 begins with a command unknown to old servers and some proxies
            driver_info=None,  # send nothing but the requests
            decode_responses=True,
            encoding_errors="backslashreplace",
        )
    )


def one_broker(url: str) -> None:
    """Check that a URL names one broker, of a kind that can carry jobs. Raises BrokerUrlError."""
    shown = without_password(url)
    if ";" in url and _NEXT_URL.search(url):
        raise BrokerUrlError(f"{shown}: this names several brokers. Name one: jobs need one place that holds them.")
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme in (*_SCHEMES, "amqp", "amqps", "sqs"):
        return
    if (folder := broker_folder(url)) is not None:
        if folder.is_absolute():
            return
        raise BrokerUrlError(f"{shown}: name a folder by its whole path, filesystem:///srv/yolo/queue.")
    kind = scheme.partition("+")[0]
    if kind in _CAN_NOT:
        raise BrokerUrlError(
            f"{shown}: {_CAN_NOT[kind]}, so it can't carry jobs. Name a Redis (redis://localhost:6379/0), a RabbitMQ "
            "(amqp://localhost//) or a folder that all machines share (filesystem:///srv/yolo/queue), or have this "
            "machine bring its own: `yolo-server --worker --embedded`."
        )
    raise BrokerUrlError(
        f"{shown}: a broker's URL must start with redis://, rediss://, redis+socket://, amqp://, amqps://, "
        "sqs:// or filesystem://, "
        f"like redis://localhost:6379/0. Got {scheme or 'none of them'}."
    )


def _parameters(url: str, timeout_s: float) -> _Parameters:
    shown = without_password(url)
    one_broker(url)
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES:
        raise BrokerUrlError(f"{shown}: this is not the URL of a Redis.")
    try:
        # Parsed like http, as Celery does, so that user and password are also found before the path of a socket.
        parts = urlsplit("http://" + url.partition("://")[2])
        host, port = parts.hostname, parts.port
        query = dict(parse_qsl(parts.query))
    except ValueError:
        # The cause might quote a part of the password.
        raise BrokerUrlError(
            f"{shown}: host or port can't be read. In a password, write / as %2F, @ as %40, : as %3A, # as %23."
        ) from None
    found: _Parameters = {
        "username": unquote(parts.username or "") or query.get("username"),
        "password": unquote(parts.password or "") or query.get("password"),
    }
    if scheme in ("redis+socket", "unix"):
        if len(parts.path) < 2 or host:
            raise BrokerUrlError(f"{shown}: a socket's URL has three slashes and a path, {scheme}:///run/redis.sock.")
        database = query.get("virtual_host", query.get("db", "0"))
        found["connection_class"], found["path"] = redis.UnixDomainSocketConnection, unquote(parts.path)
    else:
        database = query.get("db") or unquote(parts.path).strip("/") or query.get("virtual_host", "0")
        found["host"], found["port"] = unquote(host or "localhost"), port or 6379
        found["socket_connect_timeout"] = timeout_s
    if not database.isdecimal():
        raise BrokerUrlError(f"{shown}: the database must be a number, like in redis://localhost:6379/0.")
    if scheme == "rediss":
        found.update(_tls_parameters(query, shown))
        found["connection_class"] = redis.SSLConnection
    found["db"] = int(database)
    return found


def _tls_parameters(query: dict[str, str], shown: str) -> _Parameters:
    given = query.get("ssl_cert_reqs")
    required = _CERT_REQS.get(given or "", given)
    if required not in _CERT_REQS.values():
        # Celery's result store refuses a URL that leaves it open.
        raise BrokerUrlError(
            f"{shown}: a rediss:// URL must say how the server's certificate is checked. Add ?ssl_cert_reqs=required, "
            "and &ssl_ca_certs=/PATH/ca.pem for a certificate authority of your own."
        )
    found: _Parameters = {"ssl_cert_reqs": str(required)}
    for key in _SSL_FILES:
        if key in query:
            found[key] = query[key]
    if "ssl_check_hostname" in query:
        found["ssl_check_hostname"] = query["ssl_check_hostname"].lower() != "false"
    return found
