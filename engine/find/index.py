"""The index of a tree: a DuckDB file in the user's cache, made of the tables that runs and jobs wrote.

It is made anew where the tables of a folder have changed, and nowhere else. It never lies in the tree: a database that
others could write is not opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from engine.analytics import answering
from engine.analytics.tables import COLUMNS, csv_of, tables_of
from engine.analytics.timeline import lay_out
from engine.errors import ConfigError, InputError, OutputError, describe_os_error
from engine.exports import NOTE
from engine.finished import FinishedRun

SCHEMA = 2
_TABLES = """
CREATE TABLE about (schema INTEGER);
CREATE TABLE folders (folder INTEGER, path VARCHAR, stamp VARCHAR, hides BOOLEAN);
CREATE TABLE videos (folder INTEGER, video VARCHAR, source VARCHAR, tracks VARCHAR, begins_s DOUBLE);
CREATE TABLE tracks (
    folder INTEGER, camera VARCHAR, track_id BIGINT, class VARCHAR, video VARCHAR, begins TIMESTAMP, ends TIMESTAMP,
    zone VARCHAR, first_s DOUBLE, last_s DOUBLE, duration_s DOUBLE, first_frame BIGINT, best_video VARCHAR,
    best_frame BIGINT
);
CREATE TABLE events (
    folder INTEGER, camera VARCHAR, track_id BIGINT, class VARCHAR, video VARCHAR, begins TIMESTAMP, zone VARCHAR,
    time_s DOUBLE, frame DOUBLE, kind VARCHAR, place VARCHAR, direction VARCHAR, dwell_s DOUBLE
);
CREATE TABLE names (folder INTEGER, what VARCHAR, name VARCHAR);
"""
_TABLES_OF_A_RUN = ("tracks", "events", "counts")
# A name that a spreadsheet would take for a formula has an apostrophe in front in the table. Local time and its
# distance from UTC stand in one text.
_PLAIN = r"regexp_replace({0}, '^''([=+\-@\t\r])', '\1')"
_LOCAL = "TRY_CAST(left({0}, 23) AS TIMESTAMP)"
_ZONE = "substr({0}, 24)"


class Insert(NamedTuple):
    """A statement that takes a folder's number, and the path of one of its tables."""

    table: str
    text: str


def _insert(into: str, table: str, *columns: str) -> Insert:
    return Insert(
        table,
        f"INSERT INTO {into} SELECT {'DISTINCT ' * (into == 'names')}CAST(? AS INTEGER), {', '.join(columns)}"
        " FROM read_csv(?, header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"')",
    )


def _number(column: str, kind: str = "DOUBLE") -> str:
    return f"CAST({column} AS {kind})"


_INSERTS = (
    _insert(
        "tracks",
        "tracks",
        _PLAIN.format("camera"),
        _number("track_id", "BIGINT"),
        _PLAIN.format("class"),
        _PLAIN.format("video"),
        _LOCAL.format("first_time"),
        _LOCAL.format("last_time"),
        _ZONE.format("first_time"),
        *map(_number, ("first_s", "last_s", "duration_s")),
        _number("first_frame", "BIGINT"),
        _PLAIN.format("best_video"),
        _number("best_frame", "BIGINT"),
    ),
    _insert(
        "events",
        "events",
        _PLAIN.format("camera"),
        _number("track_id", "BIGINT"),
        _PLAIN.format("class"),
        _PLAIN.format("video"),
        _LOCAL.format("time"),
        _ZONE.format("time"),
        *map(_number, ("time_s", "frame")),
        "kind",
        _PLAIN.format("place"),
        _PLAIN.format("direction"),
        _number("dwell_s"),
    ),
    # Of a scene that was counted by later on.
    *(_insert("names", "counts", f"'{what}'", _PLAIN.format(what)) for what in ("line", "direction")),
)


