"""From the value of `--model` to a manifest and a file.

A name of the zoo means the zoo's file. A path, or the name of a file in a folder of `YOLO_ENGINE_MODELS`, is recognised
by its hash, otherwise described by a side-car TOML, otherwise by the file's own metadata; explicit arguments take
precedence over all of these. Anything still open is an error that shows how to state it: a layout is never derived from
a shape alone, nor the input format from a layout shared by several families.
"""

import os
from pathlib import Path
from typing import NamedTuple, cast

from models.beside import transformers_parts
from models.coco import COCO91
from models.errors import LayoutError, ManifestError, OnnxFileError, UnknownModelError
from models.external import identity_of
from models.feeding import IMAGENET, check_feeding, of_family, question
from models.files import sha256_of
from models.manifest import (
    DTYPES,
    InputParts,
    InputSpec,
    ManifestParts,
    ModelManifest,
    Scale,
    made_of,
    parse_parts,
    read_parts,
)
from models.metadata import declared_parts
from models.output_shape import FINISHED, SHAPES, are_queries, candidates, cells, class_count, fits, strides_of
from models.parts import JOINED, OUTPUT, Parts, as_joined, parts_of
from models.printable import printable
from models.recognise import may_be_pose, told_by_inputs, told_by_outputs
from models.registry import by_hash, get_manifest, in_mirrors, list_models, names_hint, pull, require
from models.tensor_info import OnnxMeta, TensorInfo, dims_text

_MAX_CLASSES = 100_000  # limit for classes implied by a shape: ImageNet-21k has 21,841


class ResolvedModel(NamedTuple):
    """A model ready to be opened. For a model given by path, `manifest.sha256` is the hash of that file; `sha256` also
    covers external weights (see `models.external.identity_of`)."""

    manifest: ModelManifest
    path: Path
    sha256: str


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    classes: tuple[str, ...] | str | None = None,
    input_size: int | tuple[int, int] | None = None,
    scale: Scale | None = None,
    channel_order: str | None = None,
    mean: tuple[float, float, float] | None = None,
    pad: str | None = None,
    pad_value: float | None = None,
    strides: tuple[int, ...] | None = None,
    allow_pull: bool = False,
) -> ResolvedModel:
    """Find a model and everything needed to run it.

    classes      names by class id, or "coco80"
    input_size   pixels, one number or (height, width); a file with a fixed input only has that size
    allow_pull   download a zoo model that is not on this machine, instead of raising MissingModelError
    Others as in `InputSpec` and `ModelManifest`. None means not given: the manifest, side-car or file decides.
    """
    given = _given(layout, classes, input_size, scale, channel_order, mean, pad, pad_value, strides)
    text = os.fspath(name_or_path)
    if text in {manifest.name for manifest in list_models()}:
        return _zoo_model(text, given, allow_pull)
    path = Path(text)
    if not os.path.exists(path) and len(path.parts) == 1:
        path = in_mirrors(text) or path
    if not os.path.exists(path) and not path.suffix and len(path.parts) == 1:
        raise UnknownModelError(f"{text!r} is neither a model of the zoo nor a file{names_hint(text)}")
    return _file_model(path, given)


def _given(
    layout: str | None,
    classes: tuple[str, ...] | str | None,
    input_size: int | tuple[int, int] | None,
    scale: Scale | None,
    channel_order: str | None,
    mean: tuple[float, float, float] | None,
    pad: str | None,
    pad_value: float | None,
    strides: tuple[int, ...] | None,
) -> ManifestParts:
    """Validate the explicit arguments and return them as parts of a manifest."""
    height, width = input_size if isinstance(input_size, tuple) else (input_size, input_size)
    inner = {
        "height": height, "width": width, "scale": _plain(scale), "channel_order": channel_order,
        "mean": _plain(mean), "pad": pad, "pad_value": pad_value,
    }  # fmt: skip
    outer = {"layout": layout, "classes": _plain(classes), "strides": _plain(strides)}
    table: dict[str, object] = {key: value for key, value in outer.items() if value is not None}
    table["input"] = {key: value for key, value in inner.items() if value is not None}
    return parse_parts(table, "model options")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _zoo_model(name: str, given: ManifestParts, allow_pull: bool) -> ResolvedModel:
    path = pull(name) if allow_pull else require(name)
    manifest = _override(get_manifest(name), given)
    meta, _ = _as_read(_read_meta(path))
    _check(manifest, meta, _picture_input(meta, path), name)
    check_feeding(manifest.input, name)
    return ResolvedModel(manifest, path, identity_of(path, sha256_of(path), meta.weights_in))


