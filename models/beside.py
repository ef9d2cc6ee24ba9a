"""Reads config.json and preprocessor_config.json of Transformers. ONNX exports by Optimum don't include this
information; they are in the same folder as these two files, or in its subfolder `onnx`.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from models.errors import LayoutError, ManifestError, ModelError
from models.files import read_regular
from models.manifest import InputParts, ManifestParts
from models.output_shape import class_count
from models.parts import Parts
from models.printable import printable
from models.tensor_info import OnnxMeta

_MAX_BYTES = 1 << 20
_MAX_OF_A_NAME = 200
_SIGMOID = ("rt_detr", "rt_detr_v2", "d_fine", "rf_detr", "lw_detr", "deimv2", "deim")
_SOFTMAX = ("detr", "yolos", "table-transformer")


def transformers_parts(path: Path, joined: Parts | None, meta: OnnxMeta) -> ManifestParts:
    """Return what the files beside the model at `path` declare, as parts of a manifest (see `manifest.parse_parts`);
    empty if there are none, or if its outputs are not those of a DETR kind.

    Raises LayoutError for a kind that can't be run, ManifestError for files that can't be read.
    """
    if joined is None or joined.layout != "detr":
        return {}
    for folder in (path.parent, path.parent.parent):
        if os.path.lexists(folder / "config.json") and (folder == path.parent or path.parent.name == "onnx"):
            return _parts(folder, meta)
    return {}


def _parts(folder: Path, meta: OnnxMeta) -> ManifestParts:
    where = folder / "config.json"
    config = _read(where)
    kind = config.get("model_type")
    if kind in _SOFTMAX:
        raise LayoutError(
            f"{where}: the model is {kind!r}, which computes scores with a softmax. Layout detr takes scores of a "
            "sigmoid (RT-DETR, D-FINE)."
        )
    if kind not in _SIGMOID:
        return {}
    parts: ManifestParts = {"layout": "detr"}
    names, count = _names(config.get("id2label")), class_count("detr", meta.outputs[0].dims)
    if names is not None and count in (None, len(names), len(names) + 1):
        parts["classes"] = names
    fed = folder / "preprocessor_config.json"
    if os.path.lexists(fed):
        parts["input"] = _input(_read(fed), fed)
    return parts


def _names(table: object) -> tuple[str, ...] | None:
    if not isinstance(table, Mapping) or not table:
        return None
    names = [table.get(str(i)) for i in range(len(table))]
    return tuple(printable(str(name), _MAX_OF_A_NAME) for name in names) if None not in names else None


def _input(data: Mapping[str, object], where: Path) -> InputParts:
    """Return the input of a Transformers image processor: `(pixel * rescale_factor - image_mean) / image_std`, in
    RGB."""
    size = data.get("size")
    if isinstance(size, Mapping) and not {"height", "width"} <= set(size) and data.get("do_resize", True):
        raise LayoutError(
            f"{where}: images are resized by their {printable(', '.join(map(str, size)))} there, where layout detr "
            "stretches them to one height and width."
        )
    factor = data.get("rescale_factor", 1 / 255) if data.get("do_rescale", True) else 1.0
    mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if data.get("do_normalize", False):
        mean, deviation = _three(data, "image_mean", where), _three(data, "image_std", where)
    if not isinstance(factor, int | float) or not all(0 < each < math.inf for each in (factor, *deviation)):
        raise ManifestError(f"{where}: rescale_factor and image_std must be numbers above 0.")
    scales = (factor / deviation[0], factor / deviation[1], factor / deviation[2])
    found: InputParts = {
        "channel_order": "rgb",
        "mean": (mean[0] / factor, mean[1] / factor, mean[2] / factor),
        "scale": scales[0] if len(set(scales)) == 1 else scales,
    }
    height, width = (size.get("height"), size.get("width")) if isinstance(size, Mapping) else (None, None)
    if isinstance(height, int) and isinstance(width, int):
        found |= {"height": height, "width": width}
    return found


def _three(data: Mapping[str, object], key: str, where: Path) -> tuple[float, float, float]:
    value = data.get(key)
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(each, int | float) for each in value):
        raise ManifestError(f"{where}: {key} must be three numbers.")
    return float(value[0]), float(value[1]), float(value[2])


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(read_regular(path, _MAX_BYTES))
    except ModelError as error:
        raise ManifestError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path}: cannot be read as JSON. Mend it, or move it away from the model.") from error
    if not isinstance(found, dict):
        raise ManifestError(f"{path}: must contain a JSON object.")
    return found
