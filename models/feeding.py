"""How images are fed to a model: what can be known, and what must be stated.

Channel order and scale can't be derived from a file. A known file, a manifest or metadata states them; of the layouts,
only yolov8 belongs to a single family that feeds all its models in the same way. Wrong values do not fail, but give
fewer and different boxes, so nothing is assumed.
"""

from pathlib import Path

from models.errors import LayoutError, ManifestError
from models.manifest import InputParts, InputSpec

RGB_TO_ONE: InputParts = {"channel_order": "rgb", "scale": 1 / 255}
IMAGENET: InputParts = {
    "channel_order": "rgb",
    "mean": (123.675, 116.28, 103.53),
    "scale": (1 / 58.395, 1 / 57.12, 1 / 57.375),
}
IMAGENET_BGR: InputParts = {
    "channel_order": "bgr",
    "mean": (103.53, 116.28, 123.675),
    "scale": (1 / 57.375, 1 / 57.12, 1 / 58.395),
}
_FLOAT16_MAX = 65504

# The placement of an image and the rounding of its size, as in each family's own programs.
_OF_LAYOUT: dict[str, InputParts] = {
    "yolox": {"pad": "topleft", "rounding": "down"},
    "yolov5": {"pad": "center"},
    "yolov8": {"pad": "center", **RGB_TO_ONE},
    "end2end": {"pad": "center"},
    "detr": {"pad": "stretch", "channel_order": "rgb", "stride": 1},
    "detr-post": {"pad": "stretch", "channel_order": "rgb", "stride": 1},
    "rtmdet": {"pad": "topleft", **IMAGENET_BGR},
    "nanodet": {"pad": "center", "pad_value": 0.0, **IMAGENET_BGR},
    "nanodet-plus": {"pad": "stretch", **IMAGENET_BGR},
    "picodet": {"pad": "stretch", **IMAGENET},
}

_KNOWN = (
    "YOLOX since 0.2 takes `--channel-order bgr --input-scale 1`; YOLOX before that `--channel-order rgb --input-scale "
    "0.0171248,0.0175070,0.0174292 --input-mean 123.675,116.28,103.53`; YOLOv5, YOLOv7 and Ultralytics "
    "`--channel-order rgb --input-scale 0.00392157`"
)
_KNOWN_DETR = (
    "RT-DETR, D-FINE, DEIM and the smallest of DEIMv2 (atto to n) take `--input-scale 0.00392157`; RF-DETR and DEIMv2 "
    "from s on `--input-scale 0.0171248,0.0175070,0.0174292 --input-mean 123.675,116.28,103.53`"
)


def of_family(layout: str) -> InputParts:
    """Return what the layout alone implies about the input."""
    return _OF_LAYOUT[layout].copy()


def question(spec: InputParts, layout: str, path: Path) -> LayoutError | None:
    """Return the error that asks for the required values missing in `spec`; None if it is complete."""
    missing = [] if "channel_order" in spec else ["--channel-order rgb|bgr"]
    missing += [] if "scale" in spec else ["--input-scale"]
    # A scale per channel usually comes with a mean per channel.
    if isinstance(spec.get("scale"), tuple) and "mean" not in spec:
        missing += ["--input-mean"]
    if not missing:
        return None
    also = "" if "--input-mean" in missing else " (and --input-mean, where one is subtracted)"
    return LayoutError(
        f"{path}: the file does not say how images are fed to it, and layout {layout} does not tell. Say it with "
        f"{' and '.join(missing)}{also}, or under [input] of {path.name}.toml. "
        f"{_KNOWN_DETR if layout in ('detr', 'detr-post') else _KNOWN}."
    )


def check_feeding(spec: InputSpec, name: str | Path) -> None:
    """Raise ManifestError if the input's dtype can't represent the values to be fed."""
    scales = spec.scale if isinstance(spec.scale, tuple) else (spec.scale,) * 3
    if spec.dtype == "uint8" and (set(scales) != {1.0} or any(spec.mean)):
        raise ManifestError(
            f"{name}: its input is uint8, which takes pixels as they are: scale must be 1 and mean 0. Got scale "
            f"{_text(scales)}, mean {_text(spec.mean)}. Pass `--input-scale 1`."
        )
    ends = [abs((pixel - mean) * scale) for pixel in (0, 255) for mean, scale in zip(spec.mean, scales, strict=True)]
    if spec.dtype == "float16" and max(ends) > _FLOAT16_MAX:
        raise ManifestError(
            f"{name}: its input is float16, which holds numbers up to {_FLOAT16_MAX}. With scale {_text(scales)} and "
            f"mean {_text(spec.mean)} they go up to {max(ends):g}. Correct --input-scale or --input-mean."
        )


def _text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in (values[:1] if len(set(values)) == 1 else values))
