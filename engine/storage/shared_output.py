"""The place in storage of a job's outputs, to which several workers send.

The job's results are made in a folder that all workers share, where attempts decide whose result stands
(engine/resume), or in one of each machine, to which whoever ends the job fetches what others have sent. From there each
worker sends the files of the videos it has finished, and whoever ends the job sends the rest, the manifest last. A
worker that was halted for hours may wake up in the midst of that. So it looks at the object, then at its lease, and
writes on the condition that the object is still that one: whatever its successor has written in between makes the write
fail. A large file goes in parts, for which the client knows no conditions; for it, the lease is looked at right before.

What was sent is noted beside the job, with its etag. An annotated video then leaves a file without content, of the same
size.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from engine.errors import OutputError, StorageError
from engine.storage.lock import LOCK, STATE, Lock
from engine.storage.spooled import FREED_SUFFIX, free, write_note
from engine.storage.urls import Place, store_of
from engine.storage.written import MANIFEST, NAMES, below, foreign, listed, written

if TYPE_CHECKING:
    from engine.storage.stores import ObjectFacts, Store

log = logging.getLogger(__name__)

_BEFORE = f"{NAMES}-before.json"  # what the manifest named that was there before
_TRIES = 10  # of workers that send the same file, each after the other's


@dataclass(frozen=True)
class Sent:
    """A file as it was when it was sent, and the object's etag. `freed`: only its size is left on the disk."""

    size: int
    mtime_ns: int
    etag: str
    freed: bool = False

    def is_of(self, path: Path) -> bool:
        """Return whether a file is the one that was sent. Raises OSError."""
        if not path.is_file():
            return False
        facts = path.stat()
        return (self.size, self.mtime_ns) == (facts.st_size, facts.st_mtime_ns)

    def has_etag(self, etag: str) -> bool:
        """Return whether this is the etag of its object."""
        return self.etag.strip('"') == etag.strip('"')

    def spares(self, facts: ObjectFacts, path: Path, *, frees: bool) -> bool:
        """Return whether an object need not be fetched (`fetched`): the file is what it was, and so is the object.
        Raises OSError."""
        return self.is_of(path) and self.has_etag(facts.etag) and (frees or not self.freed)


