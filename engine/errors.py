"""Every error the engine raises.

EngineError
├── ConfigError           a key, flag or file of the configuration is wrong        (exit status 2)
├── ModelError            the model can't be found, read or used                   (exit status 2)
│   └── PlanError         a TensorRT plan can't be made of it, or does not fit here (exit status 2)
├── BackendError          inference failed while running
│   ├── BackendMissing    the requested backend or device is not available         (exit status 2)
│   └── NotFinite         the model's output for a frame is not finite; fails only that video
├── InputError            nothing to process, or an input that does not exist      (exit status 2)
│   └── LaterVersion      written by a later version than this one                 (exit status 2)
├── OutputError           the output folder can't be written
└── VideoError            one video failed; the others continue
    ├── SourceError       can't be opened or read
    │   └── StorageError  an object in storage can't be
    ├── DecodeError       opened, but yields no usable frames
    │   └── OverLimit     exceeds a limit of the configuration
    ├── SinkError         its results can't be written
    │   └── Unencodable   its annotated video can't be encoded; its rows are kept
    ├── DrawingStopped    stopped while the pieces of its annotated video were drawn
    ├── LeaseLost         it now belongs to another attempt: nothing of it is touched any more
    └── CheckpointMismatch  can't resume from its checkpoint: the engine starts it over by itself

Foreign errors (PyAV, ONNX Runtime, the operating system) become one of these at the boundary, with the original error
as `__cause__`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from engine.text.printable import LIMIT, printable


class EngineError(Exception):
    """Root of all errors. `stage`, `stream` and `frame` say where it happened, once known."""

    stage: str | None = None
    stream: str | None = None
    frame: int | None = None


class ConfigError(EngineError, ValueError):
    """Names the key, the rule and the actual value."""


class ModelError(EngineError):
    """Names the model and the remedy. Its text may contain data from a model's file or a plan's record, so it is
    printed as untrusted text."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, 4 * LIMIT))


class PlanError(ModelError):
    """A TensorRT plan can't be built, or can't be loaded here; says what differs and names the command that repairs
    it."""


class BackendError(EngineError):
    """Inference failed while running."""


class BackendMissing(BackendError):
    """The requested backend is not installed or not working here; names the remedy."""


class NotFinite(BackendError):
    """The model's output for a frame has no finite values from which a box could be read."""


class InputError(EngineError):
    """An input does not exist or contains no video."""


class LaterVersion(InputError):
    """A file was written by a later version, whose keys may have other meanings."""


class OutputError(EngineError):
    """The output folder can't be written."""


class VideoError(EngineError):
    """One video failed."""


class SourceError(VideoError):
    """The video can't be opened or read."""


class StorageError(SourceError, OSError):
    """An object in storage can't be read or written; says why, and the remedy. `transient`: asking again may help.
    `missing`: there is none. `outdated`: it is another one by now."""

    def __init__(self, message: str, *, transient: bool = False, missing: bool = False, outdated: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        self.missing = missing
        self.outdated = outdated


class DecodeError(VideoError):
    """The video opens but can't be decoded."""


class OverLimit(DecodeError):
    """The video exceeds a limit of the configuration; names the key, the limit and the actual value."""


class SinkError(VideoError):
    """Results can't be written."""


class Unencodable(SinkError):
    """These frames or times can't be encoded as an annotated video, however much disk space there is. The rows are
    unaffected."""


class DrawingStopped(VideoError):
    """The run was stopped while the pieces of an annotated video were drawn."""


class LeaseLost(VideoError):
    """The video now belongs to another attempt. The files on the disk are that attempt's, and are left alone."""


class CheckpointMismatch(VideoError):
    """The video can't resume from its checkpoint; says why. It is started over."""


def describe_os_error(error: OSError) -> str:
    """Return one short phrase for an operating-system error, without the numbers and the repeated path."""
    if error.errno == errno.ENOSPC:
        return "no space left on the disk"
    return (error.strerror or str(error)).lower()


@contextmanager
def where(stage: str, stream: str | None = None, frame: int | None = None) -> Iterator[None]:
    """Add stage, stream and frame to an EngineError that passes through. Values set further inside are kept."""
    try:
        yield
    except EngineError as error:
        error.stage = error.stage or stage
        error.stream = error.stream or stream
        error.frame = error.frame if error.frame is not None else frame
        raise
