"""Determines which outputs of a detector belong together, by the names and shapes of its inputs and outputs. `join`
joins them.
"""

from collections.abc import Sequence
from typing import NamedTuple

from models.output_shape import SIDES
from models.tensor_info import Dims, OnnxMeta, TensorInfo

JOINED = ("detr", "detr-post", "rtmdet", "nanodet", "picodet")
OUTPUT = "joined"

_SIZES = ("orig_target_sizes", "orig_size", "orig_sizes", "target_sizes")
_LOGITS = ("logits", "pred_logits", "labels")
_BOXES = ("pred_boxes", "boxes", "dets")
_MAX_QUERIES = 2000


class Parts(NamedTuple):
    """Which outputs of a file belong together.

    layout   the layout after joining; nanodet stands for picodet, too, which is joined alike
    outputs  their names: logits and boxes; labels, boxes and scores; dets and labels; or scores and sides of each level
    picture  the input that takes the image
    sizes    the input that takes the frame's size; None if there is none
    certain  whether names and shapes are unambiguous. `detr` is certain only for RF-DETR, since some relatives of DETR
             need a softmax instead of a sigmoid, and nanodet never; the user, or metadata, must state it
    """

    layout: str
    outputs: tuple[str, ...]
    picture: str
    sizes: str | None = None
    certain: bool = True

    def may_be(self, layout: str | None) -> bool:
        """Return whether these outputs are joined to this layout."""
        return layout == self.layout or (layout == "picodet" and self.layout == "nanodet")


def parts_of(meta: OnnxMeta) -> Parts | None:
    """Return the outputs to join; None if they are not those of such a layout."""
    pictures = [each for each in meta.inputs if len(each.dims) == 4]
    others = [each for each in meta.inputs if len(each.dims) != 4]
    if len(pictures) != 1:
        return None
    by_name = {each.name.lower(): each for each in meta.outputs}
    picture = pictures[0].name
    if others:
        sized = len(others) == 1 and others[0].name.lower() in _SIZES and set(by_name) == {"labels", "boxes", "scores"}
        if not sized or len(by_name["boxes"].dims) not in (2, 3):
            return None
        names = tuple(by_name[name].name for name in ("labels", "boxes", "scores"))
        return Parts("detr-post", names, picture, others[0].name)
    if set(by_name) == {"dets", "labels"} and by_name["dets"].dims[2:] == (5,) and len(by_name["labels"].dims) == 2:
        return Parts("rtmdet", (by_name["dets"].name, by_name["labels"].name), picture)
    return _levels(meta.outputs, picture) or _queries(meta.outputs, picture)


def _levels(outputs: Sequence[TensorInfo], picture: str) -> Parts | None:
    """Return scores (N, A, C) and sides (N, A, SIDES) of at least two levels, those with most anchors first."""
    by_anchors: dict[int, list[TensorInfo]] = {}
    for each in outputs:
        if len(each.dims) != 3 or not isinstance(each.dims[1], int):
            return None
        by_anchors.setdefault(each.dims[1], []).append(each)
    pairs = [sorted(pair, key=lambda each: each.dims[2] == SIDES) for _, pair in sorted(by_anchors.items())[::-1]]
    if len(pairs) < 2 or any(len(pair) != 2 for pair in pairs):
        return None
    if any(sides.dims[2] != SIDES or scores.dims[2] in (SIDES, 4, None) for scores, sides in pairs):
        return None
    return Parts("nanodet", tuple(each.name for pair in pairs for each in pair), picture, certain=False)


def _queries(outputs: Sequence[TensorInfo], picture: str) -> Parts | None:
    by_name = {each.name.lower(): each for each in outputs}
    logits = next((by_name[name] for name in _LOGITS if name in by_name), None)
    boxes = next((by_name[name] for name in _BOXES if name in by_name), None)
    if logits is None or boxes is None or any(len(each.dims) > 3 for each in outputs):
        return None
    if len(logits.dims) != 3 or len(boxes.dims) != 3 or boxes.dims[2] != 4:
        return None
    rows = {dims[1] for dims in (logits.dims, boxes.dims) if isinstance(dims[1], int)}
    if len(rows) > 1 or any(row > _MAX_QUERIES for row in rows):
        return None
    return Parts("detr", (logits.name, boxes.name), picture, certain=set(by_name) == {"dets", "labels"})


def as_joined(meta: OnnxMeta, parts: Parts) -> OnnxMeta:
    """Return the metadata of a file as with joined outputs: one input, one output."""
    by_name = {each.name: each for each in meta.outputs}
    picture = next(each for each in meta.inputs if each.name == parts.picture)
    first = by_name[parts.outputs[0]].dims
    if parts.layout == "detr":
        fields = first[2] + 4 if isinstance(first[2], int) else None
        dims: Dims = (first[0], first[1], fields)
    elif parts.layout == "nanodet":
        anchors = [by_name[name].dims[1] for name in parts.outputs[::2]]
        fields = first[2] + SIDES if isinstance(first[2], int) else None
        dims = (first[0], sum(count for count in anchors if isinstance(count, int)), fields)
    else:
        boxes = by_name[parts.outputs[1 if parts.layout == "detr-post" else 0]].dims
        dims = (boxes[0] if len(boxes) == 3 else 1, boxes[-2], 6)
    return meta._replace(inputs=(picture,), outputs=(TensorInfo(OUTPUT, "float32", dims),), exponential=False)
