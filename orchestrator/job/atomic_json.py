"""Atomic JSON files, of which a job's durable state consists, on disk or in object storage (`files`)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from orchestrator.job.files import AnyPath, file_at

MAX_BYTES = 1 << 20
"""Maximum bytes of a record: a lease, a result, a cancellation."""

MAX_LIST_BYTES = 256 << 20
"""Maximum bytes of a record with a job's list of videos: four times that of 100,000 videos."""


def write_json(path: AnyPath, value: object) -> None:
    """Write or replace a file; after a crash it contains the old or the new value. Raises OSError."""
    file_at(path).replace(_text(value), durable=True)


def write_quick(path: AnyPath, value: object) -> None:
    """Replace a file that may be lost in a crash of the machine (progress). Raises OSError."""
    file_at(path).replace(json.dumps(value).encode(), durable=False)


def write_once(path: AnyPath, value: object) -> bool:
    """Create a file. Return False if it exists already; of two concurrent writers, one wins."""
    return file_at(path).create(_text(value))


def read_json(path: AnyPath, largest: int = MAX_BYTES) -> object:
    """Return the value of a file; None if it does not exist. Raises OSError if it can't be read, ValueError if it is
    not a regular file, not JSON, or larger than `largest` bytes."""
    data = file_at(path).read(largest)
    return None if data is None else parse_json(data)


def parse_json(data: bytes | str) -> object:
    """Parse JSON strictly. Raises ValueError, also for deep nesting and for Python's extensions: encodings other than
    UTF-8, NaN, Infinity."""
    try:
        value: object = json.loads(data if isinstance(data, str) else data.decode(), parse_constant=_no_number)
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def object_in(path: AnyPath, largest: int = MAX_BYTES) -> Mapping[str, object] | None:
    """Return the JSON object in a file; None if it does not exist, can't be read, or contains something else."""
    try:
        value = read_json(path, largest)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def there(path: AnyPath) -> bool:
    """Return whether a file exists. Raises OSError if that can't be determined."""
    return file_at(path).surely_exists()


def append_line(path: AnyPath, value: object) -> None:
    """Append one line of JSON. Lines of several processes don't mix. Raises OSError."""
    file_at(path).append(json.dumps(value, ensure_ascii=True).encode() + b"\n")


def _text(value: object) -> bytes:
    return f"{json.dumps(value, indent=1)}\n".encode()


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
