"""Celery's store of results in a folder, with files that are whole or not there."""

from __future__ import annotations

import os
import secrets

from celery.backends.filesystem import FilesystemBackend


class Backend(FilesystemBackend):  # type: ignore[misc]
    """Celery's store writes a result where it is read meanwhile; this one renames it there."""

    supports_autoexpire = True
    """Workers remove what is old (`folder_results.sweep`); else Beat would send a task of Celery's own for it."""

    def set(self, key: bytes, value: bytes | str) -> None:
        path = self._filename(key)
        part = path + b"." + secrets.token_hex(8).encode()
        with open(part, "xb") as file:
            file.write(value.encode() if isinstance(value, str) else value)
        os.replace(part, path)
