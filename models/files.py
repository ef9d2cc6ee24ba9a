"""Files on disk: the user's cache folder, reading regular files of bounded size, hashes, and atomic writes."""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from models.errors import ModelError

_CHUNK = 1 << 20
_MAX_BYTES = 1 << 36  # limit of files that are hashed: 64 GiB, larger than any model
_MAX_RECORD_BYTES = 4096


def cache_dir(kind: str) -> Path:
    """Return `$XDG_CACHE_HOME/yolo-engine/KIND`, by default below `~/.cache`. It is not created here."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given else Path("~/.cache").expanduser()
    return base / "yolo-engine" / kind


def open_regular(path: Path, most_bytes: int = _MAX_BYTES, *, beside: int | None = None) -> IO[bytes]:
    """Open a regular file of at most `most_bytes` as a binary stream. Raises ModelError for anything else.

    Opening never blocks, as it would for a FIFO, and the opened file is the one that was checked. With `beside`, the
    descriptor of a folder, `path` is a name in it and must not be a link.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if beside is not None else 0)
    try:
        descriptor = os.open(path, flags, dir_fd=beside)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL or undecodable bytes
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise ModelError(f"{path}: is not a regular file, but {_kind(facts.st_mode)}. Name the file itself.")
        if facts.st_size > most_bytes:
            raise ModelError(f"{path}: is too large: {facts.st_size:,} bytes, where {most_bytes:,} are the most.")
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for is_one, name in kinds.items() if is_one(mode)), "a device")


def read_regular(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file of at most `most_bytes`. Raises ModelError."""
    try:
        with open_regular(path, most_bytes) as stream:
            data = stream.read(most_bytes + 1)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if len(data) > most_bytes:
        raise ModelError(f"{path}: grows while it is read, beyond {most_bytes:,} bytes.")
    return data


def sha256_of(path: Path, most_bytes: int = _MAX_BYTES) -> str:
    """Return the SHA-256 of a regular file of at most `most_bytes` as 64 hexadecimal digits. Raises ModelError."""
    with open_regular(path, most_bytes) as stream:
        return sha256_of_stream(stream, str(path))


def sha256_of_stream(stream: IO[bytes], name: str) -> str:
    """Return the SHA-256 of the rest of a stream, called `name` in a ModelError."""
    digest = hashlib.sha256()
    try:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{name}: cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary stream whose content appears at `path` if the block succeeds, and is discarded if it raises."""
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
            os.fchmod(stream.fileno(), 0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def record_of(path: Path) -> Path:
    """Return the file beside `path` that records the hash with which `path` was accepted."""
    return path.with_name(path.name + ".sha256")


def accepted_hash(path: Path) -> str:
    """Return the hash recorded beside `path`; "" if there is none."""
    try:
        words = read_regular(record_of(path), _MAX_RECORD_BYTES).decode("ascii").split()
    except (ModelError, UnicodeDecodeError):
        return ""
    return words[0] if words else ""


def accept(path: Path, sha256: str) -> None:
    """Record `sha256` beside `path`, in the format of the command `sha256sum`."""
    with atomic_write(record_of(path)) as stream:
        stream.write(f"{sha256}  {path.name}\n".encode("ascii"))
