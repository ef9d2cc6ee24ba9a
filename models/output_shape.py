"""The possible output shapes of each layout. A shape can exclude a layout, but never prove one.

In shapes: N batch, A anchors (all cells of all levels), C classes, D detections.
"""

from models.tensor_info import Dims

SHAPES = {
    "yolox": "(N, A, 5+C), raw grid, one anchor a cell",
    "yolov5": "(N, A, 5+C), decoded, objectness x class",
    "yolov8": "(N, 4+C, A), decoded, no objectness",
    "end2end": "(N, D, 6), x1 y1 x2 y2 score class",
    "detr": "logits (N, Q, C) and boxes (N, Q, 4), a row for each query",
    "detr-post": "labels (N, D), boxes (N, D, 4) and scores (N, D), beside an input orig_target_sizes",
    "rtmdet": "dets (N, D, 5) and labels (N, D)",
    "nanodet": "scores (N, A, C) and sides (N, A, 32) of three levels, in outputs of their own",
    "nanodet-plus": "(N, A, C+32), scores and sides of four levels",
    "picodet": "scores (N, A, C) and sides (N, A, 32) of four levels, in outputs of their own",
}

# Finished detections, whose shape does not show the number of classes.
FINISHED = ("end2end", "detr-post", "rtmdet")

# A distribution over the distance to each side of a box, behind the class scores.
DISTRIBUTED = ("nanodet", "nanodet-plus", "picodet")
BINS = 8  # 0 to 7 strides: all models that NanoDet and PicoDet publish, but for NanoDet-g
SIDES = 4 * BINS

_MAX_DETECTIONS = 2000


def strides_of(layout: str) -> tuple[int, ...]:
    """Return the usual cell sizes of a layout's levels, in the order of the output."""
    return (8, 16, 32, 64) if layout in ("nanodet-plus", "picodet") else (8, 16, 32)


def cells(height: int, width: int, strides: tuple[int, ...]) -> int:
    """Return the total number of grid cells of all levels; the last of a row or column may reach over the edge."""
    return sum(-(-height // s) * -(-width // s) for s in strides)


def class_count(layout: str, dims: Dims) -> int | None:
    """Return C from the output's shape; None if it is unknown (a dynamic axis, or finished detections)."""
    at = {"yolox": (2, 5), "yolov5": (2, 5), "yolov8": (1, 4), "detr": (2, 4)}.get(layout)
    if layout in DISTRIBUTED:
        at = (2, SIDES)
    if at is None:
        return None
    axis, fields = at
    size = dims[axis]
    return size - fields if isinstance(size, int) else None


def fits(layout: str, dims: Dims, cell_count: int | None) -> bool:
    """Return whether an output of shape `dims` can have the layout `layout`; dynamic axes fit anything.

    `cell_count` is the number of grid cells at the input's size, None if that size is dynamic.
    """
    if len(dims) != 3:
        return False
    _, rows, columns = dims
    if layout in FINISHED:
        return columns in (6, None) and not (isinstance(rows, int) and rows > _MAX_DETECTIONS)
    count = class_count(layout, dims)
    if count is not None and count < 1:
        return False
    if layout == "detr":
        return not (isinstance(rows, int) and rows > _MAX_DETECTIONS)
    anchors = columns if layout == "yolov8" else rows
    if not isinstance(anchors, int):
        return True
    if layout == "yolox" or layout in DISTRIBUTED:
        return cell_count is None or anchors == cell_count
    return count is None or anchors > count + 5


_STRIDES = (4, 8, 16, 32, 64, 128)
_MAX_ANCHORS = 12  # per cell
_MAX_QUERIES = 1000  # DETR has 100, RT-DETR 300, others up to 900
_QUERIES_STEP = 50


def are_queries(layout: str, dims: Dims, hw: tuple[int, int], strides: tuple[int, ...]) -> bool:
    """Return whether an output has a row per DETR query: a round number that no grids over an input of (height, width)
    `hw` have, whether of `strides` or of two or more consecutive levels."""
    axis = {"yolox": 1, "yolov5": 1, "yolov8": 2}.get(layout)
    anchors = dims[axis] if axis is not None else None
    if not isinstance(anchors, int) or not 0 < anchors <= _MAX_QUERIES or anchors % _QUERIES_STEP:
        return False
    runs = [_STRIDES[i:j] for i in range(len(_STRIDES)) for j in range(i + 2, len(_STRIDES) + 1)]
    counts = [sum(-(-hw[0] // s) * -(-hw[1] // s) for s in levels) for levels in (strides, *runs)]
    most = _MAX_ANCHORS if layout == "yolov5" else 1
    return not any(anchors % count == 0 and anchors // count <= most for count in counts)


def candidates(dims: Dims, hw: tuple[int, int], strides: tuple[int, ...]) -> list[str]:
    """Return the layouts that are possible for `dims`, the shape of a file's only output."""
    counts = {"nanodet-plus": cells(*hw, strides_of("nanodet-plus"))}
    return [
        layout
        for layout in ("yolox", "yolov5", "yolov8", "end2end", "nanodet-plus")
        if fits(layout, dims, counts.get(layout, cells(*hw, strides))) and not are_queries(layout, dims, hw, strides)
    ]
