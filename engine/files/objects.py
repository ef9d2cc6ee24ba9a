"""Inputs opened once, on disk or in storage (engine/storage): what reads them need not know where they lie."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import SourceError
from engine.files.opened import OpenedFile
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


class ObjectReader(io.RawIOBase):
    """Reads an object from a place of its own. Closing it leaves the object open."""

    def __init__(self, source: StoredObject) -> None:
        self._source = source
        self._place = 0
        self.name = f"input{os.path.splitext(source.place.key)[1]}"  # as that of a file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data = self._source.read(self._place, size)
        self._place += len(data)
        return data

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(1 << 20), b""))

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"no place before the first byte: {base + offset}")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place
