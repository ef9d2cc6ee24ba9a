"""The queues of an Amazon SQS, or of a server that speaks like it: `sqs://[KEY:SECRET@][HOST[:PORT]][/?region=..]`.

Without a host it is AWS, and without a key botocore looks for credentials and region as it always does (AWS_PROFILE,
AWS_ACCESS_KEY_ID, the machine's role). `prefix` (`yolo-engine-`) begins the names of all queues, `tls=false` speaks
plainly to HOST.

SQS has no priorities: each queue is one per level, and who takes a message asks the lowest level first. A message that
is taken is hidden for the visibility timeout, which its worker renews. SQS may deliver a message twice, and does so
after 12 hours whatever is renewed; the second one finds its step taken.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from engine.install import extra
from orchestrator.broker.connection import without_password
from orchestrator.errors import BrokerUrlError

LEVELS = (0, 3, 6, 9)
"""The levels at which messages wait (publish.py); a message of another level waits at the next lower of them."""

_LONGEST_S = 43_200  # that SQS hides a message

held_here: dict[str, tuple[str, str]] = {}
"""URL of the queue and receipt of each message that this process holds, by delivery tag."""


class SqsFailed(ConnectionError):
    """An error of SQS or of the way to it; the cause is botocore's error."""


@dataclass(frozen=True)
class Taken:
    """A message that was taken: its text, and by what it is acknowledged."""

    raw: bytes
    queue_url: str
    receipt: str


class SqsQueues:
    """The queues of one account or server. Thread-safe. Methods raise SqsFailed."""

    def __init__(self, url: str, *, hidden_s: float = 600.0, timeout_s: float = 4.0) -> None:
        """Parse the URL; nothing is sent yet. Raises BrokerUrlError."""
        shown = without_password(url)
        try:
            parts = urlsplit("http://" + url.partition("://")[2])
            host, port, query = parts.hostname, parts.port, dict(parse_qsl(parts.query))
        except ValueError:
            raise BrokerUrlError(f"{shown}: host or port can't be read. In a key, write / as %2F, + as %2B.") from None
        self._prefix = query.get("prefix", "yolo-engine-")
        self._hidden_s = min(max(1, round(hidden_s)), _LONGEST_S)
        scheme = "http" if query.get("tls", "true").lower() == "false" else "https"
        self._options: dict[str, object] = {
            "endpoint_url": None if host is None else f"{scheme}://{host}" + (f":{port}" if port else ""),
            "region_name": query.get("region"),
            "aws_access_key_id": unquote(parts.username) if parts.username else None,
            "aws_secret_access_key": unquote(parts.password) if parts.password else None,
        }
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._client: Any = None
        self._urls: dict[tuple[str, int], str] = {}
        load()

    def put(self, queue: str, level: int, raw: bytes) -> None:
        with _translated():
            url = self._url(queue, max(each for each in LEVELS if each <= max(0, level)))
            self._sqs.send_message(QueueUrl=url, MessageBody=raw.decode())

    def take(self, queue: str) -> Taken | None:
        """Take the next message, and hide it from others for a while; None if there is none."""
        for level in LEVELS:
            with _translated():
                url = self._url(queue, level)
                answer = self._sqs.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=1, VisibilityTimeout=self._hidden_s, WaitTimeSeconds=0
                )
            for message in answer.get("Messages", ()):
                return Taken(str(message["Body"]).encode(), url, str(message["ReceiptHandle"]))
        return None

    def done(self, queue_url: str, receipt: str) -> None:
        """Remove a message that was taken; one that is gone is no error."""
        with _translated():
            self._sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=receipt)

    def hide(self, queue_url: str, receipt: str, *, for_s: int | None = None) -> None:
        """Hide a message that was taken from now on; for 0 s: give it back."""
        seconds = self._hidden_s if for_s is None else for_s
        with _translated():
            self._sqs.change_message_visibility(QueueUrl=queue_url, ReceiptHandle=receipt, VisibilityTimeout=seconds)

    def length(self, queue: str) -> int:
        """Return about how many messages wait."""
        name = "ApproximateNumberOfMessages"
        found = 0
        for level in LEVELS:
            with _translated():
                asked = self._sqs.get_queue_attributes(QueueUrl=self._url(queue, level), AttributeNames=[name])
            found += int(asked["Attributes"][name])
        return found

    def take_away(self, queue: str) -> Iterator[bytes]:
        """Remove the messages that wait, one by one."""
        while (taken := self.take(queue)) is not None:
            self.done(taken.queue_url, taken.receipt)
            yield taken.raw

    def probe(self, queue: str) -> None:
        """Check that a queue can be made and asked."""
        self.length(queue)

    @property
    def _sqs(self) -> Any:
        with self._lock:
            if self._client is None:
                botocore = load()
                wait = botocore.config.Config(
                    connect_timeout=self._timeout_s, read_timeout=self._timeout_s, retries={"max_attempts": 1}
                )
                self._client = botocore.session.Session().create_client("sqs", config=wait, **self._options)
            return self._client

    def _url(self, queue: str, level: int) -> str:
        """Return the URL of a queue, which is made if it is not there."""
        if (queue, level) not in self._urls:
            made = self._sqs.create_queue(QueueName=f"{self._prefix}{queue}-{level}")
            self._urls[queue, level] = str(made["QueueUrl"])
        return self._urls[queue, level]


def load() -> ModuleType:
    """Return botocore, AWS's own client, with its modules. Raises BrokerUrlError if the extra is not installed."""
    try:
        import botocore.session
    except ImportError as error:
        raise BrokerUrlError(f"An sqs:// broker needs botocore: {extra('sqs')} ({error}).") from error
    return cast("ModuleType", botocore)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    errors = load().exceptions
    try:
        yield
    except (errors.BotoCoreError, errors.ClientError) as error:
        raise SqsFailed(str(error)) from error
