"""Celery's database result store, which reads nothing but JSON."""

from __future__ import annotations

from celery.backends.database import DatabaseBackend

# Of a worker, with pauses of up to 10 s: about a quarter of an hour.
_TRIES = 100


class Backend(DatabaseBackend):  # type: ignore[misc]
    """Never unpickles what is in the database, as Celery's own store does with what older versions wrote: whoever may
    write there could run code. A worker waits for a database that is away."""

    supports_autoexpire = True
    """Workers remove old results; otherwise Beat would send Celery's own task for that."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        if self.app.conf.value_set_for("result_backend_always_retry"):
            self.max_retries = _TRIES

    def _decode_stored_result(self, payload: bytes | None) -> object:
        return None if payload is None else self.decode(payload)
