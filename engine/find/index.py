"""The index of a tree: a DuckDB file in the user's cache, built from the tables that runs and jobs wrote.

Only folders whose tables have changed are read again. The file is never in the tree: a database that others could write
is not opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.analytics import answering
from engine.analytics.tables import COLUMNS, csv_of, tables_of
from engine.analytics.timeline import lay_out
from engine.choices.formats import EXPORT_NOTE
from engine.errors import ConfigError, InputError, OutputError, describe_os_error
from engine.finished import FinishedRun
from engine.output_folder.manifest import refuse_object
from models.file_lock import held

SCHEMA = 3
# Within a batch, rows are sorted by time, so that DuckDB can skip blocks of other times. Data of a track is repeated in
# its events, which saves a join over millions of rows.
_TABLES = """
CREATE TABLE about (schema INTEGER);
CREATE TABLE folders (folder INTEGER, path VARCHAR, stamp VARCHAR, hides BOOLEAN);
CREATE TABLE videos (folder INTEGER, video VARCHAR, source VARCHAR, tracks VARCHAR, begins_s DOUBLE);
CREATE TABLE tracks (
    folder INTEGER, camera VARCHAR, track_id BIGINT, class VARCHAR, video VARCHAR, begins TIMESTAMP, ends TIMESTAMP,
    zone VARCHAR, of_day DOUBLE, time_s DOUBLE, duration_s DOUBLE, best_video VARCHAR, best_frame BIGINT
);
CREATE TABLE events (
    folder INTEGER, camera VARCHAR, track_id BIGINT, class VARCHAR, video VARCHAR, begins TIMESTAMP, ends TIMESTAMP,
    zone VARCHAR, of_day DOUBLE, time_s DOUBLE, duration_s DOUBLE, best_video VARCHAR, best_frame BIGINT,
    kind VARCHAR, place VARCHAR, direction VARCHAR
);
CREATE TABLE names (folder INTEGER, what VARCHAR, name VARCHAR);
"""
_TABLES_OF_A_RUN = ("tracks", "events", "counts")
_NUMBERS = {
    "BIGINT": frozenset("track_id first_frame last_frame best_frame".split()),
    "DOUBLE": frozenset("first_s last_s duration_s time_s dwell_s".split()),
}
# Limits of a batch: folders, and bytes of tables.
_TOGETHER, _TOGETHER_BYTES = 64, 256 << 20
_LONGEST_HEAD = 1 << 16

# In a table, what a spreadsheet would take for a formula is prefixed with an apostrophe (engine.analytics.tables).
_PLAIN = r"CASE WHEN contains({0}, chr(39)) THEN regexp_replace({0}, '(^|;)''([=+\-@\t\r])', '\1\2', 'g') ELSE {0} END"
# A time in a table is local time followed by the UTC offset.
_LOCAL = "TRY_CAST(left({0}, 23) AS TIMESTAMP)"
_ZONE = "substr({0}, 24)"
_OF_DAY = "epoch(begins) - epoch(date_trunc('day', begins))"
_BATCH = "(SELECT unnest(?) AS folder, unnest(?) AS filename) n"

_TRACKS = f"""
INSERT INTO tracks
SELECT folder, {_PLAIN.format("camera")}, CAST(track_id AS BIGINT), {_PLAIN.format("class")}, {_PLAIN.format("video")},
    begins, {_LOCAL.format("last_time")}, {_ZONE.format("first_time")}, {_OF_DAY}, CAST(first_s AS DOUBLE),
    CAST(duration_s AS DOUBLE), {_PLAIN.format("best_video")}, CAST(best_frame AS BIGINT)
FROM (SELECT *, {_LOCAL.format("first_time")} AS begins FROM {{rows}} r JOIN {_BATCH} USING (filename))
ORDER BY begins
"""
_EVENTS = f"""
INSERT INTO events
SELECT e.folder, e.camera, e.track_id, {_PLAIN.format("e.class")}, {_PLAIN.format("e.video")}, begins,
    begins + to_milliseconds(CAST(coalesce(lasts_s, 0) * 1000 AS BIGINT)), {_ZONE.format("e.time")}, {_OF_DAY},
    CAST(e.time_s AS DOUBLE), coalesce(lasts_s, 0), t.best_video, t.best_frame, e.kind, {_PLAIN.format("e.place")},
    {_PLAIN.format("e.direction")}
