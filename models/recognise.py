"""Recognise unsupported models from their inputs and outputs.

A shape can't prove that a model is supported, but it can prove the opposite: if boxes and scores are in separate
outputs, the first output can't contain both. Naming the kind spares the user the garbage that a wrong `--layout` gives.
"""

import re
from collections.abc import Sequence

from models.output_shape import class_count
from models.tensor_info import Dims, OnnxMeta, TensorInfo, dims_text

_KEYPOINTS = 1 + 3 * 17  # one class, COCO's key points as x y visible
_MAX_QUERIES = 2000
_MIN_BINS = 8  # of a side's distribution

_ONE_OUTPUT = (
    "Only detectors that give boxes and scores in one output of three dimensions, or as layout detr, detr-post, "
    "rtmdet, nanodet or picodet has them, can be run"
)
_DETR = "a DETR kind of detector (RT-DETR, D-FINE, DEIM and the like)"


def told_by_inputs(meta: OnnxMeta) -> str | None:
    """Return the kind of an unsupported model by its metadata and inputs, as the rest of a sentence that begins with
    the file; None if they may belong to a supported detector."""
    kind = _by_metadata(meta.metadata) or _by_inputs(meta.inputs)
    return _sentence(kind) if kind is not None else None


def told_by_outputs(meta: OnnxMeta) -> str | None:
    """Do the same for all its outputs."""
    kind = _by_outputs(meta.outputs)
    if kind is not None:
        return _sentence(kind)
    if len(meta.outputs) > 1 and not _grids_beside(meta.outputs):
        return (
            f"has {len(meta.outputs)} outputs: {_listed(meta.outputs)}. {_ONE_OUTPUT}. Export it with its decoder, "
            "and with what belongs together in one output."
        )
    return None


def _sentence(kind: str) -> str:
    return f"this is {kind}. {_ONE_OUTPUT}: YOLOX, YOLOv5, YOLOv8 and what is laid out as they are."


def may_be_pose(layout: str, dims: Dims) -> bool:
    """Return whether an output has the number of fields of a pose model with COCO's key points."""
    return class_count(layout, dims) == _KEYPOINTS


def _by_metadata(data: dict[str, str]) -> str | None:
    about = re.sub("[^a-z]", "", f"{data.get('head', '')} {data.get('description', '')}".lower())
    return "RT-DETR, a DETR kind of detector" if "rtdetr" in about else None


def _by_inputs(inputs: Sequence[TensorInfo]) -> str | None:
    names = {tensor.name.lower() for tensor in inputs}
    if names & {"orig_target_sizes", "orig_size", "pixel_mask"}:  # those that are joined were taken before
        return f"{_DETR}, with the inputs {', '.join(tensor.name for tensor in inputs)}"
    if names & {"scale_factor", "im_shape"}:
        return "a PaddleDetection export with its own post-processing"
    return None


def _by_outputs(outputs: Sequence[TensorInfo]) -> str | None:
    dims = [output.dims for output in outputs]
    names = {output.name.lower() for output in outputs}
    shapes = _listed(outputs)
    if len(outputs) == 1:
        return _by_one(dims[0])
    if {"num_dets", "num_detections"} & names or {"labels", "boxes", "scores"} <= names:
        return f"a model with its own non-maximum suppression, or a DETR kind, in several outputs: {shapes}"
    if any(_prototypes(first, other) for first in dims for other in dims):
        return f"an instance segmentation model: {shapes}"
    if _distributions(dims):
        return f"a detector with distributions of the boxes' sides, NanoDet or PicoDet, level by level: {shapes}"
    threes = [d for d in dims if len(d) == 3]
    if len(threes) == len(dims) and sum(d[2] == 4 for d in threes) == 1:
        few = any(isinstance(d[1], int) and d[1] <= _MAX_QUERIES for d in threes)
        return f"{_DETR if few else 'a detector'} with boxes and class scores in outputs of their own: {shapes}"
    if all(len(d) in (4, 5) for d in dims):
        return f"a model whose detection head is not decoded: {shapes}. Export it with its detection layer"
    return None


def _by_one(dims: Dims) -> str | None:
    if len(dims) == 2 and dims[1] == 7:
        return f"a YOLOv7 export with its own non-maximum suppression, an output {dims_text(dims)}"
    if len(dims) == 2:
        return f"a classifier, or a detector of another kind: its output is {dims_text(dims)}, and no list of boxes"
    if len(dims) in (4, 5):
        return f"a model with a map for an output, {dims_text(dims)}: segmentation, or a head that is not decoded"
    return None


def _prototypes(boxes: Dims, masks: Dims) -> bool:
    """Recognise mask prototypes (N, M, h, w) beside rows that end in M coefficients."""
    if len(boxes) != 3 or len(masks) != 4 or not isinstance(masks[1], int):
        return False
    fields = [d for d in boxes[1:] if isinstance(d, int)]
    return masks[1] >= 8 and (not fields or min(fields) > masks[1] + 4)


def _distributions(dims: Sequence[Dims]) -> bool:
    """Recognise at least two levels (N, A, C), each with its (N, A, 4 x bins)."""
    by_anchors: dict[int | str | None, list[int]] = {}
    for each in dims:
        if len(each) != 3 or not isinstance(each[2], int):
            return False
        by_anchors.setdefault(each[1], []).append(each[2])
    pairs = [columns for columns in by_anchors.values() if len(columns) == 2]
    return len(pairs) >= 2 and all(
        any(n % 4 == 0 and n // 4 >= _MIN_BINS for n in columns) for columns in pairs
    )  # fmt: skip


def _grids_beside(outputs: Sequence[TensorInfo]) -> bool:
    """Recognise a decoded output followed by its raw grids, as in older exports of YOLOv5."""
    first, *others = (output.dims for output in outputs)
    return len(first) == 3 and all(len(other) == 5 for other in others)


def _listed(outputs: Sequence[TensorInfo]) -> str:
    shown = ", ".join(f"{output.name!r} {dims_text(output.dims)}" for output in outputs[:6])
    return shown if len(outputs) <= 6 else f"{shown} and {len(outputs) - 6} more"
