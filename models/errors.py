"""What can go wrong with a model, as one root.

ModelError
├── ManifestError      a manifest or side-car TOML breaks its schema
├── UnknownModelError  a name that is neither in the zoo nor a file
├── MissingModelError  a zoo model whose file is on none of the searched folders
├── HashError          a file is not the one its manifest names
├── DownloadError      the file could not be fetched whole
├── OnnxFileError      a file is no ONNX model, or no detector that can be read here
├── LayoutError        the output layout is not declared, or contradicts the file
└── ReshapeError       the shape of a model cannot be freed, or the freed model answers differently

Every message is a sentence or two on one line: the thing, what is wrong with it, and what to do. What a file says of
itself may be in it, so that it is written as `printable` writes strangers' text.
"""

from models.printable import printable

_MAX_CHARACTERS = 2000


class ModelError(Exception):
    """Root of all errors raised by `models`."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, _MAX_CHARACTERS))


class ManifestError(ModelError):
    """A manifest or side-car TOML breaks its schema."""


class UnknownModelError(ModelError):
    """A name that is neither in the zoo nor a file."""


class MissingModelError(ModelError):
    """A zoo model whose file is on none of the searched folders."""


class HashError(ModelError):
    """A file is not the one its manifest names."""


class DownloadError(ModelError):
    """The file could not be fetched whole."""


class OnnxFileError(ModelError):
    """A file is no ONNX model, or no detector that can be read here."""


class LayoutError(ModelError):
    """The output layout is not declared, or contradicts the file."""


class ReshapeError(ModelError):
    """The shape of a model cannot be freed, or the freed model answers differently."""