FROM (
    SELECT * REPLACE ({_PLAIN.format("camera")} AS camera, CAST(track_id AS BIGINT) AS track_id),
        {_LOCAL.format("time")} AS begins, CAST(dwell_s AS DOUBLE) AS lasts_s
    FROM {{rows}} r JOIN {_BATCH} USING (filename) WHERE kind IN ('stay', 'crossing')
) e LEFT JOIN (
    SELECT folder, camera, track_id, best_video, best_frame FROM tracks WHERE folder BETWEEN ? AND ?
) t ON t.folder = e.folder AND t.camera = e.camera AND t.track_id = e.track_id
ORDER BY begins
"""
_COUNTED = (
    f"INSERT INTO names SELECT DISTINCT folder, '{{what}}', {{name}} FROM {{{{rows}}}} r JOIN {_BATCH} USING (filename)"
)
_SEEN = (
    "INSERT INTO names SELECT DISTINCT folder, 'class', class FROM tracks WHERE folder BETWEEN $first AND $last"
    " UNION SELECT DISTINCT folder, 'camera', camera FROM tracks WHERE folder BETWEEN $first AND $last"
    " UNION SELECT DISTINCT folder, CASE kind WHEN 'stay' THEN 'zone' ELSE 'line' END, place FROM events"
    " WHERE folder BETWEEN $first AND $last"
    " UNION SELECT DISTINCT folder, 'direction', direction FROM events"
    " WHERE kind = 'crossing' AND folder BETWEEN $first AND $last"
)


def _rows(table: str, typed: bool) -> str:
    """Return the SQL that reads CSV files by path, with the file's name in each row. `typed`: their columns are those
    that this version writes, and need not be detected."""
    if typed:
        kinds = {
            name: next((kind for kind, of in _NUMBERS.items() if name in of), "VARCHAR") for name in COLUMNS[table]
        }
        form = f"auto_detect = false, columns = {kinds}"
    else:
        form = "all_varchar = true, union_by_name = true"
    return f"read_csv(?, filename = true, header = true, delim = ',', quote = '\"', escape = '\"', {form})"


@dataclass(frozen=True)
class _Staged:
    """A folder to read: its number, name and stamp, its manifest, and the paths of its open tables by name. `typed`:
    their columns are those that this version writes."""

    number: int
    name: str
    stamp: str
    run: FinishedRun
    begins: dict[str, float]
    paths: dict[str, str]
    typed: bool
    size: int


@dataclass(frozen=True)
class Refreshed:
    """The outcome of refreshing the index: number of folders, of folders re-read, and the reasons of failures."""

    folders: int
    read: int
    failed: dict[str, str]


class Index:
    """The index of one tree, open and up to date, as a context manager. Other processes wait for their turn.

    `root` is its folder, `connection` the DuckDB connection. Raises ConfigError if DuckDB is not installed, InputError
    if the folder does not exist or contains no results, and OutputError if the cache can't be written.
    """

    def __init__(
        self, root: Path, cache: Path | None = None, tick: Callable[[str], None] = lambda folder: None
    ) -> None:
        if importlib.util.find_spec("duckdb") is None:
            raise ConfigError("find needs duckdb, which is not installed: pip install 'yolo-engine[find]'")
        refuse_object(root)
        if not root.is_dir():
            raise InputError(f"{root} is not a folder: name the output folder of a run, or one that holds some.")
        self.root = root.resolve()
        self._tick = tick
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:32]
        self._path = (cache or _cache()) / f"{name}.duckdb"
        self._lock = contextlib.ExitStack()
        self.connection: Any = None
        self.refreshed = Refreshed(0, 0, {})

    def __enter__(self) -> Index:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.enter_context(held(self._path.with_suffix(".lock")))
        except OSError as error:
            raise OutputError(f"{self._path.parent} can't be written: {describe_os_error(error)}.") from error
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
        self._lock.close()

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
            except duckdb.Error:  # of another version, or damaged: rebuilt from the tables
                with contextlib.suppress(OSError):
                    self._path.unlink()
        raise OutputError(f"{self._path} can't be rebuilt: remove it.")

    def _refresh(self) -> Refreshed:
        known = {path: (number, stamp) for number, path, stamp in self._all("SELECT folder, path, stamp FROM folders")}
        there = {os.path.relpath(folder, self.root): folder for folder in folders_of(self.root)}
        if not there:
            raise InputError(
                f"{self.root} contains no results: no manifest.json is in it, or in a folder below it. Name the output "
                "folder of a run or a job, or one that holds some."
            )
        failed: dict[str, str] = {}
        gone = [number for name, (number, _) in known.items() if name not in there]
        if gone:
            self._forget(gone)
        stamps = {name: _stamp(folder) for name, folder in sorted(there.items())}
        changed = [name for name, stamp in stamps.items() if name not in known or known[name][1] != stamp]
        number, read = max((number for number, _ in known.values()), default=0), 0
        waiting = deque(changed)
        while waiting:
            with contextlib.ExitStack() as stack:
                batch: list[_Staged] = []
                while waiting and len(batch) < _TOGETHER and sum(each.size for each in batch) < _TOGETHER_BYTES:
                    name = waiting.popleft()
                    self._tick(name)
                    number += 1
                    try:
                        batch.append(_staged(number, name, there[name], stamps[name], stack))
                    except (InputError, ConfigError) as error:
                        failed[name] = str(error)
                old = {each.name: known[each.name][0] for each in batch if each.name in known}
                read += self._take(batch, old, failed)
        return Refreshed(len(there), read, failed)

    def _take(self, batch: Sequence[_Staged], old: Mapping[str, int], failed: dict[str, str]) -> int:
        """Read folders together, or one by one if that fails; note failures. Return how many were read."""
        typed = [each for each in batch if each.typed]
        groups = [typed, *([each] for each in batch if not each.typed)]
        read = 0
        while groups:
            group = groups.pop()
            if not group:
                continue
            problem = self._committed(group, [old[each.name] for each in group if each.name in old])
            if problem is None:
                read += len(group)
            elif len(group) > 1:
                groups += [[each] for each in group]
            else:
                failed[group[0].name] = (
                    f"{group[0].run.folder}: its tables can't be read ({problem}): make them again with analyze."
                )
        return read

    def _committed(self, group: Sequence[_Staged], old: Sequence[int]) -> str | None:
        """Replace the entries of folders in one transaction, and return what is wrong with their tables, if
        anything."""
        import duckdb

        self.connection.begin()
        try:
            if old:
                self._forget(old)
            self._read(group)
        except duckdb.Error as error:
            self.connection.rollback()
            return str(error).splitlines()[0]
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()
        return None

    def _all(self, query: str, values: list[Any] | None = None) -> list[Any]:
        return list(self.connection.execute(query, values or []).fetchall())

    def _forget(self, folders: Sequence[int]) -> None:
        for table in ("folders", "videos", "tracks", "events", "names"):
            self.connection.execute(f"DELETE FROM {table} WHERE folder IN (SELECT unnest(?))", [list(folders)])

    def _read(self, group: Sequence[_Staged]) -> None:
        """Insert the tables of folders, whose numbers are consecutive. Raises duckdb.Error."""

        def put(table: str, rows: list[tuple[object, ...]]) -> None:
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                values = [tuple(map(_as_text, row)) for row in rows]
                self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", values)

        put("folders", [(each.number, each.name, each.stamp, bool(each.run.config.blur)) for each in group])
        put("videos", [row for each in group for row in _videos(each)])
        put("names", [row for each in group for row in _names(each)])
        bounds = [group[0].number, group[-1].number]

        def insert(text: str, table: str, *more: int) -> None:
            those = [each for each in group if table in each.paths]
            if those:
                paths = [each.paths[table] for each in those]
                rows = text.format(rows=_rows(table, group[0].typed))
                self.connection.execute(rows, [paths, [each.number for each in those], paths, *more])

        insert(_TRACKS, "tracks")
        insert(_EVENTS, "events", *bounds)
        for what in ("line", "direction"):  # of a scene that was applied after the run
            insert(_COUNTED.format(what=what, name=_PLAIN.format(what)), "counts")
        self.connection.execute(_SEEN, dict(zip(("first", "last"), bounds, strict=True)))


def _staged(number: int, name: str, folder: Path, stamp: str, stack: contextlib.ExitStack) -> _Staged:
    """Read a folder's manifest and open its tables. Raises InputError and ConfigError."""
    run = FinishedRun.load(folder)
    paths = stack.enter_context(_tables(run))
    heads = {table: _head(path) for table, path in paths.items()}
    typed = all(head == ",".join(COLUMNS[table]) for table, head in heads.items())
    size = sum(os.stat(path).st_size for path in paths.values())
    return _Staged(number, name, stamp, run, _begins(run), paths, typed, size)


