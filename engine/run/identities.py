"""Sizes and hashes of a run's inputs."""

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
    """Opens each video file once, and hashes it on a separate thread through the descriptor that is decoded from.

    `broken_off` returns True once nobody waits for the hashes any more.
    """

    def __init__(self, broken_off: Callable[[], bool], roots: Sequence[Path] = ()) -> None:
        self._broken_off = broken_off
        self._roots = roots
        self._pool = ThreadPoolExecutor(1, "hash")
        self._found: dict[int, Future[InputJson | None]] = {}

    def open(self, key: int, video: Video) -> OpenedFile:
        """Open a video's file and start hashing it. Raises SourceError."""
        file = open_input(video.path, self._roots)
        try:
            self._found[key] = self._pool.submit(file_identity, file, self._broken_off)
        except RuntimeError:  # shut down meanwhile
            file.close()
            raise
        return file

    def read_again(self, key: int, video: Video) -> None:
        """Start hashing a file that will not be decoded."""

        def identity() -> InputJson | None:
            try:
                with open_input(video.path, self._roots) as file:
                    return file_identity(file, self._broken_off)
            except VideoError:
                return None

        self._found[key] = self._pool.submit(identity)

    def of(self, run: StreamRun) -> InputJson | None:
        """Wait for a video's identity and return it; None if there is none or hashing was aborted."""
        return found.result() if (found := self._found.get(run.key)) is not None else None

    def close(self, run: StreamRun) -> None:
        """Close the file of a finished video once it is hashed."""
        if run.file is not None:
            self.of(run)
            run.file.close()

    def known(self) -> dict[int, InputJson]:
        """Return the identities by video key. Call it after `shutdown`."""
        found = {key: future.result() for key, future in self._found.items() if not future.cancelled()}
        return {key: identity for key, identity in found.items() if identity is not None}

    def shutdown(self, *, cancel: bool) -> None:
        self._pool.shutdown(cancel_futures=cancel)
