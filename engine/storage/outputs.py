"""Outputs in storage: a run writes to a folder on disk, from which each finished file goes to its prefix.

An object appears as a whole or not at all, and the manifest last: a run that is killed leaves nothing that a reader
takes for finished. What a video has made is followed by its state, so that a run on another machine, too, goes on with
the next one. One run at a time writes to a prefix: it holds an object that is created where there is none, and renews
it. The folder is kept until the run is complete.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from engine.errors import OutputError, StorageError
from engine.storage.urls import Place, store_of

log = logging.getLogger(__name__)

V = TypeVar("V", bound=Mapping[str, Any])

RENEWED_EVERY_S = 60.0
GONE_AFTER_S = 600.0

_MANIFEST = "manifest.json"
_STATE = ".yolo-engine"
_LOCK = f"{_STATE}/lock.json"
_NAMES = f"{_STATE}/names.json"  # of the files that were about to be sent
_COMMITTED, _VERDICT = "committed", "verdict.json"
_FREED_SUFFIX = ".mp4"
_WAITING_VIDEOS = 4


class StoredOutput:
    """The place in storage of a run's outputs. Use it as a context manager; `folder` is where the run writes, and may
    always overwrite; `overwrite` is what was asked for."""

    def __init__(self, place: Place, *, overwrite: bool = False, keeps_videos: bool = False, root: Path | None = None):
        """`overwrite` allows objects to be replaced that no run has written. With `keeps_videos`, annotated videos stay
        on the disk until the end, for what is made of them. `root` is where folders are made: a cache."""
        self.place = place
        self._store = store_of(place)
        self.overwrite = overwrite
        self._frees = not keeps_videos
        cache = root or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolo-engine" / "spool"
        self._root = cache / hashlib.sha256(place.url.rstrip("/").encode()).hexdigest()[:16]
        self.folder = self._root / "out"
        self._list = self._root / "uploaded.json"
        self.videos_sent = 0
        self._sent: dict[str, list[int]] = {}
        self._there: dict[str, int] = {}
        self._ours: set[str] = set()
        self._etag = ""
        self._lost = False
        self._complete = False
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._pool = ThreadPoolExecutor(2, "upload")
        self._under_way: list[Future[None]] = []

    def __enter__(self) -> StoredOutput:
        """Take the place, and fetch what an unfinished run has left there. Raises OutputError."""
        try:
            self._take()
            try:
                self._begin()
            except BaseException:
                self._give_back()
                raise
        except StorageError as error:
            raise OutputError(f"{self.place.url} {error}.") from error
        except OSError as error:
            raise OutputError(f"{self._root} can't be written: {error.strerror}.") from error
        self._renewing = threading.Thread(target=self._renew, name="renew", daemon=True)
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._left.set()
        self._renewing.join()
        try:
            self._give_back()
        except StorageError as failure:
            log.warning("%s %s", self.place.below(_LOCK).url, failure)
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
        return not self._lost

    def told(self, values: V) -> V:
        """Return JSON values in which paths below `folder` are URLs."""
        return cast("V", _told(values, str(self.folder), self.place.url.rstrip("/")))

    def tell_pages(self) -> None:
        """Replace paths below `folder` by URLs in the pages that a report consists of. Raises OutputError."""
        here, there = os.fsencode(self.folder), self.place.url.rstrip("/").encode()
        try:
            for page in self.folder.rglob("*.html"):
                page.write_bytes(page.read_bytes().replace(here, there))
        except OSError as error:
            raise OutputError(f"{self.folder} can't be written: {error.strerror}.") from error

    def finish(self, *, settled: bool) -> None:
        """Send what is left, and the manifest last. `settled`: the run is complete, and its state is no longer needed.
        Raises OutputError."""
        try:
            for future in self._under_way:
                future.result()
            files = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
            rest = {self._name(path): path for path in sorted(files) if not path.name.startswith(".")}
            rest = {name: path for name, path in rest.items() if not name.startswith((f"{_STATE}/", _MANIFEST))}
            for name in rest:
                self._check(name)
            self._still_held()
            self._store.put(self.place.below(_NAMES).key, json.dumps(list(rest)).encode())
            for path in rest.values():
                self._send(path)
            for name in (self._ours | self._sent.keys()) & self._there.keys():
                if ".partial." in name and not (self.folder / name).exists():
                    self._store.delete(self.place.below(name).key)
            self._still_held()
            self._store.put(self.place.below(_MANIFEST).key, self.folder / _MANIFEST)
            if settled:
                self._complete = True
                for each in list(self._store.list(f"{self.place.below(_STATE).key}/")):
                    if each.key != self.place.below(_LOCK).key:
                        self._store.delete(each.key)
        except StorageError as error:
            kept = "" if self._complete else f" What is done is kept in {self.folder}: the same command goes on."
            raise OutputError(f"{self.place.url} {error}.{kept}") from error

    def _begin(self) -> None:
        prefix = f"{self.place.key.rstrip('/')}/" if self.place.key else ""
        self._there = {each.key.removeprefix(prefix): each.size for each in self._store.list(prefix)}
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._sent = json.loads(self._list.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._sent = {}
        self._forget_gone()
        if _MANIFEST in self._there:
            self._ours |= _named(_json(self._store.get(self.place.below(_MANIFEST).key)))
        if _NAMES in self._there:
            self._ours |= set(map(str, json.loads(self._store.get(self.place.below(_NAMES).key) or b"[]")))
        for name in sorted(self._there):
            if name.startswith(f"{_STATE}/") and name.endswith(f"/{_VERDICT}"):
                self._restore(name.removesuffix(f"/{_VERDICT}"))

    def _forget_gone(self) -> None:
        """Have made again what was sent and is not there any more, and what is here without its content."""
        for name, (size, _) in list(self._sent.items()):
            if self._there.get(name) != size:
                del self._sent[name]
        for path in self.folder.rglob(f"*{_FREED_SUFFIX}"):
            facts = path.stat()
            if self._name(path) not in self._sent and facts.st_size and not facts.st_blocks:
                path.unlink()

    def _restore(self, state: str) -> None:
        """Put the state of a finished video back, with its files: of its annotated video no more than the size."""
        text = self._store.get(self.place.below(f"{state}/{_VERDICT}").key)
        made = _json(str(_json(text).get("values", "")).encode()).get("made")  # within its checksum: resume/journal.py
        if not isinstance(made, dict) or text is None:
            return
        files = {str(each["path"]): int(each["size"]) for each in made.values()}
        self._ours |= files.keys()
        local = self.folder / state
        if f"{state}/{_COMMITTED}" not in self._there:
            return
        if local.parent.exists() or any(self._there.get(name) != size for name, size in files.items()):
            return
        for name, size in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                if name.endswith(_FREED_SUFFIX) and self._frees:
                    file.truncate(size)
                else:
                    self._store.fetch(self.place.below(name).key, file)
            self._note(path, name)
        local.mkdir(parents=True)
        (local / _VERDICT).write_bytes(text)
        (local / _COMMITTED).write_bytes(self._store.get(self.place.below(f"{state}/{_COMMITTED}").key) or b"")

    def _send_video(self, outputs: list[Path], state: Path) -> None:
        """Send what says whose the files are, then the files, and last what says that they are all there."""
        committed = max(state.glob(f"*/{_COMMITTED}"), key=lambda path: int(path.parent.name), default=None)
        if committed is not None:
            self._put_state(committed.with_name(_VERDICT))
        for path in outputs:
            self._send(path)
            if self._frees and path.suffix == _FREED_SUFFIX:
                _free(path)
        if committed is not None:
            self._put_state(committed)
        with self._lock:
            self.videos_sent += 1

    def _put_state(self, path: Path) -> None:
        self._still_held()
        self._store.put(self.place.below(self._name(path)).key, path)

    def _send(self, path: Path) -> None:
        name, facts = self._name(path), path.stat()
        if self._sent.get(name) == [facts.st_size, facts.st_mtime_ns]:
            return
        self._check(name)
        self._still_held()
        with self._lock:
            begun, self._there = _MANIFEST in self._there, {k: v for k, v in self._there.items() if k != _MANIFEST}
        if begun:  # from here on it would be of other files
            self._store.delete(self.place.below(_MANIFEST).key)
        self._store.put(self.place.below(name).key, path)
        self._note(path, name)

    def _note(self, path: Path, name: str) -> None:
        facts = path.stat()
        with self._lock:
            self._sent[name] = [facts.st_size, facts.st_mtime_ns]
            self._ours.add(name)
            part = self._list.with_suffix(".part")
            part.write_text(json.dumps(self._sent), encoding="utf-8")
            part.replace(self._list)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _check(self, name: str) -> None:
        if not self.overwrite and name in self._there and name not in self._ours and name not in self._sent:
            raise OutputError(
                f"{self.place.below(name).url} was not written by yolo-engine, and would be overwritten. Move it, name "
                "another prefix, or pass --overwrite."
            )

    def _still_held(self) -> None:
        if self._lost:
            raise OutputError(f"Another run has taken over {self.place.url} meanwhile: nothing more is written there.")

    def _take(self) -> None:
        key = self.place.below(_LOCK).key
        etag = self._store.create(key, self._who())
        if etag is None:
            facts, holder = self._store.facts(key), _json(self._store.get(key))
            idle_s = (datetime.now(UTC) - facts.modified).total_seconds() if facts is not None else 0.0
            if facts is None:
                etag = self._store.create(key, self._who())
            elif idle_s > GONE_AFTER_S or _has_ended(holder):
                etag = self._store.replace(key, self._who(), facts.etag)
            if etag is None:
                who = f"{holder.get('host', 'an unknown machine')}, process {holder.get('pid', 'unknown')}"
                raise OutputError(
                    f"Another run writes to {self.place.url} ({who}): wait for it, or name another prefix. If it was "
                    f"killed, its place is free {GONE_AFTER_S / 60:.0f} minutes after that, or at once if you delete "
                    f"{self.place.below(_LOCK).url}"
                )
        self._etag = etag

    def _who(self) -> bytes:
        found = {"host": socket.gethostname(), "pid": os.getpid(), "at": datetime.now(UTC).isoformat()}
        return json.dumps(found).encode()

    def _renew(self) -> None:
        key = self.place.below(_LOCK).key
        while not self._left.wait(RENEWED_EVERY_S):
            try:
                etag = self._store.replace(key, self._who(), self._etag)
            except StorageError as error:
                log.warning("%s %s", self.place.below(_LOCK).url, error)
                continue
            if etag is None:
                self._lost = True
                return
            self._etag = etag

    def _give_back(self) -> None:
        if not self._lost:
            self._store.delete(self.place.below(_LOCK).key)


def _told(values: Any, folder: str, url: str) -> Any:
    if isinstance(values, str):
        return f"{url}{values.removeprefix(folder)}" if values == folder or values.startswith(f"{folder}/") else values
    if isinstance(values, Mapping):
        return {key: _told(each, folder, url) for key, each in values.items()}
    return [_told(each, folder, url) for each in values] if isinstance(values, list | tuple) else values


def _json(text: bytes | None) -> Mapping[str, Any]:
    """Return a table of JSON; an empty one for anything else."""
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _named(manifest: Mapping[str, Any]) -> set[str]:
    """Return the files that a manifest names, by their path below its folder."""
    names = {_MANIFEST, *map(str, manifest.get("files", {}))}
    for video in manifest.get("videos", ()):
        folder = Path(str(video.get("stem", ""))).parent
        names |= {(folder / os.path.basename(str(path))).as_posix() for path in video.get("outputs", {}).values()}
    return names


def _has_ended(holder: Mapping[str, Any]) -> bool:
    """Return whether a holder was a process of this machine that is there no more."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _free(path: Path) -> None:
    """Put a file without content, of the same size and time, in the place of one that was sent."""
    facts, empty = path.stat(), path.with_name(f".{path.name}.sent")
    with open(empty, "wb") as file:
        file.truncate(facts.st_size)
    os.utime(empty, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    empty.replace(path)