@dataclass(frozen=True)
class Refreshed:
    """What a look at the tree found: folders in all, those read anew, and why some could not be."""

    folders: int
    read: int
    failed: dict[str, str]


class Index:
    """The index of one tree, open and current, as a context manager. Another process waits for its turn.

    `root` is its folder, `connection` DuckDB's. Raises ConfigError where DuckDB is not installed, InputError where the
    tree is none or holds no results, and OutputError where the cache can't be written.
    """

    def __init__(
        self, root: Path, cache: Path | None = None, tick: Callable[[str], None] = lambda folder: None
    ) -> None:
        if importlib.util.find_spec("duckdb") is None:
            raise ConfigError("find needs duckdb, which is not installed: pip install 'yolo-engine[find]'")
        if not root.is_dir():
            raise InputError(f"{root} is no folder: name the output folder of a run, or one that holds some.")
        self.root = root.resolve()
        self._tick = tick
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:32]
        self._path = (cache or _cache()) / f"{name}.duckdb"
        self._lock = -1
        self.connection: Any = None
        self.refreshed = Refreshed(0, 0, {})

    def __enter__(self) -> Index:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OutputError(f"{self._path.parent} can't be written: {describe_os_error(error)}.") from error
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self.connection = self._opened()
            self.refreshed = self._refresh()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        os.close(self._lock)

    def _opened(self) -> Any:
        import duckdb

        settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        for _ in range(2):
            try:
                connection = duckdb.connect(str(self._path), config=settings)
                known = connection.execute(
                    "SELECT count(*) FROM information_schema.tables WHERE table_name = 'about'"
                ).fetchone()
                if known and known[0]:
                    row = connection.execute("SELECT schema FROM about").fetchone()
                    if row and row[0] == SCHEMA:
                        return connection
                    connection.close()
                    self._path.unlink()
                    continue
                connection.execute(_TABLES)
                connection.execute("INSERT INTO about VALUES (?)", [SCHEMA])
                return connection
            except duckdb.Error:  # of another version, or damaged: it is made of the tables again
                with contextlib.suppress(OSError):
                    self._path.unlink()
        raise OutputError(f"{self._path} can't be made anew: remove it.")

    def _refresh(self) -> Refreshed:
        known = {path: (number, stamp) for number, path, stamp in self._all("SELECT folder, path, stamp FROM folders")}
        there = {os.path.relpath(folder, self.root): folder for folder in folders_of(self.root)}
        if not there:
            raise InputError(
                f"{self.root} holds no results: no manifest.json is in it, or in a folder below it. Name the output "
                "folder of a run or a job, or one that holds some."
            )
        number = max((number for number, _ in known.values()), default=0)
        failed: dict[str, str] = {}
        read = 0
        for name in known.keys() - there.keys():
            self._forget(known[name][0])
        for name, folder in sorted(there.items()):
            stamp = _stamp(folder)
            if name in known and known[name][1] == stamp:
                continue
            self._tick(name)
            number += 1
            self.connection.begin()
            try:
                if name in known:
                    self._forget(known[name][0])
                self._read(number, name, folder, stamp)
                self.connection.commit()
                read += 1
            except (InputError, ConfigError) as error:
                self.connection.rollback()
                failed[name] = str(error)
            except BaseException:
                self.connection.rollback()
                raise
        return Refreshed(len(there), read, failed)

    def _all(self, query: str, values: list[Any] | None = None) -> list[Any]:
        return list(self.connection.execute(query, values or []).fetchall())

    def _forget(self, folder: int) -> None:
        for table in ("folders", "videos", "tracks", "events", "names"):
            self.connection.execute(f"DELETE FROM {table} WHERE folder = ?", [folder])

    def _read(self, number: int, name: str, folder: Path, stamp: str) -> None:
        """Take the tables of one folder. Raises InputError and ConfigError."""
        import duckdb

        run = FinishedRun.load(folder)
        begins = _begins(run)
        self.connection.execute("INSERT INTO folders VALUES (?, ?, ?, ?)", [number, name, stamp, bool(run.config.blur)])
        rows = [
            (number, video.name, str(video.source or ""), str(video.tracks or ""), begins.get(video.name, 0.0))
            for video in run.videos
        ]
        if rows:
            self.connection.executemany("INSERT INTO videos VALUES (?, ?, ?, ?, ?)", rows)
        if names := [(number, what, name) for what, found in _names(run).items() for name in sorted(found)]:
            self.connection.executemany("INSERT INTO names VALUES (?, ?, ?)", names)
        try:
            with _tables(run) as paths:
                for insert in _INSERTS:
                    if insert.table in paths:
                        self.connection.execute(insert.text, [number, paths[insert.table]])
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise InputError(f"{folder}: its tables can't be read ({first}): make them again with analyze.") from error


