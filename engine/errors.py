"""Every error the engine raises.

EngineError
├── ConfigError           a key, flag or file of the configuration is wrong        (exit status 2)
├── ModelError            the model can't be found, read or used                   (exit status 2)
│   └── PlanError         a TensorRT plan can't be made of it, or does not fit here (exit status 2)
├── BackendError          inference failed while running
│   ├── BackendMissing    the backend or device asked for is not there             (exit status 2)
│   └── NotFinite         what the model gives for a frame is no numbers; fails that video alone
├── InputError            nothing to process, or an input that does not exist      (exit status 2)
│   └── LaterVersion      written by a later version than this one                 (exit status 2)
├── OutputError           the output folder can't be written
└── VideoError            one video failed; the others continue
    ├── SourceError       can't be opened or read
    ├── DecodeError       opened, but gives no usable frames
    │   └── OverLimit     goes beyond a limit of the configuration
    ├── SinkError         its results can't be written
    │   └── Unencodable   the annotated video can't be made of it: its rows are kept
    ├── LeaseLost         it belongs to another attempt by now: nothing of it is touched any more
    └── CheckpointMismatch  can't continue at its checkpoint: the engine starts it over by itself

Foreign errors (PyAV, ONNX Runtime, the operating system) become one of these at the border and stay as `__cause__`.
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
    """Names the key, the rule and what was found."""


class ModelError(EngineError):
    """Names the model and the remedy. What a model's file, or the record of a plan, says of itself may be in it, so
    that it is written as strangers' text."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, 4 * LIMIT))


class PlanError(ModelError):
    """A TensorRT plan can't be made, or is not one that can be loaded here; says what differs and the command that
    repairs it."""


class BackendError(EngineError):
    """Inference failed while running."""


class BackendMissing(BackendError):
    """What was requested is not installed or not working here; names the remedy."""


class NotFinite(BackendError):
    """The model's output for a frame has no finite value that a box could be read from."""


class InputError(EngineError):
    """An input does not exist or contains no video."""


class LaterVersion(InputError):
    """A file of a later version than this one, whose keys may mean something else."""


class OutputError(EngineError):
    """The output folder can't be written."""


class VideoError(EngineError):
    """One video failed."""


class SourceError(VideoError):
    """The video can't be opened or read."""


class DecodeError(VideoError):
    """The video opens but can't be decoded."""


class OverLimit(DecodeError):
    """The video goes beyond a limit of the configuration; names key, limit and what was found."""


class SinkError(VideoError):
    """Results can't be written."""


class Unencodable(SinkError):
    """No annotated video can be made of these frames or times, however much room there is. The rows are not touched."""


class LeaseLost(VideoError):
    """The video belongs to another attempt by now. What is on the disk is that one's, and is left alone."""


class CheckpointMismatch(VideoError):
    """The video can't continue at its checkpoint; says why. It is started over."""


def describe_os_error(error: OSError) -> str:
    """Return one short sentence for an operating-system error, without the numbers and the repeated path."""
    if error.errno == errno.ENOSPC:
        return "no space left on the disk"
    return (error.strerror or str(error)).lower()


@contextmanager
def where(stage: str, stream: str | None = None, frame: int | None = None) -> Iterator[None]:
    """Add stage, stream and frame to an EngineError that passes through. What was set further inside stays."""
    try:
        yield
    except EngineError as error:
        error.stage = error.stage or stage
        error.stream = error.stream or stream
        error.frame = error.frame if error.frame is not None else frame
        raise
