"""Requests to the broker that wait at most a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from orchestrator.broker.opened import open_broker
from orchestrator.broker.preflight import MAX_LOOK_S, begin, extra_s, preflight, within
from orchestrator.broker.view import Broker
from orchestrator.errors import JobError
from orchestrator.settings import Settings

_ASK_S, _ASK_TRIPS = 4.0, 20

T = TypeVar("T")


def ask(given: Settings, question: Callable[[Broker], T]) -> T:
    """Ask the broker. Raises TimeoutError, and the errors of the broker's client."""

    def answer() -> T:
        with open_broker(given) as broker:
            return question(broker)

    return within(_ASK_S + extra_s(given.broker_url, _ASK_TRIPS), answer)


def broker_note(given: Settings) -> Callable[[], str | None]:
    """Start checking the broker. The returned function waits for the outcome: None, or what is wrong."""
    answer = begin(lambda: preflight(given.broker_url, write=False))

    def wait() -> str | None:
        try:
            answer(MAX_LOOK_S)
        except (JobError, TimeoutError) as error:
            return str(error)
        return None

    return wait
