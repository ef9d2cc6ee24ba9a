"""External weights beside an ONNX file (`model.onnx.data`), which the file only names. The names are not trusted: a
location must be a plain path below the model's folder, without links, to a regular file of bounded size.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from models.errors import ModelError, OnnxFileError
from models.files import open_regular, sha256_of_stream

if TYPE_CHECKING:
    import onnx

_MAX_BYTES = 1 << 35  # of one file of weights: 32 GiB
_MAX_READ = 1 << 33  # of what is read of them into memory: 8 GiB
_MAX_FILES = 4096


def external_locations(model: "onnx.ModelProto") -> tuple[str, ...]:
    """Return the locations of external weights as named by a model, unique and sorted."""
    return tuple(sorted({_entries(tensor).get("location", "") for tensor in _external(model)}))


def identity_of(path: Path, sha256: str, locations: Iterable[str]) -> str:
    """Return a SHA-256 over everything that is loaded: that of the ONNX file if it contains all weights, otherwise one
    over its hash and those of the weight files, by name. Raises OnnxFileError for a refused location."""
    lines: list[str] = []
    for location in locations:
        if len(lines) == _MAX_FILES:
            raise OnnxFileError(f"{path}: its weights lie in more than {_MAX_FILES} files.")
        with open_beside(path, location) as stream:
            lines.append(f"{sha256_of_stream(stream, str(path.parent / location))}  {location}\n")
    return hashlib.sha256("".join([f"{sha256}\n", *lines]).encode()).hexdigest() if lines else sha256


def load_external(model: "onnx.ModelProto", path: Path) -> None:
    """Load the external weights of the file at `path` into `model`. Raises OnnxFileError."""
    left = _MAX_READ
    for tensor in _external(model):
        entries = _entries(tensor)
        location = entries.get("location", "")
        with open_beside(path, location) as stream:
            size = os.fstat(stream.fileno()).st_size
            start = _number(path, entries, "offset", 0)
            count = _number(path, entries, "length", size - start)
            if start + count > size or count < 0 or count > left:
                raise OnnxFileError(
                    f"{path}: tensor {tensor.name!r} has {count:,} bytes of weights from byte {start:,} of "
                    f"{location!r}, which has {size:,} bytes. Fetch or export both files again."
                )
            stream.seek(start)
            tensor.raw_data = stream.read(count)
        left -= count
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


@contextlib.contextmanager
def open_beside(path: Path, location: str) -> Iterator[IO[bytes]]:
    """Open the file that the model at `path` calls `location`, folder by folder below the model's own."""
    parts = PurePosixPath(location).parts
    if not parts or location.startswith("/") or ".." in parts or "\0" in location or "\\" in location:
        raise OnnxFileError(
            f"{path}: names {location!r} for its weights. They must lie in the model's own folder, or below it."
        )
    if path.is_symlink():  # loaders may search beside the link or beside the file
        raise OnnxFileError(
            f"{path}: is a link, and its weights lie beside the file itself. Name that: {os.path.realpath(path)}."
        )
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    at = -1
    try:
        at = os.open(path.parent, flags)
        for folder in parts[:-1]:
            below = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        stream = open_regular(Path(parts[-1]), _MAX_BYTES, beside=at)
    except (OSError, ModelError) as error:
        reason = str(error).partition(": ")[2].rstrip(".") if isinstance(error, ModelError) else error.strerror
        whole = path.parent.joinpath(*parts)
        if whole.is_symlink() or any(folder.is_symlink() for folder in whole.parents if path.parent in folder.parents):
            reason = "is a link, or lies behind one, which is not followed: put the file itself there"
        raise OnnxFileError(f"{whole}: the weights of {path.name} cannot be read: {reason}.") from error
    finally:
        if at >= 0:
            os.close(at)
    with stream:
        yield stream


def _entries(tensor: "onnx.TensorProto") -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _number(path: Path, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise OnnxFileError(f"{path}: {key} {text!r} of its weights is not a number of bytes.")
    return int(text)


def _external(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    return (tensor for tensor in _tensors(model) if tensor.data_location == tensor.EXTERNAL)


def _tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    """Yield every tensor of a model, including those of subgraphs and functions."""
    for function in model.functions:
        yield from _of_nodes(function.node)
    yield from _of_graph(model.graph)


def _of_graph(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable["onnx.NodeProto"]) -> Iterator["onnx.TensorProto"]:
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            sparse_tensors = [*attribute.sparse_tensors]
            if attribute.HasField("sparse_tensor"):
                sparse_tensors.append(attribute.sparse_tensor)
            for sparse in sparse_tensors:
                yield from (sparse.values, sparse.indices)
            for graph in attribute.graphs:
                yield from _of_graph(graph)
            if attribute.HasField("g"):
                yield from _of_graph(attribute.g)
