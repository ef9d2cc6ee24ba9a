"""What a process should find in its environment while it loads the libraries."""

from __future__ import annotations

from collections.abc import Mapping


def additions(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to an environment; what the user has set counts.

    NumPy's BLAS would start threads, which spin for 50 ms of computing time, while each of our threads multiplies its
    own small matrices; with one thread, results also have the same bytes everywhere. Pydantic would read the metadata
    of all installed packages in search of plugins.
    """
    wanted = {"OPENBLAS_NUM_THREADS": "1", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    if "OMP_NUM_THREADS" in environment:
        del wanted["OPENBLAS_NUM_THREADS"]
    return {name: value for name, value in wanted.items() if name not in environment}
