"""Inputs opened once, on disk or in storage (engine/storage): what reads them need not know where they lie."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import SourceError
from engine.files.opened import OpenedFile, PlacedReader
from engine.storage.urls import Place, is_below, opened, place_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

    from engine.storage.stores import StoredObject


def open_input(path: str, roots: Sequence[Path] = ()) -> OpenedFile:
    """Open a file, or an object by its URL; with `roots`, only below one of them. Raises SourceError."""
    place = place_of(path)
    return OpenedFile(path, roots) if place is None else OpenedObject(place, roots)


class OpenedObject(OpenedFile):
    """An object, open for reading until `close`: by ranges, and always of the version that was found first."""

    def __init__(self, place: Place, roots: Sequence[Path] = ()) -> None:
        """Open an object; with `roots`, only below one that is a URL. Raises SourceError."""
        self.path = place.url
        if roots and not any(is_below(place, root) for root in roots):
            raise SourceError(f"is outside the folders that may be read ({os.pathsep.join(map(str, roots))})")
        self._object: StoredObject = opened(place)
        self.etag = self._object.etag

    @property
    def size_bytes(self) -> int:
        return self._object.size

    def size_now(self) -> int:
        """Return the size: one that is read never changes."""
        return self._object.size

    @property
    def stamp(self) -> int | str:
        return self._object.etag

    def changed(self) -> str | None:
        """Return None: a request for an object that has changed since is refused."""
        return None

    @property
    def problem(self) -> SourceError | None:
        return self._object.problem

    def reader(self) -> io.RawIOBase:
        """Return a reader that is at the beginning. It does not outlive the object."""
        return ObjectReader(self._object)

    def close(self) -> None:
        if hasattr(self, "_object"):
            self._object.close()


class ObjectReader(PlacedReader):
    """Reads an open object."""

    def __init__(self, source: StoredObject) -> None:
        super().__init__(source.place.key)
        self._source = source

    def _read_at(self, place: int, size: int) -> bytes:
        return self._source.read(place, size)

    def _end(self) -> int:
        return self._source.size

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
