"""Checks whether a RabbitMQ serves us, and why not (for preflight.py)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import amqp
from amqp import exceptions

from orchestrator.broker.amqp_broker import Address


class _TakesNothing(OSError):
    """The server confirms no message because its memory or disk is at the limit."""


def asked(url: str, answer_s: float, *, write: bool) -> Iterator[float | None]:
    """Ask a series of questions; yield, after a plain one, the seconds until its answer, otherwise None. Raises
    py-amqp's errors."""
    connection = Address.of(url).connect(answer_s)
    try:
        yield None
        begun = time.monotonic()
        channel = connection.channel()
        yield time.monotonic() - begun
        if write:
            try:
                for _ in range(2):  # a full server accepts the first message of a connection, and no other
                    channel.basic_publish(amqp.Message(""), routing_key="yolo.probe.nobody")
            except exceptions.AccessRefused:  # a user without just this permission passes
                pass
            except TimeoutError as error:
                raise _TakesNothing from error
            yield None
    except BaseException:
        connection.collect()  # a proper close would wait for another answer
        raise
    with contextlib.suppress(Exception):
        connection.close()


def explain(causes: Sequence[BaseException], variable: str) -> tuple[str, str] | None:
    """Return what a RabbitMQ answered and the remedy; None if the failure was not its answer."""

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if has(_TakesNothing):
        return (
            "it takes no messages: its memory or its disk is at the limit",
            "See which: `rabbitmq-diagnostics alarms`. Give it room; it continues by itself.",
        )
    if has(exceptions.AccessRefused):
        return (
            "wrong user or password, or this user may not do that",
            f"Correct them: `export {variable}=amqp://USER:PASSWORD@HOST:5672//`; in a password, write @ as %40, / as "
            "%2F, : as %3A. The user guest may come from the server's own machine alone. Rights: "
            '`rabbitmqctl set_permissions -p / USER ".*" ".*" ".*"`.',
        )
    if has(exceptions.NotAllowed, exceptions.NotFound):
        return (
            "it has no such virtual host, or none for this user",
            "The name follows the port: amqp://HOST:5672/NAME; the default one is called /, so its URL ends in //. "
            "`rabbitmqctl list_vhosts` shows them.",
        )
    if has(exceptions.PreconditionFailed):
        return (
            "a queue was declared in another way by another program",
            "Delete it: `rabbitmqctl delete_queue yolo`; workers create it again, and jobs are sent again.",
        )
    return None
