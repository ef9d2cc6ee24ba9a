"""URLs of objects: which ones there are, and their parts."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from engine.errors import StorageError
from engine.install import extra

if TYPE_CHECKING:
    from engine.storage.stores import Store, StoredObject

SCHEMES = ("s3", "gs", "az")

# One slash is what `Path` leaves of two.
_OBJECT = re.compile(rf"({'|'.join(SCHEMES)}):/{{1,2}}([^/]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_FILE = re.compile(r"file://(?:localhost)?(/.*)", re.IGNORECASE | re.DOTALL)


class Place(NamedTuple):
    """A place in a bucket: an object, or the prefix of some."""

    scheme: str
    bucket: str
    key: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def below(self, name: str) -> Place:
        """Return the place of a name below this prefix."""
        return self._replace(key=f"{self.key.rstrip('/')}/{name}".lstrip("/"))


def is_object(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is the URL of an object or a prefix, also where `Path` has shortened it."""
    return _OBJECT.fullmatch(os.fspath(path)) is not None


def place_of(path: str | os.PathLike[str]) -> Place | None:
    """Return the parts of an object's URL; None for any other path."""
    if (found := _OBJECT.fullmatch(os.fspath(path))) is None:
        return None
    return Place(found[1].lower(), found[2], found[3] or "")


def is_below(place: Place, root: str | os.PathLike[str]) -> bool:
    """Return whether a place is the one that `root` names, or below it as a prefix. No folder has one below it."""
    top = place_of(root)
    if top is None or (top.scheme, top.bucket) != (place.scheme, place.bucket):
        return False
    prefix = top.key.rstrip("/")
    return not prefix or place.key.rstrip("/") == prefix or place.key.startswith(f"{prefix}/")


def path_of(given: str) -> str:
    """Return the path that a `file://` URL names; anything else as it is."""
    return given if (found := _FILE.fullmatch(given)) is None else unquote(found[1])


def store_of(place: Place) -> Store:
    """Return the store of a place, whose client is loaded with the first one. Raises StorageError."""
    try:
        from engine.storage.stores import store  # and obstore with it: a run over files goes without
    except ImportError as error:
        raise StorageError(f"needs what reads object storage, which is not installed: {extra('storage')}") from error
    return store(place.scheme, place.bucket)


def opened(place: Place) -> StoredObject:
    """Return an object, open for reading. Raises StorageError."""
    return store_of(place).open(place.key)
