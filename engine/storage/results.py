"""Finished results in storage, for commands that read a folder: a copy of them on disk.

The copy is in the user's cache, and is brought up to date by etags whenever a command needs it: what lies below a
manifest and is named there, or is text. Annotated videos are files without content, of the same size, unless their
images are needed: then they are copied for the time of one command. So is all else. What a command writes, replaces or
removes in the copy goes to storage once it has succeeded, if the object is still the one that was copied.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from engine.errors import EngineError, InputError, OutputError, StorageError, describe_os_error
from engine.storage.lock import STATE, Lock, table_of
from engine.storage.shared_output import Sent, fetched, files_in
from engine.storage.spooled import FREED_SUFFIX, cache_of, free, with_urls, write_note
from engine.storage.urls import Place, place_of, store_of
from engine.storage.written import MANIFEST, named_in
from engine.text.within import with_texts
from models.file_lock import held

if TYPE_CHECKING:
    from engine.storage.stores import ObjectFacts

_NOTES = ".copied.json"
_TEXTS = (".json", ".jsonl", ".csv", ".txt", ".html", ".xml")
_AT_ONCE = 8


@dataclass(frozen=True)
class Results:
    """The folder of results. `url` is where they are, if that is in storage."""

    folder: Path
    url: str | None = None

    def named(self, text: str) -> str:
        """Return a text in which the folder has the name that people know."""
        return text if self.url is None else text.replace(str(self.folder), self.url)

    def told(self, value: object) -> object:
        """Return a value of JSON in whose texts the folder has the name that people know."""
        return with_texts(value, self.named)


@contextlib.contextmanager
def results_at(given: Path, *, videos: bool = False) -> Iterator[Results]:
    """Have results in a folder for the length of a block: in the given one, or if that is a URL, in a copy. `videos`:
    the annotated ones are looked at. Raises InputError if they can't be copied, and OutputError if what the block has
    made can't be sent."""
    place = place_of(given)
    if place is None:
        yield Results(given)
        return
    copy = _Copy(place)
    with copy.alone():
        copy.refresh(videos)
        results = Results(copy.folder, place.url.rstrip("/"))
        try:
            yield results
        except EngineError as error:
            error.args = tuple(results.named(each) if isinstance(each, str) else each for each in error.args)
            raise
        else:
            copy.send()
        finally:
            copy.free_videos()


