"""A Snapshot under the names of docs/metrics.md, and the server that shows it. Needs the extra `metrics`."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping

from engine.errors import ConfigError, describe_os_error
from engine.install import extra
from engine.observe.address import Address
from engine.observe.snapshot import Snapshot

if importlib.util.find_spec("prometheus_client") is None:
    raise ConfigError(f"--metrics needs prometheus_client, which is not installed: {extra('metrics')}.")

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Families = Callable[[], Iterable[Metric]]


def counter(name: str, what: str, value: float) -> Metric:
    """Return a number that only grows, `name`_total."""
    return CounterMetricFamily(name, what, value=value)


def gauge(name: str, what: str, value: float) -> Metric:
    """Return a number of the moment."""
    return GaugeMetricFamily(name, what, value=value)


def counters(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return numbers that only grow, by a label. Without any, the name is there all the same."""
    family = CounterMetricFamily(name, what, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def gauges(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return numbers of the moment, by a label. Without any, the name is there all the same."""
    family = GaugeMetricFamily(name, what, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Give what is told of engines."""
    yield counter("yolo_frames", "Frames done, inferred or not.", snapshot.frames)
    yield gauge("yolo_fps", "Frames per second, over the last seconds.", snapshot.fps)
    yield gauge("yolo_videos_active", "Videos that are worked on.", snapshot.active)
    yield counters("yolo_videos", "Videos that have ended, by status.", "status", snapshot.ended)
    yield counter("yolo_engine_cpu_seconds", "CPU time of engine processes.", snapshot.cpu_s)
    yield gauge("yolo_engine_memory_bytes", "Memory that engine processes hold.", snapshot.memory_bytes)
    seconds = CounterMetricFamily("yolo_stage_seconds", "Time of a stage in all its threads.", labels=_STAGE)
    shares = GaugeMetricFamily("yolo_stage_busy_share", "Share of its threads' time, 0 to 1.", labels=_STAGE)
    for stage in snapshot.stages:
        seconds.add_metric((stage.threads, stage.stage), stage.seconds)
        shares.add_metric((stage.threads, stage.stage), stage.share)
    yield seconds
    yield shares
    yield gauges("yolo_pipeline_queue", "Frames that wait between two stages.", "queue", snapshot.queues)
    yield counters("yolo_gpu_seconds", "Time of the GPU, by what it did.", "part", snapshot.gpu_s)


_STAGE = ("threads", "stage")


class _Collected(Collector):
    """What is asked for again at each scrape."""

    def __init__(self, given: Families) -> None:
        self._given = given

    def collect(self) -> Iterable[Metric]:
        return self._given()


@contextlib.contextmanager
def served(address: Address, given: Families) -> Iterator[Address]:
    """Serve metrics for a block, as http://ADDRESS/metrics, and give the address with its port. `given` is asked at
    each scrape. Raises ConfigError if nothing can listen there."""
    registry = CollectorRegistry()
    registry.register(_Collected(given))
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(address.port, address.host, registry)
    except OSError as error:
        raise ConfigError(f"--metrics {address}: can't listen there: {describe_os_error(error)}.") from error
    try:
        yield Address(address.host, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
