"""Prepares a model for running, with dynamic axes and joined outputs: done once, verified, and cached."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import onnx

from models.batching import batch_safe
from models.errors import ModelError, ReshapeError
from models.external import external_locations, identity_of, load_external
from models.file_lock import held
from models.files import accept, accepted_hash, atomic_write, cache_dir, sha256_of
from models.onnx_meta import meta_of, parse_onnx
from models.parts import Parts, parts_of
from models.resolution import ResolvedModel

# Goes up with every change to the surgery, so that older cache entries are made again.
VERSION = 1
_JOINED_VERSION = 1


class FreedModel(NamedTuple):
    """A model with as many dynamic axes as possible.

    path         the converted file, or the original if no conversion was needed or possible
    batch_safe   False: it takes one image at a time, or images of one batch change each other's boxes, so it must run
                 at batch 1
    dynamic      whether batch, height and width are dynamic
    reason       why the axes could not be made dynamic; None if they could
    """

    path: Path
    batch_safe: bool
    dynamic: bool
    reason: str | None = None


def freed_model(resolved: ResolvedModel, cache_dir: Path | None = None) -> FreedModel:
    """Give a model dynamic axes, or find the result in the cache (default `~/.cache/yolo-engine/freed`).

    A cache entry is only used if its bytes still have the hash recorded when they were verified. Concurrent processes
    do the work only once. A model that can't be converted is returned unchanged, with `dynamic=False` and the reason.
    """
    model = parse_onnx(resolved.path)
    locations = external_locations(model)
    load_external(model, resolved.path)
    if (parts := parts_of(meta_of(model))) is not None:
        return _joined_model(resolved, model, parts, cache_dir if cache_dir is not None else _default_folder())
    safe = batch_safe(model)
    if resolved.manifest.layout in _STRETCHED_LAYOUTS:  # joined already, or in one output from the start
        return FreedModel(resolved.path, safe, dynamic=False, reason=_STRETCHED)
    weights = {tensor.name for tensor in model.graph.initializer}
    picture = next(value for value in model.graph.input if value.name not in weights)
    dims = picture.type.tensor_type.shape.dim
    if all(dims[axis].dim_value == 0 for axis in (0, 2, 3)):
        return FreedModel(resolved.path, safe, dynamic=True)
    folder = cache_dir if cache_dir is not None else _default_folder()
    source = resolved.manifest
    target = folder / f"{resolved.sha256}-{source.layout}-{VERSION}.onnx"
    try:
        with _locked(target):
            if not _is_whole(target):
                from models.surgery import free_axes  # with ONNX Runtime: a model that was prepared needs neither

                freed = free_axes(resolved.path, model, source)
                _check_unchanged(resolved, locations)
                with atomic_write(target) as stream:
                    stream.write(freed)
                accept(target, sha256_of(target))
    except ReshapeError as error:
        return FreedModel(resolved.path, safe, dynamic=False, reason=str(error))
    except (IndexError, KeyError, MemoryError, ValueError) as error:  # a damaged graph; ONNX Runtime will say so
        return FreedModel(resolved.path, safe, dynamic=False, reason=f"its graph is not sound ({type(error).__name__})")
    return FreedModel(target, safe, dynamic=True)


_STRETCHED_LAYOUTS = ("detr", "detr-post", "nanodet-plus", "picodet")
_STRETCHED = "such a detector was made for one size, to which images are stretched"


def _joined_model(resolved: ResolvedModel, model: onnx.ModelProto, parts: Parts, folder: Path) -> FreedModel:
    """Return the model with its outputs joined (models.join). Its axes stay as they are, but for layout nanodet."""
    manifest = resolved.manifest
    locations = external_locations(model)
    hw, classes = (manifest.input.height, manifest.input.width), len(manifest.classes)
    picture = next(value for value in model.graph.input if value.name == parts.picture)
    dims = picture.type.tensor_type.shape.dim
    boxes = next(value for value in model.graph.output if value.name == parts.outputs[parts.layout != "rtmdet"])
    alone = bool(dims[0].dim_value) or len(boxes.type.tensor_type.shape.dim) == 2
    free = parts.layout == "rtmdet" and all(dims[axis].dim_value == 0 for axis in (0, 2, 3))
    safe = not alone and batch_safe(model)
    target = folder / f"{resolved.sha256}-{parts.layout}-{hw[0]}x{hw[1]}-{classes}-{_JOINED_VERSION}.onnx"
    with _locked(target):
        if not _is_whole(target):
            from models.surgery import join_outputs

            data = join_outputs(model, parts, hw, classes)
            _check_unchanged(resolved, locations)
            with atomic_write(target) as stream:
                stream.write(data)
            accept(target, sha256_of(target))
    if manifest.layout == "nanodet":
        return freed_model(resolved._replace(path=target, sha256=sha256_of(target)), folder)
    reason = "its axes are fixed" if parts.layout == "rtmdet" else _STRETCHED
    return FreedModel(target, safe, dynamic=free, reason=None if free else reason)


def _check_unchanged(resolved: ResolvedModel, locations: tuple[str, ...]) -> None:
    """Raise ModelError if the file has changed since its hash, which names the cache entry, was computed."""
    path = resolved.path
    if identity_of(path, sha256_of(path), locations) != resolved.sha256:
        raise ModelError(f"{path}: has changed while it was read. Start again once it is whole.")


def _default_folder() -> Path:
    return cache_dir("freed")


def _is_whole(target: Path) -> bool:
    return target.is_file() and accepted_hash(target) == sha256_of(target)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Lock the entry against other processes."""
    with ExitStack() as stack:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(target.with_suffix(".lock")))
        except OSError as error:
            raise ModelError(f"{target.parent}: cannot be written: {error.strerror or error}.") from error
        yield