def _read_meta(path: Path) -> OnnxMeta:
    from models.onnx_meta import read_meta  # loads the ONNX library, which takes 0.3 s

    return read_meta(path)


def _override(manifest: ModelManifest, parts: ManifestParts) -> ModelManifest:
    """Return a known model with the given parts replaced. Its layout can't be changed."""
    if (layout := parts.get("layout", manifest.layout)) != manifest.layout:
        raise LayoutError(
            f"layout must be {manifest.layout} for {manifest.name}, as its manifest says. Got {layout!r}. "
            "Leave --layout out."
        )
    known = {key: value for key, value in manifest._asdict().items() if key != "input"}
    return made_of({**cast(ManifestParts, known), **parts}, manifest.input._replace(**parts.get("input", {})))


def _file_model(path: Path, given: ManifestParts) -> ResolvedModel:
    meta, parts = _as_read(_read_meta(path))
    tensor = _picture_input(meta, path)
    sha256 = sha256_of(path)
    known = by_hash(sha256)
    open_question = None
    if known is not None:
        facts: ManifestParts = {"sha256": sha256, "size_bytes": path.stat().st_size, "file": path.name}
        manifest = _override(known, {**given, **facts})
    else:
        manifest, open_question = _describe(path, meta, parts, tensor, sha256, given)
    _check(manifest, meta, tensor, path)
    if open_question is not None:
        raise open_question
    check_feeding(manifest.input, path)
    return ResolvedModel(manifest, path, identity_of(path, sha256, meta.weights_in))


def _as_read(meta: OnnxMeta) -> tuple[OnnxMeta, Parts | None]:
    """Return a file's metadata with outputs joined if they belong together, and these parts."""
    parts = parts_of(meta)
    return (meta, None) if parts is None else (as_joined(meta, parts), parts)


def _picture_input(meta: OnnxMeta, path: Path) -> TensorInfo:
    """Return the only input `(N, 3, H, W)` of a detector. Raises OnnxFileError that says what the file is or has
    instead."""
    if (other := told_by_inputs(meta)) is not None:
        raise OnnxFileError(f"{path}: {other}")
    if len(meta.inputs) != 1:
        names = ", ".join(tensor.name for tensor in meta.inputs) or "none"
        raise OnnxFileError(f"{path}: a detector has one input, an image. This model has {len(meta.inputs)}: {names}.")
    tensor = meta.inputs[0]
    if len(tensor.dims) != 4 or (isinstance(tensor.dims[1], int) and tensor.dims[1] != 3):
        raise OnnxFileError(
            f"{path}: the input must be an image (N, 3, H, W). Input {tensor.name!r} is {dims_text(tensor.dims)}."
        )
    if tensor.dtype not in DTYPES:
        raise OnnxFileError(
            f"{path}: the input must be of type {', '.join(DTYPES)}. Input {tensor.name!r} is {tensor.dtype}."
        )
    if (other := told_by_outputs(meta)) is not None:
        raise OnnxFileError(f"{path}: {other}")
    if len(meta.outputs[0].dims) != 3:
        outputs = ", ".join(f"{output.name!r} {dims_text(output.dims)}" for output in meta.outputs)
        raise OnnxFileError(
            f"{path}: does not look like a YOLO detector: its first output must have three dimensions. It has "
            f"{outputs}."
        )
    return tensor


def _side_car(path: Path) -> ManifestParts:
    for beside in (path.with_name(path.name + ".toml"), path.with_suffix(".toml")):
        if os.path.lexists(beside):  # also if it is not a file: then it is refused, not ignored
            return read_parts(beside)
    return {}


