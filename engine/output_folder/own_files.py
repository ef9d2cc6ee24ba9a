"""Recognises this program's own files: it replaces files of its earlier runs, and nothing else.

A file is recognised by its content, whichever run wrote it, even if that run was killed or its manifest is gone. A file
without a known mark is the program's own if a manifest names it. Files in a format defined by others (MOTChallenge
rows) count as its own if they have exactly the form that it writes.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from engine.choices.formats import CLIP_LISTS, CLIPS_FOLDER, EXPORT_FOLDER, EXPORT_NOTE, FORMATS
from engine.errors import OutputError, describe_os_error
from engine.files.folders import Folder
from engine.media.annotated import OutputFolders, bears_note

STATE_FOLDER = ".yolo-engine"
"""The folder, next to the results, from which an unfinished run continues."""

_Form = Callable[[IO[bytes]], bool]

_LONGEST_ROW = 1 << 16
_LARGEST_JSON = 1 << 28
_LARGEST_PAGE = 1 << 26
_LARGEST_FOOTER = 1 << 26
_MOT_ROW = re.compile(rb"\d+,\d+(?:,-?\d+\.\d\d){4},-?\d+\.\d{4},-1,-1,-1\n")


def is_own(path: Path) -> bool:
    """Return whether `path` can be replaced without losing anything: it does not exist, is empty, is not a file (a link
    is replaced, never its target), or was written by this program."""
    try:
        folder = Folder.at(path.parent)
    except OSError:  # unreadable, and can't be replaced either
        return True
    with folder:
        return is_own_in(folder, path.name)


def is_own_in(folder: Folder, name: str) -> bool:
    """Do as `is_own`, in an open folder."""
    try:
        facts = folder.facts(name)
        if facts is None or not facts.st_size or not stat.S_ISREG(facts.st_mode):
            return True
        with folder.open(name) as file:
            if any(name.endswith(suffix) and has_form(file) for suffix, has_form in _FORMS):
                return True
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # unreadable, but a record may name it all the same
        pass
    return OutputFolders().lists(folder.shown / name)


def refuse_foreign_page(path: Path, *, overwrite: bool = False) -> None:
    """Do as `refuse_foreign` for a page of any name; other files of ours count as foreign, too."""
    try:
        with Folder.at(path.parent) as folder:
            facts = folder.facts(path.name)
            if overwrite or facts is None or not facts.st_size or stat.S_ISLNK(facts.st_mode):
                return
            with folder.open(path.name) as file:
                if _is_page(file):
                    return
    except ValueError:  # no file
        pass
    except OSError:  # reported when it is written
        return
    raise OutputError(foreign(path))


def refuse_foreign(*paths: Path, overwrite: bool = False) -> None:
    """Raise OutputError if one of the paths to be written is a file that this program did not write; with `overwrite`,
    nothing is refused."""
    for path in () if overwrite else paths:
        if not is_own(path):
            raise OutputError(foreign(path))


def foreign(path: Path) -> str:
    """Return the message about a file that this program did not write, with the remedies."""
    return (
        f"{path} was not written by yolo-engine, and would be overwritten. Move it away, name another output folder, "
        "or pass --overwrite."
    )


def refuse_foreign_export(parent: Folder, target: Path) -> None:
    """Raise OutputError if `target`, in `parent`, exists and is not an export that may be replaced. Raises OSError."""
    facts = parent.facts(target.name)
    if facts is None:
        return
    if not stat.S_ISDIR(facts.st_mode):
        raise OutputError(f"{target} is not a folder. Move it away, or name another folder with --output DIR.")
    with parent.sub(target.name) as there:
        note = there.facts(EXPORT_NOTE)
        if there.names() and (note is None or not stat.S_ISREG(note.st_mode)):
            raise OutputError(
                f"{target} holds other files than an export, which would take their place. Move them away, or name "
                "another folder with --output DIR."
            )


def refuse_foreign_below(output: Path, *, clips: bool, exports: Iterable[str], overwrite: bool = False) -> None:
    """Raise OutputError, before hours of work are spent, if something below an output folder is in the way of clips or
    of exports in these formats. `overwrite` allows replacing lists of clips; a foreign folder is never replaced."""
    with contextlib.ExitStack() as opened:
        try:
            folder = opened.enter_context(Folder.at(output))
        except OSError:  # created, or reported, when it is prepared
            return
        if clips and (below := _own_folder(folder, CLIPS_FOLDER)) is not None:
            with below:
                for name in () if overwrite else CLIP_LISTS:
                    if not is_own_in(below, name):
                        raise OutputError(foreign(below.shown / name))
        names = tuple(exports)
        if names and (parent := _own_folder(folder, EXPORT_FOLDER)) is not None:
            with parent:
                for name in names:
                    try:
                        refuse_foreign_export(parent, parent.shown / name)
                    except OSError as error:
                        raise OutputError(
                            f"{parent.shown / name} can't be read: {describe_os_error(error)}."
                        ) from error


def _own_folder(output: Folder, name: str) -> Folder | None:
    """Open a folder below an output folder; None if it does not exist yet. Raises OutputError if it can't be opened."""
    try:
        return output.sub(name)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise OutputError(
            f"{output.shown / name} is not a folder. Move it away, or name another folder with --output DIR."
        ) from None
    except OSError as error:
        raise OutputError(f"{output.shown / name} can't be read: {describe_os_error(error)}.") from error


