"""A run as others watch it: how far it is and where its time goes, as numbers for Prometheus.

`meter` reads an engine into a `snapshot`; a worker adds those of its engine processes up, without an engine of its own.
`prometheus` shows one under the names of docs/metrics.md, at an `address`. Each is loaded by who needs it:
the meter brings the engine, `prometheus` needs the extra `metrics`.
"""

__all__ = ["address", "meter", "prometheus", "snapshot"]