def _describe(
    path: Path, meta: OnnxMeta, joined: Parts | None, tensor: TensorInfo, sha256: str, given: ManifestParts
) -> tuple[ModelManifest, LayoutError | None]:
    """Return the manifest of an unknown file, and the question that is still open, if any."""
    side_car = _side_car(path)
    if side_car.get("sha256", sha256) != sha256:
        raise ManifestError(f"{path}: the side-car TOML is for SHA-256 {side_car['sha256']}. This file has {sha256}.")
    parts: ManifestParts = {"name": printable(path.stem), "url": "", "licence": "", "description": ""}
    spec: InputParts = {}
    declared = declared_parts(meta, str(path), joined.layout if joined is not None else None)
    for source in (_of_parts(joined, meta), declared, transformers_parts(path, joined, meta), side_car, given):
        parts.update(source)
        spec.update(source.get("input", {}))
    strides = parts.setdefault("strides", strides_of(parts.get("layout", "")))
    spec = {**_input_size(tensor, spec), **spec, "dtype": tensor.dtype}
    _check_joined(parts.get("layout"), joined, meta.outputs[0].name == OUTPUT, path)
    if "layout" not in parts:
        raise _undetermined(path, meta, spec, strides)
    _check_head(parts, meta, path)
    spec = {"stride": 32, **of_family(parts["layout"]), **spec}
    open_question = question(spec, parts["layout"], path)
    if "classes" not in parts:
        parts["classes"] = _numbered(parts["layout"], meta, path)
    facts: ManifestParts = {"file": path.name, "sha256": sha256, "size_bytes": path.stat().st_size}
    return made_of({**parts, **facts}, InputSpec(**spec)), open_question


def _of_parts(joined: Parts | None, meta: OnnxMeta) -> ManifestParts:
    """Return what the names of the outputs alone imply."""
    if joined is None or not joined.certain:
        return {}
    if joined.layout != "detr":
        return {"layout": joined.layout}
    parts: ManifestParts = {"layout": "detr", "input": IMAGENET.copy()}
    if class_count("detr", meta.outputs[0].dims) == len(COCO91):
        parts["classes"] = COCO91  # RF-DETR: its checkpoints of COCO number classes by COCO's own ids
    return parts


def _check_joined(layout: str | None, joined: Parts | None, already: bool, path: Path) -> None:
    """Refuse a layout that the file's outputs can't be joined to, and ask if only the user can decide. `already`: the
    file's outputs are already joined, for example by `yolo-engine quantize`."""
    if joined is None:
        if layout in JOINED and not already:
            raise LayoutError(f"{path}: layout {layout} needs {SHAPES[layout]}. The file has no such outputs.")
        return
    names = ", ".join(joined.outputs)
    if layout is None and joined.layout == "nanodet":
        raise LayoutError(
            f"{path}: its outputs {names} are class scores and distributions of the boxes' sides, level by level, and "
            "the file does not say of which family. Pass `--layout nanodet` for NanoDet, `--layout picodet` for "
            "PicoDet."
        )
    if layout is None:
        raise LayoutError(
            f"{path}: its outputs {names} are those of a DETR-style detector, and the file does not say which. If it "
            "computes scores with a sigmoid (RT-DETR, D-FINE, DEIM, RF-DETR, deformable DETR), pass `--layout detr`. "
            "DETR itself and YOLOS use a softmax and can't be run here."
        )
    if not joined.may_be(layout):
        raise LayoutError(
            f"{path}: layout must be {joined.layout} for the outputs {names}, which belong to a DETR-style detector or "
            f"to one with its own post-processing. Got {layout!r}."
            if joined.layout != "nanodet"
            else f"{path}: layout must be nanodet or picodet for the outputs {names}, which are distributions of the "
            f"boxes' sides and class scores, level by level. Got {layout!r}."
        )


def _input_size(tensor: TensorInfo, spec: InputParts) -> InputParts:
    """Return height and width of the export; for dynamic axes, 640 unless given."""
    height, width = tensor.dims[2:]
    return {
        "height": height if isinstance(height, int) else spec.get("height", 640),
        "width": width if isinstance(width, int) else spec.get("width", 640),
    }


def _numbered(layout: str, meta: OnnxMeta, path: Path) -> tuple[str, ...]:
    """Return placeholder names: class0, class1, ..."""
    count = class_count(layout, meta.outputs[0].dims) or 0
    if count > _MAX_CLASSES:
        raise OnnxFileError(f"{path}: is damaged, or not a detector: its output has {count:,} classes.")
    return tuple(f"class{i}" for i in range(count))


