"""The contract of a sink, which takes the tracks of one stream, frame by frame, and stores them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypedDict

from engine.errors import CheckpointMismatch, OutputError, SinkError, describe_os_error
from engine.files.folders import Folder
from engine.records import EndOfStream, StreamInfo, Tracks

if TYPE_CHECKING:
    from engine.sinks.scene_overlay import SceneOverlay

_LOCK_NAME = ".yolo-engine.lock"
_CHUNK_BYTES = 1 << 20


class DrawnState(TypedDict, total=False):
    """The state on which the drawing of an annotated video's next frames depends (engine/sinks/overlay.py): its
    `trails`, the positions of the tracks' `labels`, and the state of its `scene`."""

    trails: list[list[float]]
    labels: list[list[int]]
    scene: Mapping[str, object]


class OutputState(DrawnState, total=False):
    """The state of an output: its first `offset` bytes are durable; or the reason why it is `lost`, that is, no longer
    written. `apart`: it is drawn in pieces, and these are only notes (engine/pipeline/drawing.py). `blur` is the state
    of blurring (engine/sinks/blur.py), `heatmap` that of the heatmap (engine/sinks/heatmap.py)."""

    offset: int
    lost: str
    apart: bool
    blur: Sequence[Mapping[str, object]]
    heatmap: Mapping[str, Any]


State = Callable[[], OutputState | None]
"""Returns the state of an output at a moment, once everything up to it is durable; None until then."""


class Sink(Protocol):
    """One output of one stream. After `open`, either `commit` or `abort` is called, once."""

    kind: str

    def open(self, info: StreamInfo) -> None: ...

    def write(self, tracks: Tracks) -> None: ...

    def commit(self, end: EndOfStream, path: Path) -> None:
        """Complete the output and publish it as `path`, atomically."""
        ...

    def abort(self) -> None:
        """Leave nothing behind. Never raises."""
        ...


class FileSink:
    """Base of the sinks that write one file per video and can resume from a checkpoint.

    Until it is complete, the output grows in a part file: beside its final path, or in the folder set with `grow_in`.
    `open` or `resume` starts it. `commit` or `abort` ends it; so do `complete`, which leaves publishing the finished
    file to others, and `suspend`, which leaves the part for a later run.
    """

    kind: str

    @property
    def scene(self) -> SceneOverlay | None:
        """The overlay that draws a scene on the output; None if there is none."""
        return None

    @property
    def offset_s(self) -> float | None:
        """The source's time at which the file starts; None if it keeps the source's times, or has not started."""
        return None

    def grow_in(self, folder: Path) -> None:
        """Set the folder of the part. Called before `open` and `resume`, if at all."""
        raise NotImplementedError

    def open(self, info: StreamInfo) -> None:
        """Start a new output; the remains of an earlier run are removed. Raises SinkError."""
        raise NotImplementedError

    def resume(self, info: StreamInfo, state: OutputState, part: Path) -> None:
        """Resume from `state`, returned by a `mark`, with a copy of the contents of `part` at that moment. Raises
        CheckpointMismatch if that is impossible, and SinkError."""
        raise NotImplementedError

    def write(self, tracks: Tracks) -> None:
        raise NotImplementedError

    def mark(self) -> State:
        """Remember this moment, after a frame, and return a function that returns the output's state at it."""
        raise NotImplementedError

    def drain(self) -> None:
        """Write all frames received so far to the part."""

    def complete(self, end: EndOfStream) -> Path:
        """Do everything but the last step of `commit`, and return the path of the durable, unpublished file."""
        raise NotImplementedError

    def commit(self, end: EndOfStream, path: Path) -> None:
        raise NotImplementedError

    def suspend(self) -> None:
        """Close the part and keep it. Never raises."""
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


def part_path(path: Path) -> Path:
    """Return the path at which an output grows until it is complete."""
    return path.with_name(path.name + ".part")


def spare_path(path: Path) -> Path:
    """Return the path at which a file that will replace another is written: a shortened part, a muxed video."""
    return path.with_name(path.name + ".new")


def fresh(part: Path) -> IO[bytes]:
    """Open a new, empty part: another file, because a suspended process may still write to the old one."""
    part.unlink(missing_ok=True)
    return open(part, "x+b")


def existing(part: Path) -> IO[bytes]:
    """Open a part for reading. Raises OSError, and CheckpointMismatch if it is not a regular file; does not follow
    links or block on a FIFO."""
    try:
        descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise CheckpointMismatch(f"{part.name} no longer exists") from error
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise CheckpointMismatch(f"{part.name} is not a file") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointMismatch(f"{part.name} is not a file")
    return open(descriptor, "rb")


def cut(source: Path, target: Path, size: int) -> None:
    """Make `target`, a new file, a durable copy of the first `size` bytes of `source`. Raises OSError, and
    CheckpointMismatch if the source is shorter or not a regular file."""
    with existing(source) as old, fresh(target) as new:
        if os.fstat(old.fileno()).st_size < size:
            raise CheckpointMismatch(f"{source.name} is shorter than at the checkpoint")
        left = size
        while left:
            try:
                copied = os.copy_file_range(old.fileno(), new.fileno(), left)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM):
                    raise
                copied = 0
            if not copied:  # not on this file system
                copied = new.write(old.read(min(left, _CHUNK_BYTES)))
                new.flush()
            if not copied:
                raise CheckpointMismatch(f"{source.name} is shorter than at the checkpoint")
            left -= copied
        os.fsync(new.fileno())


def reopened(part: Path, size: int, source: Path) -> IO[bytes]:
    """Open a copy of the first `size` bytes of another part for appending. Raises OSError and CheckpointMismatch."""
    cut(source, part, size)
    return open(part, "ab")


def publish(part: Path, path: Path) -> None:
    """Publish a finished file under its final name. Raises SinkError."""
    try:
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SinkError(f"{path.name} can't be written: {describe_os_error(error)}") from error


def discard(part: Path) -> None:
    """Remove an unfinished file, if it exists and the folder permits it."""
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_writer(folder: Path | Folder) -> Iterator[None]:
    """Lock the output folder, given by path or opened, so that two runs don't mix their files. Raises OutputError if
    another run holds it.

    The lock ends with its process, so a killed run blocks nobody. On network file systems without locks the folder is
    used without one.
    """
    path = folder / _LOCK_NAME if isinstance(folder, Path) else folder.path(_LOCK_NAME)
    descriptor = _locked(path, folder if isinstance(folder, Path) else folder.shown)
    try:
        yield
    finally:
        discard(path)  # while it is held: whoever opened it meanwhile finds it gone and makes a new one
        os.close(descriptor)


@contextlib.contextmanager
def shared_writer(folder: Path) -> Iterator[None]:
    """Share the output folder with others, such as the workers of one job, and keep out a run, which needs it
    exclusively. Raises OutputError if one holds it."""
    path = folder / _LOCK_NAME
    descriptor = _locked(path, folder, fcntl.LOCK_SH)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # others share it still
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            discard(path)
        os.close(descriptor)


def _locked(path: Path, folder: Path, kind: int = fcntl.LOCK_EX) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OutputError(f"Output folder {folder} can't be written: {describe_os_error(error)}.") from error
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass  # the run before removed it between our opening and our locking
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                return descriptor
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise OutputError(
                    f"Another run is writing to {folder}. Wait for its end, or choose another output folder."
                ) from error
            raise OutputError(f"Output folder {folder} can't be locked: {describe_os_error(error)}.") from error
        os.close(descriptor)
