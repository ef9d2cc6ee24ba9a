"""The journal of one video: what a killed run leaves to go on with, `<output>/.yolo-engine/<stem>.json`.

A JSON file with a checksum, replaced as a whole (write, fsync, rename). Its values:

    fingerprint  what the results depend on, in named parts; see engine/fingerprint.py
    attempts     how often the video was begun; written before it is opened
    outputs      kind -> path of each output, relative to the output folder
    checkpoint   frames, mark, tracker, tally, outputs (kind -> state); absent before the first one
    done         entry (of the summary) and sizes (kind -> bytes) of a completed video; then there is no checkpoint

Nothing heavy is imported here: other processes look into journals too.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zlib
from pathlib import Path, PurePath
from typing import IO, Any

from engine.errors import SinkError, describe_os_error

SCHEMA = 1

_FOLDER = ".yolo-engine"
_HALF_WRITTEN = ".tmp"
_TRIES = 20


class Damaged(ValueError):
    """The file is there, but is no journal that this version wrote whole."""


class Journal:
    """One video's journal file. `values` is what was read, or is to be written, last."""

    def __init__(self, folder: Path, stem: PurePath) -> None:
        self.folder = folder
        self._path = folder / _FOLDER / stem.with_name(stem.name + ".json")
        self.values: dict[str, Any] = {}

    def read(self) -> bool:
        """Reads the file into `values`. False when there is none. Raises Damaged."""
        self.values = {}
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Damaged(describe_os_error(error)) from error
        self.values = _unpacked(text)
        return True

    def write(self) -> None:
        """Writes `values`, durably and whole. Raises SinkError."""
        body = json.dumps(self.values, separators=(",", ":"))
        text = json.dumps({"schema": SCHEMA, "crc32": zlib.crc32(body.encode()), "values": body})
        # A name of its own: a halted process that wakes may be writing too.
        part = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}{_HALF_WRITTEN}")
        try:
            with self._created(part) as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise SinkError(f"{_FOLDER}/{self._path.name} can't be written: {describe_os_error(error)}") from error

    def _created(self, part: Path) -> IO[bytes]:
        """Opens a new file in the journals' folder, which whoever removes another journal may be removing just now."""
        for _ in range(_TRIES):
            # mkdir too finds a folder "there" that is gone when it looks what it is.
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return open(part, "xb")
        return open(part, "xb")

    def remove(self) -> None:
        """Removes the file, and the folders that are empty without it. Never raises."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):  # the first that is not empty ends it
            for parent in self._path.parents:
                if parent == self.folder:
                    break
                parent.rmdir()


def clean(folder: Path) -> None:
    """Removes what writers that were killed left half written, and the folders that are empty without it. For a time
    when nobody writes. Never raises."""
    for root, _, names in os.walk(folder / _FOLDER, topdown=False):
        for name in names:
            if name.endswith(_HALF_WRITTEN):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(root, name))
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(root)


def peek(folder: Path, stem: PurePath) -> int:
    """Frames of the last checkpoint of the video `stem`; 0 where there is none, or it is damaged."""
    journal = Journal(folder, stem)
    try:
        journal.read()
    except Damaged:
        return 0
    return int((journal.values.get("checkpoint") or {}).get("frames", 0))


def _unpacked(text: bytes) -> dict[str, Any]:
    try:
        outer = json.loads(text)
        if outer["schema"] != SCHEMA:
            raise Damaged(f"of schema {outer['schema']}, not {SCHEMA}")
        if zlib.crc32(outer["values"].encode()) != outer["crc32"]:
            raise Damaged("its checksum is wrong")
        values = json.loads(outer["values"])
    except Damaged:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged("not whole") from error
    assert isinstance(values, dict)
    return values
