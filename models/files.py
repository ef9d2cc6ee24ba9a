"""Files on disk: the user's cache folder, hashes, and writing a file so that it is whole or not there."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from models.errors import ModelError

_CHUNK = 1 << 20


def cache_dir(kind: str) -> Path:
    """`$XDG_CACHE_HOME/yolo-engine/KIND`, by default below `~/.cache`. It is not created here."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given else Path("~/.cache").expanduser()
    return base / "yolo-engine" / kind


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in 64 hexadecimal digits; an unreadable file is a ModelError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream whose content appears at `path` when the block ends well, and nowhere when it raises."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise ModelError(f"{path.parent}: cannot be written: {error.strerror or error}.") from error
    part = Path(name)
    try:
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def record_of(path: Path) -> Path:
    """The file beside `path` that holds the hash under which `path` was accepted."""
    return path.with_name(path.name + ".sha256")


def accepted_hash(path: Path) -> str:
    """The hash on record beside `path`, empty where there is no record."""
    try:
        words = record_of(path).read_text("ascii").split()
    except (OSError, UnicodeDecodeError):
        return ""
    return words[0] if words else ""


def accept(path: Path, sha256: str) -> None:
    """Put `sha256` on record beside `path`, in the form the `sha256sum` command reads."""
    with atomic_write(record_of(path)) as stream:
        stream.write(f"{sha256}  {path.name}\n".encode("ascii"))
