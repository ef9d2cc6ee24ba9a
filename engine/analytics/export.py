"""Tables as files: always CSV; Parquet (pyarrow) and XLSX (XlsxWriter) if requested.

Both come with the extra `tables`: pyarrow is the reference writer of Parquet, and XlsxWriter writes row by row, so a
long table is never in memory twice. Files appear whole or not at all, and the same answers give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.analytics.analysis import Answers
from engine.analytics.settings import DEFAULT_BIN_S, check_formats
from engine.analytics.tables import COLUMNS, SCHEMA, Row, tables_of, to_csv
from engine.choices.formats import table_names
from engine.errors import OutputError, describe_os_error
from engine.files.folders import Folder
from engine.output_folder.own_files import refuse_foreign

_WHOLE = frozenset("track_id first_frame last_frame rows best_frame pts born_inside ended_inside count tracks".split())
_REAL = frozenset(
    "first_s last_s duration_s mean_score path_px path_m speed_kmh time_s video_s frame dwell_s x y examined_s median_s"
    " p15_s p85_s min_s max_s".split()
)
_ROWS_OF_A_SHEET = 1_048_575
_LONGEST_CELL = 32_767


def write_tables(
    folder: Path,
    cameras: Sequence[Answers],
    bin_s: float = DEFAULT_BIN_S,
    formats: Iterable[str] = ("csv",),
    *,
    overwrite: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> dict[str, str]:
    """Write the tables of all cameras into `folder` and return their paths by name, such as `counts.csv`.

    `beside` has other files by name, which are written faster together with the tables. Raises ConfigError if a
    format's library is missing, OutputError if a file can't be written or would replace one that this program did not
    write (`overwrite` allows that).
    """
    wanted = ["csv", *(name for name in dict.fromkeys(formats) if name != "csv")]
    check_formats(wanted)
    beside = beside or {}
    refuse_foreign(*(folder / name for name in (*table_names(wanted), *beside)), overwrite=overwrite)
    rows: dict[str, list[Row]] = {name: [] for name in COLUMNS}
    for answers in cameras:
        for name, found in tables_of(answers, bin_s).items():
            rows[name] += found
    made: dict[str, bytes] = {}
    for name in COLUMNS:
        made[f"{name}.csv"] = _text(to_csv(name, rows[name])).encode()
        if "parquet" in wanted:
            made[f"{name}.parquet"] = _parquet(name, rows[name])
    if "xlsx" in wanted:
        made["tables.xlsx"] = _xlsx(rows)
    made |= beside
    _write_all(folder, made)
    return {name: str(folder / name) for name in made}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically and durably. Raises OutputError."""
    try:
        with Folder.at(path.parent) as folder:
            folder.put(path.name, content)
    except OSError as error:
        raise OutputError(f"{path} can't be written: {describe_os_error(error)}.") from error


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    try:
        with Folder.at(folder) as place:
            place.put_all(contents)
    except OSError as error:
        raise OutputError(f"The tables in {folder} can't be written: {describe_os_error(error)}.") from error


def _text(value: str) -> str:
    """Return text that can be encoded: a file name may contain undecodable bytes."""
    return value.encode("utf-8", "backslashreplace").decode()


def _parquet(name: str, rows: Sequence[Row]) -> bytes:
    import pyarrow.parquet

    def column(key: str) -> Any:
        values = [row[key] for row in rows]
        if key in _WHOLE:
            return pyarrow.array(values, pyarrow.int64())
        if key in _REAL:
            return pyarrow.array(values, pyarrow.float64())
        return pyarrow.array([None if value is None else _text(str(value)) for value in values], pyarrow.string())

    table = pyarrow.table({key: column(key) for key in COLUMNS[name]})
    table = table.replace_schema_metadata({"yolo_engine_schema": str(SCHEMA)})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    return out.getvalue()


def _xlsx(tables: dict[str, list[Row]]) -> bytes:
    import xlsxwriter

    out = io.BytesIO()
    # Text stays text: a name that looks like a formula or a link must not become one.
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(out, options) as book:
        book.set_properties({"created": datetime(2000, 1, 1), "comments": f"schema {SCHEMA}"})
        bold = book.add_format({"bold": True})
        for name, rows in tables.items():
            for part, start in enumerate(range(0, max(1, len(rows)), _ROWS_OF_A_SHEET)):
                sheet = book.add_worksheet(name if not part else f"{name} ({part + 1})")
                sheet.write_row(0, 0, COLUMNS[name], bold)
                sheet.freeze_panes(1, 0)
                for number, row in enumerate(rows[start : start + _ROWS_OF_A_SHEET], 1):
                    for place, key in enumerate(COLUMNS[name]):
                        value = row[key]
                        if value is not None and value != "":
                            sheet.write(
                                number, place, _text(value)[:_LONGEST_CELL] if isinstance(value, str) else value
                            )
    return out.getvalue()
