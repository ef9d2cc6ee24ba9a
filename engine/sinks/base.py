"""What a sink is: something that takes the tracks of one stream, frame by frame, and keeps them."""

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
    """What the drawing on an annotated video's next frames depends on (engine/sinks/overlay.py): its `trails`, where
    the `labels` of tracks stood, and what is known of its `scene`."""

    trails: list[list[float]]
    labels: list[list[int]]
    scene: Mapping[str, object]


class OutputState(DrawnState, total=False):
    """How far an output has come: its first `offset` bytes are durable; or why it is `lost`: it is made no longer.
    `blur` is what an annotated video hides further on (engine/sinks/blur.py), `heatmap` is where tracks were
    (engine/sinks/heatmap.py)."""

    offset: int
    lost: str
    blur: Sequence[Mapping[str, object]]
    heatmap: Mapping[str, Any]


State = Callable[[], OutputState | None]
"""How far an output had come at a moment, once all up to there is durable; None as long as it is not."""


class Sink(Protocol):
    """One output of one stream. After `open`, either `commit` or `abort` is called, once."""

    kind: str

    def open(self, info: StreamInfo) -> None: ...

    def write(self, tracks: Tracks) -> None: ...

    def commit(self, end: EndOfStream, path: Path) -> None:
        """Complete the output and let it appear as `path`, whole or not at all."""
        ...

    def abort(self) -> None:
        """Leave nothing behind. Never raises."""
        ...


class FileSink:
    """Base of the sinks that keep one file a video and can continue where a checkpoint left it.

    Until it is complete, the output grows in a part: beside its final path, or where `grow_in` says. `open` or `resume`
    begins it; `commit` or `abort` ends it, or `complete`, which leaves the finished file to be published by others, or
    `suspend`, which leaves the part for a later run.
    """

    kind: str

    @property
    def scene(self) -> SceneOverlay | None:
        """What draws a scene on the output; None if none is drawn."""
        return None

    @property
    def offset_s(self) -> float | None:
        """The source's time at which the file begins; None if it keeps the source's times, or has not begun."""
        return None

    def grow_in(self, folder: Path) -> None:
        """Say where the part is to be. Called before `open` and `resume`, if at all."""
        raise NotImplementedError

    def open(self, info: StreamInfo) -> None:
        """Begin a new output. What an earlier run left of it goes. Raises SinkError."""
        raise NotImplementedError

    def resume(self, info: StreamInfo, state: OutputState, part: Path) -> None:
        """Continue where `state`, of a `mark`, was taken, with a copy of what stood in `part` then. Raises
        CheckpointMismatch if that can't be, and SinkError."""
        raise NotImplementedError

    def write(self, tracks: Tracks) -> None:
        raise NotImplementedError

    def mark(self) -> State:
        """Remember this moment, behind a frame, and return the function that gives the output's `offset` at it."""
        raise NotImplementedError

    def drain(self) -> None:
        """Bring all frames given so far into the part."""

    def complete(self, end: EndOfStream) -> Path:
        """Do all of `commit` but the last step: the finished file is durable, and has not appeared. Its path."""
        raise NotImplementedError

    def commit(self, end: EndOfStream, path: Path) -> None:
        raise NotImplementedError

    def suspend(self) -> None:
        """Close the part and leave it. Never raises."""
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError


def part_path(path: Path) -> Path:
    """Return where an output grows until it is complete."""
    return path.with_name(path.name + ".part")


def spare_path(path: Path) -> Path:
    """Return where a whole file is made that will take the place of another: a shortened part, a muxed video."""
    return path.with_name(path.name + ".new")


def fresh(part: Path) -> IO[bytes]:
    """Open a part again: another file, not the old one emptied, to which a halted process may still write."""
    part.unlink(missing_ok=True)
    return open(part, "x+b")


def existing(part: Path) -> IO[bytes]:
    """Open a part for reading. Raises OSError, and CheckpointMismatch if it is no file: a link is not followed, a
    FIFO not waited for."""
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
    """Make `target` a durable copy of the first `size` bytes of `source`, in a file of its own. Raises OSError, and
    CheckpointMismatch if the source is shorter, or no file."""
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
    """Open a copy of the first `size` bytes of another part, to be written on. Raises OSError and
    CheckpointMismatch."""
    cut(source, part, size)
    return open(part, "ab")


def publish(part: Path, path: Path) -> None:
    """Let a finished file appear under its final name. Raises SinkError."""
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
    """Remove an unfinished file, if it is there and the folder still lets us."""
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_writer(folder: Path | Folder) -> Iterator[None]:
    """Hold the output folder, given by its path or open, so that two runs don't mix their files. Raises OutputError
    where another run has it.

    The lock dies with its process, so that a killed run blocks nobody. Some network file systems have no locks; there
    the folder is used without one.
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
    """Hold the output folder beside others who share it, such as the workers of one job: against a run of its own,
    which wants it for itself. Raises OutputError if one has it."""
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