# -- forms ------------------------------------------------------------------------------------------------------------


def _has_keys(*keys: str) -> _Form:
    """Return the form of a line of JSON with at least these keys."""

    def form(file: IO[bytes]) -> bool:
        try:
            row = json.loads(file.readline(_LONGEST_ROW))
        except (ValueError, RecursionError):
            return False
        return isinstance(row, dict) and row.keys() >= set(keys)

    return form


def _is_json(**types: type) -> _Form:
    """Return the form of a single JSON value with these keys, of these types."""

    def form(file: IO[bytes]) -> bool:
        text = file.read(_LARGEST_JSON + 1)
        try:
            value = json.loads(text) if len(text) <= _LARGEST_JSON else None
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in types.items())

    return form


def _begins(*heads: bytes) -> _Form:
    return lambda file: file.read(max(map(len, heads))).startswith(heads)


def _is_page(file: IO[bytes]) -> bool:
    return b'name="generator" content="yolo-engine"' in file.read(_LARGEST_PAGE)


def _is_mot(file: IO[bytes]) -> bool:
    return _MOT_ROW.fullmatch(file.readline(_LONGEST_ROW)) is not None


def _is_crops(file: IO[bytes]) -> bool:
    """Return whether it is an uncompressed archive whose first entry is the index."""
    head = file.read(41)
    return head.startswith(b"PK\x03\x04") and head[30:] == b"index.jsonl"


def _is_parquet(file: IO[bytes]) -> bool:
    """Check the footer, which is at the end and followed by its length."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or not length <= min(size - 8, _LARGEST_FOOTER):
        return False
    file.seek(size - 8 - length)
    return b"yolo_engine_schema" in file.read(length)


def _is_workbook(file: IO[bytes]) -> bool:
    try:
        with zipfile.ZipFile(file) as book, book.open("docProps/core.xml") as core:
            return re.search(rb"<dc:description>schema \d+</dc:description>", core.read(_LONGEST_ROW)) is not None
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, zlib.error):
        return False


_DETECTION = ("frame", "pts", "class_id", "class", "score", "box_xyxy")
_ROWS: dict[str, _Form] = {
    "tracks": _has_keys(*_DETECTION, "time_s", "track_id"),
    "detections": _has_keys(*_DETECTION),
    "mot": _is_mot,
}
# By the end of the name; for a table the first columns are enough, since later versions may append columns.
_FORMS: tuple[tuple[str, _Form], ...] = (
    *((form.suffix, _ROWS[kind]) for kind, form in FORMATS.items()),
    (".detections.bin", _begins(b"yolo-engine detections ")),
    (".crops.zip", _is_crops),
    (".heatmap.json", _is_json(schema=int, classes=dict)),
    (".mp4", bears_note),
    ("manifest.json", _is_json(videos=list, config=dict)),
    ("retrack.json", _is_json(schema=int, videos=list)),
    ("heatmap.json", _is_json(schema=int, cameras=dict)),
    ("tracks.csv", _begins(b"camera,track_id,class,votes,")),
    ("events.csv", _begins(b"time,time_s,camera,video,")),
    ("counts.csv", _begins(b"camera,bin_start,bin_end,")),
    ("od.csv", _begins(b"camera,from,to,class,")),
    ("travel_times.csv", _begins(b"camera,from,to,class,")),
    ("clips.csv", _begins(b"clip,mode,camera,video,")),
    ("empty.txt", _begins(b"# Videos in which no track was found.")),
    ("found.csv", _begins(b"picture,folder,camera,video,")),
    (".parquet", _is_parquet),
    ("tables.xlsx", _is_workbook),
    (".html", _is_page),
)
