"""The errors of models, with one root.

ModelError ├── ManifestError a manifest or side-car TOML breaks its schema ├── UnknownModelError a name that is neither
in the zoo nor a file ├── MissingModelError a zoo model whose file is in none of the searched folders ├── HashError a
file is not the one that its manifest names ├── DownloadError the file could not be downloaded completely ├──
OnnxFileError a file is not an ONNX model, or not a supported detector ├── LayoutError the output layout is not
declared, or contradicts the file └── ReshapeError a model can't be given dynamic axes, or gives different results with
them

Every message is one or two sentences on one line: the thing, what is wrong with it, and what to do. It may contain text
from files, so it is passed through `printable`.
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
    """A zoo model whose file is in none of the searched folders."""


class HashError(ModelError):
    """A file is not the one that its manifest names."""


class DownloadError(ModelError):
    """The file could not be downloaded completely."""


class OnnxFileError(ModelError):
    """A file is not an ONNX model, or not a supported detector."""


class LayoutError(ModelError):
    """The output layout is not declared, or contradicts the file."""


class ReshapeError(ModelError):
    """A model can't be given dynamic axes, or gives different results with them."""
