"""Celery's file system result store, with atomic files."""

from __future__ import annotations

import os
import secrets

from celery.backends.filesystem import FilesystemBackend

from orchestrator.broker.folder_results import sweep


class Backend(FilesystemBackend):  # type: ignore[misc]
    """Writes a result under another name and renames it; Celery's own store writes in place while others read."""

    supports_autoexpire = True
    """Workers remove old results; otherwise Beat would send Celery's own task for that."""

    def cleanup(self) -> None:
        sweep(self.url, self.expires)

    def set(self, key: bytes, value: bytes | str) -> None:
        path = self._filename(key)
        part = path + b"." + secrets.token_hex(8).encode()
        with open(part, "xb") as file:
            file.write(value.encode() if isinstance(value, str) else value)
        os.replace(part, path)
