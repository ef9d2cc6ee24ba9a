"""Paths of objects, with what of pathlib the names in a job's directory need."""

from __future__ import annotations

from dataclasses import dataclass

from engine.storage.urls import Place


@dataclass(frozen=True, order=True)
class StoredPath:
    """An object, or the prefix of some, below a bucket."""

    place: Place

    def __truediv__(self, name: str) -> StoredPath:
        return StoredPath(self.place.below(name))

    def __str__(self) -> str:
        return self.place.url

    @property
    def name(self) -> str:
        """Return what follows the last slash."""
        return self.place.key.rpartition("/")[2]

    @property
    def parent(self) -> StoredPath:
        """Return the prefix that this is right below; a bucket is its own."""
        return StoredPath(self.place._replace(key=self.place.key.rpartition("/")[0]))

    def with_name(self, name: str) -> StoredPath:
        """Return the path beside this one."""
        return self.parent / name