def _check_head(parts: ManifestParts, meta: OnnxMeta, path: Path) -> None:
    """Refuse a layout that the graph contradicts, or that requires further input from the user."""
    layout, dims = parts["layout"], meta.outputs[0].dims
    if layout == "yolox" and meta.exponential:
        raise LayoutError(f"{path}: {_DECODED}, so it is not layout yolox. Pass `--layout yolov5`.")
    if "classes" not in parts and layout in FINISHED:
        raise LayoutError(
            f"{path}: an output of layout {layout} does not say how many classes there are. Name them with "
            f'`--class-names A,B,...`, or by classes = [...] in {path.name}.toml ("coco80" for COCO\'s).'
        )
    if "classes" not in parts and may_be_pose(layout, dims):
        raise OnnxFileError(
            f"{path}: output {dims_text(dims)} is what a pose model with 17 key points gives; those can't be run here. "
            "If it is a detector of 52 classes, name them with `--class-names A,B,...`."
        )


_DECODED = "its boxes are decoded already, as by YOLOX exported with --decode_in_inference"


def _undetermined(
    path: Path, meta: OnnxMeta, spec: InputParts, strides: tuple[int, ...]
) -> OnnxFileError | LayoutError:
    dims = meta.outputs[0].dims
    fitting = candidates(dims, (spec["height"], spec["width"]), strides)
    about = ""
    if meta.exponential and "yolox" in fitting:
        fitting.remove("yolox")
        about = f" {_DECODED[0].upper()}{_DECODED[1:]}."
    if fitting and may_be_pose(fitting[-1], dims):
        return OnnxFileError(
            f"{path}: output {dims_text(dims)} is what a pose model with 17 key points gives; those can't be run here. "
            f"If it is a detector with 52 classes, pass `--layout {fitting[-1]} --class-names A,B,...`."
        )
    if not fitting:
        shapes = "; ".join(f"{layout} {shape}" for layout, shape in SHAPES.items())
        return LayoutError(
            f"{path}: output {dims_text(dims)} fits none of the layouts: {shapes}. A DETR kind of detector (RT-DETR) "
            "has a row for each of its queries; export it with logits and boxes in outputs of their own."
        )
    listed = ", ".join(f"{layout} [{SHAPES[layout]}]" for layout in fitting)
    fed = ""
    if any(question({**of_family(layout), **spec}, layout, path) for layout in fitting):
        fed = " State its input format too, with --channel-order and --input-scale."
    return LayoutError(
        f"{path}: the file does not state its output layout, and a shape is no proof. {dims_text(dims)} fits "
        f"{listed}.{about} Choose one with `--layout {fitting[0]}`, or write {path.name}.toml beside it with the line "
        f'layout = "{fitting[0]}" (and classes = ["name", ...]).{fed}'
    )


def _check(manifest: ModelManifest, meta: OnnxMeta, tensor: TensorInfo, name: str | Path) -> None:
    """Refuse a manifest that contradicts the file. `name` is the model as the user named it."""
    spec, dims = manifest.input, meta.outputs[0].dims
    for key, dim, want in zip(("height", "width"), tensor.dims[2:], (spec.height, spec.width), strict=True):
        if want % spec.stride:
            raise ManifestError(f"{name}: input.{key} must be a multiple of the stride {spec.stride}. Got {want}.")
        if isinstance(dim, int) and dim != want:
            raise ManifestError(f"{name}: the file's input has the fixed {key} {dim}. Got {want}.")
    if spec.dtype != tensor.dtype:
        raise ManifestError(f"{name}: the file's input is {tensor.dtype}. Got input.dtype {spec.dtype!r}.")
    if not fits(manifest.layout, dims, cells(spec.height, spec.width, manifest.strides)):
        raise LayoutError(
            f"{name}: layout {manifest.layout} needs an output {SHAPES[manifest.layout]}. Got {dims_text(dims)}."
        )
    if are_queries(manifest.layout, dims, (spec.height, spec.width), manifest.strides):
        raise LayoutError(
            f"{name}: output {dims_text(dims)} is not laid out as {manifest.layout}: it has a row for each query, as a "
            "DETR kind of detector (RT-DETR) has. Export it with logits and boxes in outputs of their own."
        )
    count = class_count(manifest.layout, dims)
    spare = manifest.layout == "detr" and count == len(manifest.classes) + 1  # a last slot for "nothing"
    if count is not None and count != len(manifest.classes) and not spare:
        raise LayoutError(f"{name}: the output has {count} classes. Got {len(manifest.classes)} class names.")