def _head(path: str) -> str:
    """Return the first line of a table."""
    with open(path, "rb") as file:
        return file.readline(_LONGEST_HEAD).decode("utf-8", "replace").rstrip("\r\n")


def folders_of(root: Path) -> Iterator[Path]:
    """Yield the output folders of runs and jobs in a tree: those with a manifest. Hidden folders are skipped, as are
    exports, whose manifests belong to other tools."""
    for place, folders, files in os.walk(root):
        if EXPORT_NOTE in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "manifest.json" in files:
            yield Path(place)


def _stamp(folder: Path) -> str:
    """Return a text that changes when the tables of a folder change."""
    parts = []
    for name in ("manifest.json", *(f"{name}.csv" for name in _TABLES_OF_A_RUN)):
        try:
            facts = os.stat(folder / name)
            parts.append(f"{facts.st_mtime_ns}:{facts.st_size}:{facts.st_ino}")
        except OSError:
            parts.append("-")
    return " ".join(parts)


def _as_text(value: object) -> object:
    """Return a name as in the tables: a file name may contain undecodable bytes, which DuckDB does not accept."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _videos(folder: _Staged) -> Iterator[tuple[object, ...]]:
    for video in folder.run.videos:
        begins_s = folder.begins.get(video.name, 0.0)
        yield folder.number, video.name, str(video.source or ""), str(video.tracks or ""), begins_s


def _names(folder: _Staged) -> Iterator[tuple[object, ...]]:
    """Yield the names that can occur in a run, whether or not they did."""
    run = folder.run
    lines = [line for scene in run.settings.scenes for line in scene.lines]
    found = {
        "class": set(run.looked_for or ()),
        "camera": {film.camera for film in run.films},
        "zone": {zone.name for scene in run.settings.scenes for zone in scene.zones},
        "line": {line.name for line in lines},
        "direction": {word for line in lines for word in (line.into, line.out)},
    }
    for what, names in found.items():
        yield from ((folder.number, what, name) for name in sorted(names))


def _begins(run: FinishedRun) -> dict[str, float]:
    """Return the position of each video's first frame on its camera's timeline, in seconds."""
    begins: dict[str, float] = {}
    for camera in {film.camera for film in run.films}:
        films = [film for film in run.films if film.camera == camera]
        placed, _ = lay_out(films, run.settings.max_gap_s, run.settings.max_overlap_s)
        begins |= {each.film.name: each.film.first_s + each.offset_s for each in placed}
    return begins


@contextlib.contextmanager
def _tables(run: FinishedRun) -> Iterator[dict[str, str]]:
    """Yield the paths of a run's CSV tables by name, free of glob characters: its own tables, or tracks and events
    computed from its rows. Raises InputError."""
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
