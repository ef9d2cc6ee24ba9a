"""The time of `yolo-engine find` on millions of tracks: a year of one camera, one folder per day.

    python -m benchmarks.find_tracks [TRACKS] [FOLDER]

The tables are generated from a seed.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from datetime import time as of_day
from pathlib import Path

import duckdb

from engine.analytics.tables import COLUMNS
from engine.find import Index, Question, ask

DAYS = 365


def generate(root: Path, tracks: int) -> int:
    """Write the folders of a year and return the size of their tables in bytes."""
    per_day, size = tracks // DAYS, 0
    connection = duckdb.connect()
    connection.execute("SELECT setseed(0.5)")
    stamp = "strftime({}, '%Y-%m-%dT%H:%M:%S.%g') || '+01:00'"
    for day in range(DAYS):
        folder = root / f"day-{day:03d}"
        folder.mkdir(parents=True)
        connection.execute(
            "CREATE OR REPLACE TABLE t AS SELECT range AS id, random() * 86300 AS a, random() * random() * 90 AS d,"
            " CASE WHEN random() < 0.6 THEN 'car' WHEN random() < 0.7 THEN 'person' ELSE 'bus' END AS c"
            f" FROM range({per_day})"
        )
        first, last = (
            f"TIMESTAMP '2023-01-01' + INTERVAL {day} DAY + to_microseconds(CAST({second} * 1e6 AS BIGINT))"
            for second in ("a", "(a + d)")
        )
        columns = {
            "camera": "'north'", "track_id": "id + 1", "class": "c", "votes": "c || '=12.3456'",
            "video": "'north.mp4'", "first_time": stamp.format(first), "last_time": stamp.format(last),
            "first_s": "round(a, 3)", "last_s": "round(a + d, 3)", "duration_s": "round(d, 3)",
            "first_frame": "CAST(a * 25 AS BIGINT)", "last_frame": "CAST((a + d) * 25 AS BIGINT)",
            "rows": "CAST(d * 25 AS BIGINT)", "mean_score": "0.5", "path_px": "100.0", "path_m": "NULL",
            "speed_kmh": "NULL", "entered_from": "''", "left_to": "''", "best_video": "'north.mp4'",
            "best_frame": "CAST((a + d / 2) * 25 AS BIGINT)",
        }  # fmt: skip
        events = {
            "time": stamp.format(first), "time_s": "round(a, 3)", "camera": "'north'", "video": "'north.mp4'",
            "video_s": "round(a, 3)", "pts": "0", "frame": "CAST(a * 25 AS BIGINT)", "track_id": "id + 1",
            "class": "c", "kind": "'stay'", "place": "'bus stop'", "direction": "''", "dwell_s": "round(d, 3)",
            "born_inside": "0", "ended_inside": "0", "x": "1", "y": "1",
        }  # fmt: skip
        for name, values, where in (("tracks", columns, "TRUE"), ("events", events, "id % 10 = 0")):
            chosen = ", ".join(f'{values[column]} AS "{column}"' for column in COLUMNS[name])
            rows = f"SELECT {chosen} FROM t WHERE {where} ORDER BY id"
            path = folder / f"{name}.csv"
            connection.execute(f"COPY ({rows}) TO '{path}' (HEADER, DELIMITER ',')")
            size += path.stat().st_size
        media = {"size_wh": [1920, 1080], "time_base": "1/90000", "first_s": 0.0, "examined_s": [0.0, 86400.0]}
        video = {"path": "/none/north.mp4", "stem": "north", "status": "ok", "media": media}
        video["outputs"] = {"tracks": str(folder / "north.tracks.jsonl")}
        manifest = {"config": {}, "videos": [video], "model": {"name": "none", "sha256": ""}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return size


def _cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


EIGHT, NINE, TEN, TWO = of_day(8), of_day(9), of_day(22), of_day(2)
QUESTIONS = {
    "cars at the bus stop, 8 to 9 o'clock, 30 s and longer": Question(
        ("car",), ("bus stop",), between=(EIGHT, NINE), longer_s=30
    ),
    "people, 22 to 2 o'clock, a minute and longer": Question(("person",), between=(TEN, TWO), longer_s=60),
    "all cars": Question(("car",)),
}


def main() -> None:
    """Generate, index and query."""
    tracks = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as place:
        root, cache = Path(place) / "year", Path(place) / "cache"
        size = generate(root, tracks)
        begun, spent = time.perf_counter(), _cpu_s()
        with Index(root, cache) as index:
            built, took = time.perf_counter() - begun, _cpu_s() - spent
            (count,) = index.connection.execute("SELECT count(*) FROM tracks").fetchone()
        kept = sum(path.stat().st_size for path in cache.iterdir())
        print(f"{count:,} tracks in {DAYS} folders, {size / 1e6:,.0f} MB of tables")
        print(f"index made in {built:.1f} s, {took:.1f} s of CPU time, {kept / 1e6:,.0f} MB", flush=True)
        for name, question in QUESTIONS.items():
            looked, asked, spent = [], [], _cpu_s()
            for _ in range(5):
                begun = time.perf_counter()
                with Index(root, cache) as index:
                    ready = time.perf_counter()
                    answer = ask(index, question)
                    looked.append(ready - begun)
                    asked.append(time.perf_counter() - ready)
            took = (_cpu_s() - spent) / 5
            print(
                f"{name}: {answer.total:,} found; the tree looked through in {sorted(looked)[2]:.2f} s, asked in "
                f"{sorted(asked)[2]:.2f} s [{min(asked):.2f} .. {max(asked):.2f}]; {took:.2f} s of CPU time for both",
                flush=True,
            )


if __name__ == "__main__":
    main()
