"""The layout that a file declares through its metadata, if that is certain.

What each exporter writes:
* Ultralytics (YOLOv8 and later, and YOLOv5u): author, task, names, stride, imgsz, description; newer ones also head
  and end2end.
* YOLOv5's own exporter: names and stride, nothing else.
* YOLOX's exporter: no metadata at all.
* LibreYOLO: libreyolo_version, model_family, size, task, names as JSON, imgsz_h and imgsz_w.
* This project: `yolo_engine.KEY` with KEY a top-level key of a side-car TOML, or `yolo_engine.input.KEY`, and the value
  in TOML's notation (a bare word is taken as a text). These take precedence.
"""

import ast
import re
import tomllib

from models.errors import LayoutError, ManifestError, OnnxFileError
from models.feeding import IMAGENET, RGB_TO_ONE
from models.manifest import InputParts, ManifestParts, parse_parts
from models.output_shape import class_count, fits
from models.printable import printable
from models.tensor_info import OnnxMeta

OWN_PREFIX = "yolo_engine."

_MAX_OF_A_NAME = 200
_ULTRALYTICS_INPUT: InputParts = {"channel_order": "rgb", "scale": 1 / 255, "pad": "center", "pad_value": 114.0}


def names_of(text: str) -> tuple[str, ...] | None:
    """Parse class names from a printed dict `{0: 'person', ...}` or list; None if the text is neither."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    if isinstance(value, dict):
        by_id = {str(key): name for key, name in value.items()}
        try:
            value = [by_id[str(i)] for i in range(len(by_id))]
        except KeyError:
            return None
    if not isinstance(value, list | tuple) or not value:
        return None
    return tuple(printable(str(name), _MAX_OF_A_NAME) for name in value)


def declared_parts(meta: OnnxMeta, where: str, joined: str | None = None) -> ManifestParts:
    """Return what the metadata declares, as parts of a manifest (see `manifest.parse_parts`). `joined` is the layout of
    joined outputs, if any.

    Raises OnnxFileError for a task other than detection, LayoutError for metadata that contradicts the output.
    """
    return _merge(_exporter_parts(meta, where, joined), _own_parts(meta.metadata, where))


def _merge(under: ManifestParts, over: ManifestParts) -> ManifestParts:
    return {**under, **over, "input": {**under.get("input", {}), **over.get("input", {})}}


def _own_parts(metadata: dict[str, str], where: str) -> ManifestParts:
    table: dict[str, object] = {}
    for key, text in metadata.items():
        if not key.startswith(OWN_PREFIX):
            continue
        *outer, leaf = key.removeprefix(OWN_PREFIX).split(".")
        inner = table
        for part in outer:
            below = inner.setdefault(part, {})
            if not isinstance(below, dict):
                raise ManifestError(f"{where}: metadata: {key} lies below a key that is not a table.")
            inner = below
        try:
            inner[leaf] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            inner[leaf] = text
    return parse_parts(table, f"{where}: metadata")


def _exporter_parts(meta: OnnxMeta, where: str, joined: str | None) -> ManifestParts:
    data = meta.metadata
    task = data.get("task", "detect")
    if task != "detect":
        raise OnnxFileError(f"{where}: this model does the task {task!r}; only detection models can be run here.")
    names = names_of(data.get("names", ""))
    if "libreyolo_version" in data:
        return _libreyolo(meta, names, where, joined)
    if names is None:
        return {}
    layout = _layout(meta, names)
    spec = _ULTRALYTICS_INPUT.copy()
    if layout is None:  # its input format is known all the same
        return {"classes": names, "input": spec} if data.get("author") == "Ultralytics" else {"classes": names}
    dims = meta.outputs[0].dims
    count = class_count(layout, dims)
    if count is not None and count != len(names):
        raise LayoutError(
            f"{where}: metadata lists {len(names)} class names, but the output has room for {count}. Export it again."
        )
    parts: ManifestParts = {"layout": layout, "classes": names, "input": spec}
    if re.fullmatch(r"[1-9][0-9]{0,2}", data.get("stride", "")):
        spec["stride"] = int(data["stride"])
        parts["strides"] = tuple(s for s in (8, 16, 32, 64) if s <= max(32, int(data["stride"])))
    spec.update(_free_size(meta, spec.get("stride", 32)))
    if data.get("license"):
        parts["licence"] = printable(data["license"])
    if data.get("description"):
        parts["description"] = printable(data["description"])
    return parts


# The input formats of LibreYOLO's DETR families, all of which stretch.
_LIBRE_DETR: dict[str, InputParts] = {
    **dict.fromkeys(("dfine", "deim", "deimv2", "rtdetr", "rtdetrv2", "rtdetrv4"), RGB_TO_ONE),
    **dict.fromkeys(("rfdetr", "ec"), IMAGENET),
}
_LIBRE_YOLOX: InputParts = {"channel_order": "bgr", "scale": 1.0, "pad": "topleft", "rounding": "down"}
_LIBRE_DINO = ("s", "m", "l", "x")  # sizes of DEIMv2 based on DINOv3, with its normalisation


def _libreyolo(meta: OnnxMeta, names: tuple[str, ...] | None, where: str, joined: str | None) -> ManifestParts:
    data = meta.metadata
    family = data.get("model_family", "")
    if family in _LIBRE_DETR and joined == "detr":
        dino = family == "deimv2" and data.get("size") in _LIBRE_DINO
        layout, spec = "detr", (IMAGENET if dino else _LIBRE_DETR[family]).copy()
    elif family == "yolox" and fits("yolov5", meta.outputs[0].dims, None):
        layout, spec = "yolov5", _LIBRE_YOLOX.copy()
    else:
        raise OnnxFileError(
            f"{where}: LibreYOLO's {family!r} lays its output out in a way of its own, which can't be run here. Of its "
            f"families, {', '.join(sorted([*_LIBRE_DETR, 'yolox']))} can."
        )
    height, width = (int(text) if text.isdecimal() else 0 for text in map(data.get, ("imgsz_h", "imgsz_w"), ("", "")))
    free_height, free_width = (not isinstance(dim, int) for dim in meta.inputs[0].dims[2:])
    if free_height and 32 <= height <= 8192:
        spec["height"] = height
    if free_width and 32 <= width <= 8192:
        spec["width"] = width
    parts: ManifestParts = {"layout": layout, "input": spec}
    if names is not None:
        parts["classes"] = names
    return parts


def _free_size(meta: OnnxMeta, stride: int) -> InputParts:
    """Return height and width of an Ultralytics export with dynamic axes, from `640` or `[480, 640]`."""
    found = re.fullmatch(r"\[?\s*(\d{1,4})\s*(?:,\s*(\d{1,4})\s*)?\]?", meta.metadata.get("imgsz", ""))
    if found is None or len(meta.inputs) != 1 or len(meta.inputs[0].dims) != 4:
        return {}
    height = int(found[1])
    width = int(found[2] or height)
    if any(not 32 <= size <= 8192 or size % stride for size in (height, width)):
        return {}
    free: InputParts = {}
    if not isinstance(meta.inputs[0].dims[2], int):
        free["height"] = height
    if not isinstance(meta.inputs[0].dims[3], int):
        free["width"] = width
    return free


def _layout(meta: OnnxMeta, names: tuple[str, ...]) -> str | None:
    data, dims = meta.metadata, meta.outputs[0].dims
    if data.get("author") == "Ultralytics" and data.get("task") == "detect":
        return _ultralytics_layout(data, dims, len(names))
    by_yolov5 = "stride" in data and not {"task", "author", "head"} & set(data)
    if by_yolov5 and fits("yolov5", dims, None) and dims[2] == 5 + len(names):
        return "yolov5"
    return None


def _ultralytics_layout(data: dict[str, str], dims: tuple[int | str | None, ...], class_total: int) -> str | None:
    about = f"{data.get('head', '')} {data.get('description', '')}".lower().replace("-", "")
    if "rtdetr" in about:  # (N, D, 4+C), normalised: none of the layouts, and with two classes it looks like end2end
        return None
    ends = data.get("end2end", "").lower() == "true" or "'nms': true" in data.get("args", "").lower()
    if fits("end2end", dims, None) and dims[2] == 6 and (ends or class_total != 2):
        return "end2end"
    if not ends and fits("yolov8", dims, None) and dims[1] == 4 + class_total:
        return "yolov8"
    return None