def fetched(store: Store, facts: ObjectFacts, path: Path, *, frees: bool) -> Sent:
    """Copy an object to a file, which appears as a whole; with `frees` only its size. Return what to note. Raises
    StorageError and OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.fetched")
    with open(part, "wb") as file:
        if frees:
            file.truncate(facts.size)
        else:
            store.fetch(facts.key, file)
    part.replace(path)
    status = path.stat()
    return Sent(status.st_size, status.st_mtime_ns, facts.etag, frees)


class SharedOutput:
    """The place of a job's outputs, as one of its processes uses it: a context manager, which holds the job's lock."""

    def __init__(
        self,
        place: Place,
        folder: Path,
        notes: Path,
        job: str,
        *,
        overwrite: bool = False,
        keeps_videos: bool = False,
        has_ended: Callable[[str], bool] = lambda job: False,
    ) -> None:
        """Send from `folder` and note in the folder `notes` what was sent. `overwrite` allows objects to be replaced
        that no run has written. With `keeps_videos`, annotated videos keep their content. `has_ended` says whether a
        job is over, so that its place is free."""
        self.place = place
        self._folder = folder
        self._notes = notes
        self._store = store_of(place)
        self._lock = Lock(self._store, place, job, shared=True, has_ended=has_ended)
        self._overwrite = overwrite
        self._frees = not keeps_videos
        self._mutex = threading.Lock()
        self._ours = set[str]()
        self._begun = False

    def __enter__(self) -> SharedOutput:
        """Take the job's place there. Raises OutputError, also if another run or job has it."""
        try:
            self._lock.take()
            self._ours = written(self._store, self.place, below(self._store, self.place))
            self._ours |= listed(self._store, self.place, _BEFORE)  # another worker may have written it meanwhile
        except StorageError as error:
            self._lock.leave()
            raise self._failed(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.leave()

    @property
    def held(self) -> bool:
        """Whether no other run or job has taken over the place."""
        return self._lock.held

    def send_video(
        self, label: str, paths: Iterable[Path], fence: Callable[[], None], tick: Callable[[], None]
    ) -> None:
        """Send a video's files. `label` names the video, `fence` raises if it is another attempt's by now, `tick` is
        called from time to time. Raises Foreign, OutputError, and what `fence` raises."""
        self._send(f"{NAMES}-{label}.json", list(paths), fence, tick)

    def fetch(self, name: str) -> Path | None:
        """Return the path of a file in the folder, fetched if it is another machine's; None if there is none here, and
        none was sent. What others have freed is only of the size that it had. Raises OutputError and OSError."""
        path = self._folder / name
        try:
            facts = self._store.facts(self.place.below(name).key)
            if facts is None:
                return path if path.is_file() else None
            frees = self._frees and path.suffix == FREED_SUFFIX
            note = self._note_of(name)
            if note is not None and note.spares(facts, path, frees=frees):
                return path
            self._write_note(name, fetched(self._store, facts, path, frees=frees))
        except StorageError as error:
            raise self._failed(error) from error
        return path

    def finish(
        self, extra: Mapping[str, bytes], manifest: bytes, *, settled: bool, tick: Callable[[], None] = lambda: None
    ) -> None:
        """Send the files of the folder that were not sent yet, `extra` ones by name, and last the manifest; then give
        the place back. `settled`: the job is complete, and its lists are no longer needed. Raises OutputError; the
        place is then given back if that is possible."""
        try:
            self._finish(extra, manifest, settled, tick)
        finally:
            try:
                self._lock.give_back()
            except StorageError as error:
                log.warning("%s %s", self.place.below(LOCK).url, error)

    def _finish(self, extra: Mapping[str, bytes], manifest: bytes, settled: bool, tick: Callable[[], None]) -> None:
        rest = [path for path in files_in(self._folder) if self._name(path) != MANIFEST]
        self._send(f"{NAMES}.json", rest, lambda: None, tick, extra)
        try:
            there = below(self._store, self.place)
            for name in there:
                if name in self._ours and ".partial." in name and not (self._folder / name).exists():
                    self._store.delete(self.place.below(name).key)
            self._put(MANIFEST, manifest, lambda: None)
            if settled:
                for name in there:
                    if name.startswith(f"{STATE}/") and name != LOCK:
                        self._store.delete(self.place.below(name).key)
        except StorageError as error:
            raise self._failed(error) from error

    def _send(
        self,
        names: str,
        paths: list[Path],
        fence: Callable[[], None],
        tick: Callable[[], None],
        extra: Mapping[str, bytes] | None = None,
    ) -> None:
        extra = extra or {}
        try:
            mine = {self._name(path): path for path in paths}
            earlier = listed(self._store, self.place, names)
            with self._mutex:
                self._ours |= earlier
            for name in (*mine, *extra):
                self._check(name)
            self._begin(fence)
            text = json.dumps(sorted(earlier.union(mine, extra))).encode()
            self._put(names, text, fence)
            for path in mine.values():
                self._send_file(path, fence)
                tick()
            for name, content in extra.items():
                self._put(name, content, fence)
        except StorageError as error:
            raise self._failed(error) from error

    def _begin(self, fence: Callable[[], None]) -> None:
        """Remove the manifest of an earlier run before the first file of this one is there; what it named stays ours,
        also for the other workers."""
        with self._mutex:
            if self._begun:
                return
            facts = self._store.facts(self.place.below(MANIFEST).key)
            if facts is not None:
                self._put(_BEFORE, json.dumps(sorted(self._ours)).encode(), fence)
                fence()
                self._lock.check()
                self._store.delete(facts.key)
            self._begun = True

    def _check(self, name: str) -> None:
        """Raise Foreign if an object was there before, and is no run's."""
        if self._overwrite or name in self._ours or self._store.facts(self.place.below(name).key) is None:
            return
        raise foreign(self.place.below(name))

    def _send_file(self, path: Path, fence: Callable[[], None]) -> None:
        name, facts = self._name(path), path.stat()
        note = self._note_of(name)
        if note is not None and note.is_of(path):
            found = self._store.facts(self.place.below(name).key)
            if found is not None and note.has_etag(found.etag):
                return
            if note.freed:
                raise OutputError(
                    f"{self.place.below(name).url} was sent and is not there any more, or is another one. Submit the "
                    "folder again with --no-resume."
                )
        etag = self._put(name, path, fence)
        frees = self._frees and path.suffix == FREED_SUFFIX
        self._write_note(name, Sent(facts.st_size, facts.st_mtime_ns, etag, frees))
        if frees:  # after it is noted: nobody may take what is left for the file
            free(path)

    def _put(self, name: str, data: bytes | Path, fence: Callable[[], None]) -> str:
        """Write an object and return its etag, on the condition that it was not written since the fence was looked
        at. Raises StorageError, OutputError and what the fence raises."""
        key = self.place.below(name).key
        for _ in range(_TRIES):
            facts = self._store.facts(key)
            fence()
            self._lock.check()
            if not self._store.takes_at_once(data):
                self._store.put(key, data)
                facts = self._store.facts(key)
                return "" if facts is None else facts.etag
            content = data.read_bytes() if isinstance(data, Path) else data
            if facts is None:
                etag = self._store.create(key, content)
            else:
                etag = self._store.replace(key, content, facts.etag)
            if etag is not None:
                return etag
        raise OutputError(f"{self.place.below(name).url} is written by others all the time.")

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _note_of(self, name: str) -> Sent | None:
        try:
            found = json.loads(self._note(name).read_bytes())
            return Sent(**found)
        except (OSError, ValueError, TypeError):
            return None

    def _write_note(self, name: str, sent: Sent) -> None:
        path = self._note(name)
        path.parent.mkdir(exist_ok=True)
        write_note(path, asdict(sent))

    def _note(self, name: str) -> Path:
        return self._notes / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def _failed(self, error: StorageError) -> OutputError:
        return OutputError(
            f"{self.place.url} {error}. What is done is kept in {self._folder}: submit the same folder again to go on."
        )


def refuse_foreign(place: Place, names: Iterable[str]) -> None:
    """Raise Foreign if an object below a place has the name of an output, and no run has written it; OutputError if
    that can't be known."""
    try:
        store = store_of(place)
        there = below(store, place)
        ours = written(store, place, there)
    except StorageError as error:
        raise OutputError(f"{place.url} {error}.") from error
    for name in names:
        if name in there and name not in ours:
            raise foreign(place.below(name))


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder, in order; links, hidden files and hidden folders are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return found
