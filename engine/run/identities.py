"""What the inputs of a run are, by size and hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from engine.errors import VideoError
from engine.files.objects import open_input
from engine.files.opened import OpenedFile
from engine.media.inputs import Video
from engine.pipeline.stream import StreamRun
from engine.results import file_identity
from engine.summary import InputJson


class Identities:
    """Opens the files of videos, each once, and hashes them on a thread of its own from the descriptors that are read.

    `broken_off` says that nobody waits for them any more.
    """

    def __init__(self, broken_off: Callable[[], bool], roots: Sequence[Path] = ()) -> None:
        self._broken_off = broken_off
        self._roots = roots
        self._pool = ThreadPoolExecutor(1, "hash")
        self._found: dict[int, Future[InputJson | None]] = {}

    def open(self, key: int, video: Video) -> OpenedFile:
        """Return the video's file, whose hash is begun. Raises SourceError."""
        file = open_input(video.path, self._roots)
        try:
            self._found[key] = self._pool.submit(file_identity, file, self._broken_off)
        except RuntimeError:  # shut down meanwhile
            file.close()
            raise
        return file

    def read_again(self, key: int, video: Video) -> None:
        """Begin the hash of a file that is not to be decoded."""

        def identity() -> InputJson | None:
            try:
                with open_input(video.path, self._roots) as file:
                    return file_identity(file, self._broken_off)
            except VideoError:
                return None

        self._found[key] = self._pool.submit(identity)

    def of(self, run: StreamRun) -> InputJson | None:
        """Wait for a video's identity; None if there is none, or it was aborted."""
        return found.result() if (found := self._found.get(run.key)) is not None else None

    def close(self, run: StreamRun) -> None:
        """Close the file of a video that has ended, once it is hashed."""
        if run.file is not None:
            self.of(run)
            run.file.close()

    def known(self) -> dict[int, InputJson]:
        """Return the identities that were found, by the video's key. To be asked after `shutdown`."""
        found = {key: future.result() for key, future in self._found.items() if not future.cancelled()}
        return {key: identity for key, identity in found.items() if identity is not None}

    def shutdown(self, *, cancel: bool) -> None:
        self._pool.shutdown(cancel_futures=cancel)
