"""Metrics of a run: how far it is and where its time goes, as numbers for Prometheus.

`meter` reads an engine into a `snapshot`; a worker adds up those of its engine processes, without an engine of its own.
`prometheus` exposes one under the names in docs/metrics.md, at an `address`. Import each module only where it is
needed: `meter` loads the engine, `prometheus` needs the extra `metrics`.
"""

__all__ = ["address", "meter", "prometheus", "snapshot"]