def folders_of(root: Path) -> Iterator[Path]:
    """Give the output folders of runs and jobs in a tree: those with a manifest. Hidden folders are passed over, and
    exports, whose manifests are other tools'."""
    for place, folders, files in os.walk(root):
        if NOTE in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "manifest.json" in files:
            yield Path(place)


def _stamp(folder: Path) -> str:
    """What tells that the tables of a folder have changed."""
    parts = []
    for name in ("manifest.json", *(f"{name}.csv" for name in _TABLES_OF_A_RUN)):
        try:
            facts = os.stat(folder / name)
            parts.append(f"{facts.st_mtime_ns}:{facts.st_size}:{facts.st_ino}")
        except OSError:
            parts.append("-")
    return " ".join(parts)


def _names(run: FinishedRun) -> dict[str, set[str]]:
    """Return the names that can come up in a run, also where they did not."""
    lines = [line for scene in run.settings.scenes for line in scene.lines]
    return {
        "class": set(run.looked_for or ()),
        "camera": {film.camera for film in run.films},
        "zone": {zone.name for scene in run.settings.scenes for zone in scene.zones},
        "line": {line.name for line in lines},
        "direction": {word for line in lines for word in (line.into, line.out)},
    }


def _begins(run: FinishedRun) -> dict[str, float]:
    """Return where on its camera's timeline each video has its first frame."""
    begins: dict[str, float] = {}
    for camera in {film.camera for film in run.films}:
        films = [film for film in run.films if film.camera == camera]
        placed, _ = lay_out(films, run.settings.max_gap_s, run.settings.max_overlap_s)
        begins |= {each.film.name: each.film.first_s + each.offset_s for each in placed}
    return begins


@contextlib.contextmanager
def _tables(run: FinishedRun) -> Iterator[dict[str, str]]:
    """Give paths of a run's tables, by their names, as CSV, which have no pattern in them: its own, or tracks and
    events that are made of its rows. Raises InputError."""
    with contextlib.ExitStack() as stack:
        own = {name: run.folder / f"{name}.csv" for name in _TABLES_OF_A_RUN}
        there = {name: path for name, path in own.items() if path.is_file()}
        paths = {}
        if {"tracks", "events"} <= there.keys():
            for name, path in there.items():
                try:
                    file = stack.enter_context(open(path, "rb"))
                except OSError as error:
                    raise InputError(f"{path} can't be read: {describe_os_error(error)}.") from error
                paths[name] = f"/proc/self/fd/{file.fileno()}"
        else:
            made = [tables_of(each.answers) for each in answering.answer(run.films, run.settings)]
            for name in ("tracks", "events"):
                text = csv_of(COLUMNS[name], [row for tables in made for row in tables[name]])
                number = os.memfd_create(name)
                stack.callback(os.close, number)
                with open(number, "w", encoding="utf-8", newline="", closefd=False) as target:
                    target.write(text)
                paths[name] = f"/proc/self/fd/{number}"
        yield paths


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "yolo-engine" / "find"
