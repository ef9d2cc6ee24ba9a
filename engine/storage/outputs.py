"""Outputs in storage: a run writes to a folder on disk, from which each finished file goes to its prefix.

An object appears as a whole or not at all, and the manifest last: a run that is killed leaves nothing that a reader
takes for finished. What a video has made is followed by its state, so that a run on another machine, too, goes on with
the next one. One run at a time writes to a prefix: it holds an object that is created where there is none, and renews
it. The folder is kept until the run is complete.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from engine.errors import OutputError, StorageError
from engine.storage.lock import LOCK, STATE, Lock
from engine.storage.spooled import FREED_SUFFIX, cache_of, free, tell_pages, told, write_note
from engine.storage.urls import Place, store_of
from engine.storage.written import MANIFEST, NAMES, VERDICT, below, foreign, sizes_in, written

log = logging.getLogger(__name__)

V = TypeVar("V", bound=Mapping[str, Any])

_LIST_OF_NAMES = f"{NAMES}.json"
_COMMITTED = "committed"
_WAITING_VIDEOS = 4


class StoredOutput:
    """The place in storage of a run's outputs. Use it as a context manager; `folder` is where the run writes, and may
    always overwrite; `overwrite` is what was asked for."""

    def __init__(self, place: Place, *, overwrite: bool = False, keeps_videos: bool = False, root: Path | None = None):
        """`overwrite` allows objects to be replaced that no run has written. With `keeps_videos`, annotated videos stay
        on the disk until the end, for what is made of them. `root` is where folders are made: a cache."""
        self.place = place
        self._store = store_of(place)
        self._lock = Lock(self._store, place, uuid.uuid4().hex)
        self.overwrite = overwrite
        self._frees = not keeps_videos
        own = cache_of("spool", place.url)
        self._root = own if root is None else root / own.name
        self.folder = self._root / "out"
        self._list = self._root / "uploaded.json"
        self.videos_sent = 0
        self._sent: dict[str, list[int]] = {}
        self._there: dict[str, int] = {}
        self._ours: set[str] = set()
        self._complete = False
        self._mutex = threading.Lock()
        self._pool = ThreadPoolExecutor(2, "upload")
        self._under_way: list[Future[None]] = []

    def __enter__(self) -> StoredOutput:
        """Take the place, and fetch what an unfinished run has left there. Raises OutputError."""
        try:
            self._lock.take()
            try:
                self._begin()
            except BaseException:
                self._lock.give_back()
                raise
        except StorageError as error:
            raise OutputError(f"{self.place.url} {error}.") from error
        except OSError as error:
            raise OutputError(f"{self._root} can't be written: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        try:
            self._lock.give_back()
        except StorageError as failure:
            log.warning("%s %s", self.place.below(LOCK).url, failure)
        if self._complete:
            shutil.rmtree(self._root, ignore_errors=True)

    def refuse_foreign(self, paths: Iterable[Path]) -> None:
        """Raise OutputError if one of the files to be written would replace an object that no run has written."""
        for path in paths:
            self._check(self._name(path))

    def video_done(self, outputs: Iterable[Path], state: Path) -> None:
        """Send a video's files, and its state behind them. Returns at once, unless many are waiting."""
        self._under_way = [future for future in self._under_way if not (future.done() and future.exception() is None)]
        while len([future for future in self._under_way if not future.done()]) >= _WAITING_VIDEOS:
            self._under_way[0].exception()
            self._under_way = self._under_way[1:]
        self._under_way.append(self._pool.submit(self._send_video, list(outputs), state))

    @property
    def held(self) -> bool:
        """Whether no other run has taken over the place."""
        return self._lock.held

    def told(self, values: V) -> V:
        """Return JSON values in which paths below `folder` are URLs."""
        return told(values, self.folder, self.place.url)

    def tell_pages(self) -> None:
        """Replace paths below `folder` by URLs in the pages that a report consists of. Raises OutputError."""
        tell_pages(self.folder, self.place.url)

    def finish(self, *, settled: bool) -> None:
        """Send what is left, and the manifest last. `settled`: the run is complete, and its state is no longer needed.
        Raises OutputError."""
        try:
            for future in self._under_way:
                future.result()
            files = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
            rest = {self._name(path): path for path in sorted(files) if not path.name.startswith(".")}
            rest = {name: path for name, path in rest.items() if not name.startswith((f"{STATE}/", MANIFEST))}
            for name in rest:
                self._check(name)
            self._lock.check()
            self._store.put(self.place.below(_LIST_OF_NAMES).key, json.dumps(list(rest)).encode())
            for path in rest.values():
                self._send(path)
            for name in (self._ours | self._sent.keys()) & self._there.keys():
                if ".partial." in name and not (self.folder / name).exists():
                    self._store.delete(self.place.below(name).key)
            self._lock.check()
            self._store.put(self.place.below(MANIFEST).key, self.folder / MANIFEST)
            if settled:
                self._complete = True
                for each in list(self._store.list(f"{self.place.below(STATE).key}/")):
                    if each.key != self.place.below(LOCK).key:
                        self._store.delete(each.key)
        except StorageError as error:
            kept = "" if self._complete else f" What is done is kept in {self.folder}: the same command goes on."
            raise OutputError(f"{self.place.url} {error}.{kept}") from error

    def _begin(self) -> None:
        self._there = below(self._store, self.place)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._sent = json.loads(self._list.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._sent = {}
        self._forget_gone()
        self._ours |= written(self._store, self.place, self._there)
        for name in sorted(self._there):
            if name.startswith(f"{STATE}/") and name.endswith(f"/{VERDICT}"):
                self._restore(name.removesuffix(f"/{VERDICT}"))

    def _forget_gone(self) -> None:
        """Have made again what was sent and is not there any more, and what is here without its content."""
        for name, (size, _) in list(self._sent.items()):
            if self._there.get(name) != size:
                del self._sent[name]
        for path in self.folder.rglob(f"*{FREED_SUFFIX}"):
            facts = path.stat()
            if self._name(path) not in self._sent and facts.st_size and not facts.st_blocks:
                path.unlink()

    def _restore(self, state: str) -> None:
        """Put the state of a finished video back, with its files: of its annotated video no more than the size."""
        text = self._store.get(self.place.below(f"{state}/{VERDICT}").key)
        files = sizes_in(text)
        local = self.folder / state
        if not files or text is None or f"{state}/{_COMMITTED}" not in self._there:
            return
        if local.parent.exists() or any(self._there.get(name) != size for name, size in files.items()):
            return
        for name, size in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                if name.endswith(FREED_SUFFIX) and self._frees:
                    file.truncate(size)
                else:
                    self._store.fetch(self.place.below(name).key, file)
            self._note(path, name)
        local.mkdir(parents=True)
        (local / VERDICT).write_bytes(text)
        (local / _COMMITTED).write_bytes(self._store.get(self.place.below(f"{state}/{_COMMITTED}").key) or b"")

    def _send_video(self, outputs: list[Path], state: Path) -> None:
        """Send what says whose the files are, then the files, and last what says that they are all there."""
        committed = max(state.glob(f"*/{_COMMITTED}"), key=lambda path: int(path.parent.name), default=None)
        if committed is not None:
            self._put_state(committed.with_name(VERDICT))
        for path in outputs:
            self._send(path)
            if self._frees and path.suffix == FREED_SUFFIX:
                free(path)
        if committed is not None:
            self._put_state(committed)
        with self._mutex:
            self.videos_sent += 1

    def _put_state(self, path: Path) -> None:
        self._lock.check()
        self._store.put(self.place.below(self._name(path)).key, path)

    def _send(self, path: Path) -> None:
        name, facts = self._name(path), path.stat()
        if self._sent.get(name) == [facts.st_size, facts.st_mtime_ns]:
            return
        self._check(name)
        self._lock.check()
        with self._mutex:
            begun, self._there = MANIFEST in self._there, {k: v for k, v in self._there.items() if k != MANIFEST}
        if begun:  # from here on it would be of other files
            self._store.delete(self.place.below(MANIFEST).key)
        self._store.put(self.place.below(name).key, path)
        self._note(path, name)

    def _note(self, path: Path, name: str) -> None:
        facts = path.stat()
        with self._mutex:
            self._sent[name] = [facts.st_size, facts.st_mtime_ns]
            self._ours.add(name)
            write_note(self._list, self._sent)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _check(self, name: str) -> None:
        if not self.overwrite and name in self._there and name not in self._ours and name not in self._sent:
            raise foreign(self.place.below(name))