class _Copy:
    """The copy of one place on this machine."""

    def __init__(self, place: Place) -> None:
        self.place = place._replace(key=place.key.rstrip("/"))
        home = cache_of("results", place.url)
        self.folder = home / (PurePosixPath(self.place.key).name or place.bucket)  # its name is shown
        self._lock = home / "lock"
        self._notes: dict[str, Sent] = {}

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let other commands over the same place wait. Raises OutputError."""
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(held(self._lock))
            except OSError as error:
                raise OutputError(f"{self.folder} can't be written: {describe_os_error(error)}.") from error
            yield

    def refresh(self, videos: bool) -> None:
        """Make the copy what is there, with the content of annotated `videos` if they are needed. Raises InputError."""
        try:
            self._notes = self._noted()
            there = self._there()
            manifests = {name: facts for name, facts in there.items() if PurePosixPath(name).name == MANIFEST}
            self._copy(manifests, manifests)
            self._copy(there, self._needed(there, manifests, videos))
            self._notes = {name: self._notes[name] for name in there}
            for path in files_in(self.folder):
                if self._name(path) not in there:
                    path.unlink()
            self._keep_notes()
        except StorageError as error:
            raise InputError(f"{self.place.url} {error}.") from error
        except OSError as error:
            why = describe_os_error(error)
            raise InputError(f"{self.place.url} can't be copied to {self.folder}: {why}.") from error

    def send(self) -> None:
        """Send what is new or other than it was copied, and delete what is gone, the manifest last. Raises
        OutputError."""
        files = {self._name(path): path for path in files_in(self.folder)}
        changed = [name for name, path in files.items() if name not in self._notes or not self._notes[name].is_of(path)]
        gone = [name for name in self._notes if name not in files]
        if not changed and not gone:
            return
        store = store_of(self.place)
        lock = Lock(store, self.place, secrets.token_hex(8))
        try:
            lock.take()
            try:
                for name in sorted(gone):
                    self._check(name)
                    store.delete(self.place.below(name).key)
                    del self._notes[name]
                for name in sorted(changed, key=lambda name: (name == MANIFEST, name)):
                    self._put(name, files[name])
            finally:
                lock.give_back()
                self._keep_notes()
        except StorageError as error:
            raise OutputError(f"{self.place.url} {error}. What was made is in {self.folder}.") from error

    def free_videos(self) -> None:
        """Give back the disk that annotated videos take. Best effort."""
        with contextlib.suppress(OSError):
            for name, note in self._notes.items():
                path = self.folder / name
                if name.endswith(FREED_SUFFIX) and not note.freed and note.is_of(path):
                    free(path)
                    self._notes[name] = replace(note, freed=True)
            self._keep_notes()

    def _there(self) -> dict[str, ObjectFacts]:
        """Return the objects at and below the places of manifests, by name; what names no file is left out. Raises
        StorageError."""
        prefix, found = f"{self.place.key}/" if self.place.key else "", {}
        for facts in store_of(self.place).list(prefix):
            name = facts.key.removeprefix(prefix)
            parts = PurePosixPath(name).parts
            if parts[:1] == (STATE,):
                (self.folder / STATE).mkdir(exist_ok=True)  # a run has begun there
            if name == "/".join(parts) and not any(part.startswith(".") for part in parts):
                found[name] = facts
        places = {path.parent for name in found if (path := PurePosixPath(name)).name == MANIFEST}
        return {name: facts for name, facts in found.items() if not places.isdisjoint(PurePosixPath(name).parents)}

    def _needed(self, there: Iterable[str], manifests: Iterable[str], videos: bool) -> set[str]:
        """Return the names of objects whose content is needed. Raises OSError."""
        named, blurred = set[str](), False
        for name in manifests:
            manifest = table_of((self.folder / name).read_bytes())
            folder, config = PurePosixPath(name).parent, manifest.get("config")
            named |= {(folder / each).as_posix() for each in named_in(manifest)}
            blurred |= name == MANIFEST and isinstance(config, dict) and bool(config.get("blur"))
        if not (videos or blurred):  # of a run with `blur` people may see the annotated ones alone
            named = {name for name in named if not name.endswith(FREED_SUFFIX)}
        return {name for name in there if name in named or name.endswith(_TEXTS)}

    def _copy(self, there: Mapping[str, ObjectFacts], needed: Container[str]) -> None:
        """Copy what is not here, some at a time, and of what is not `needed` the size. Raises StorageError and
        OSError."""
        store = store_of(self.place)

        def bring(name: str) -> tuple[str, Sent]:
            facts, path, note = there[name], self.folder / name, self._notes.get(name)
            frees = name not in needed
            if note is not None and note.spares(facts, path, frees=frees):
                return name, note
            return name, fetched(store, facts, path, frees=frees)

        with ThreadPoolExecutor(_AT_ONCE) as copying:
            self._notes.update(copying.map(bring, sorted(there)))

    def _put(self, name: str, path: Path) -> None:
        """Send a file in the place of what was copied. Raises OutputError and StorageError."""
        if path.suffix == ".html":
            path.write_bytes(with_urls(path.read_bytes(), self.folder, self.place.url))
        store, key, note = store_of(self.place), self.place.below(name).key, self._notes.get(name)
        etag: str | None
        if not store.takes_at_once(path):
            self._check(name)
            store.put(key, path)
            facts = store.facts(key)
            etag = "" if facts is None else facts.etag
        elif note is None:
            etag = store.create(key, path.read_bytes())
        else:
            etag = store.replace(key, path.read_bytes(), note.etag)
        if etag is None:
            raise self._other(name)
        self._notes[name] = Sent(path.stat().st_size, path.stat().st_mtime_ns, etag)

    def _check(self, name: str) -> None:
        """Raise OutputError if an object is not the one that was copied."""
        facts, note = store_of(self.place).facts(self.place.below(name).key), self._notes.get(name)
        if (facts is None) != (note is None) or (facts and note and not note.has_etag(facts.etag)):
            raise self._other(name)

    def _other(self, name: str) -> OutputError:
        return OutputError(f"{self.place.below(name).url} was written by others meanwhile. Give the command again.")

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _noted(self) -> dict[str, Sent]:
        try:
            values = json.loads((self.folder / _NOTES).read_bytes())
            return {name: Sent(**note) for name, note in values.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _keep_notes(self) -> None:
        write_note(self.folder / _NOTES, {name: asdict(note) for name, note in self._notes.items()})
