"""Serves the metrics of `yolo-engine run`. Needs the extra `metrics`; a run without --metrics does not import it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from engine.engine import Engine
from engine.observe import prometheus
from engine.observe.address import Address
from engine.observe.meter import Meter
from engine.text.say import say


def serving(asked: str) -> Callable[[Engine], contextlib.AbstractContextManager[None]]:
    """Return a function whose context manager serves an engine's metrics at the address `asked`. Raises ConfigError if
    it is none."""
    address = Address.of(asked)

    @contextlib.contextmanager
    def serve(engine: Engine) -> Iterator[None]:
        meter = Meter(engine)
        with prometheus.served(address, lambda: prometheus.families(meter.read())) as here:
            say(f"Metrics: http://{here}/metrics", err=True)
            yield

    return serve
