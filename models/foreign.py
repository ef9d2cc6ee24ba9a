"""Recognise models that are not ONNX files, and explain how to convert them to ONNX."""

from pathlib import Path
from typing import NamedTuple


class _Family(NamedTuple):
    """Models of one program. `names` are how their names begin, without hyphens. `export` exports the file {weights} to
    {stem}.onnx, or to the name that the program gives it."""

    shown: str
    names: tuple[str, ...]
    export: str


_DEPLOYMENT = "`python tools/deployment/export_onnx.py --check -c CONFIG.yml -r {weights}` in its repository"
_FAMILIES = (
    _Family(
        "Ultralytics",
        ("yolov8", "yolov9", "yolov10", "yolo11", "yolo12", "yolo26"),
        "`yolo export model={weights} format=onnx`",
    ),
    _Family("YOLOv5", ("yolov5",), "`python export.py --weights {weights} --include onnx`"),
    _Family("YOLOX", (), "`python tools/export_onnx.py -n MODEL -c {weights} --output-name {stem}.onnx`"),
    _Family("D-FINE", ("dfine",), _DEPLOYMENT),
    _Family("DEIM", ("deim",), _DEPLOYMENT),
    _Family("RF-DETR", ("rfdetr",), "in Python `rfdetr.RFDETRNano(pretrain_weights='{weights}').export()`"),
)
_WEIGHTS = "PyTorch weights"
_BY_SUFFIX = {
    ".pt": _WEIGHTS,
    ".pth": _WEIGHTS,
    ".ckpt": _WEIGHTS,
    ".torchscript": "a TorchScript model",
    ".safetensors": "weights without a network",
    ".engine": "a TensorRT engine of another program",
    ".trt": "a TensorRT engine of another program",
    ".tflite": "a TensorFlow Lite model",
    ".pb": "a TensorFlow model",
    ".xml": "an OpenVINO model",
    ".mlmodel": "a Core ML model",
}


def what_it_is(path: Path, head: bytes) -> str | None:
    """Return a sentence about a file with this name and these first bytes; None if it may be an ONNX model."""
    kind = _BY_SUFFIX.get(path.suffix.lower())
    archive = head.startswith(b"PK\x03\x04")  # torch.save since 1.6; before, a pickle
    if archive or head.startswith(b"\x80\x02"):
        kind = kind or (_WEIGHTS if b"data.pkl" in head or not archive else "an archive")
    if kind is None:
        return None
    if kind == "an archive":
        return "is an archive, not an ONNX model. Unpack it and name the .onnx file in it."
    if kind == _WEIGHTS:
        families = [family for family in _FAMILIES if _is_of(path.name, family)] or _FAMILIES
        ways = (f"{family.shown}: {family.export.format(weights=path.name, stem=path.stem)}" for family in families)
        return f"PyTorch weights: export them with the program that trained them. {'; '.join(ways)}."
    return f"is {kind}, not an ONNX model. Export the model to ONNX, and name that file."


def how_to_get(name: str) -> str | None:
    """Return a sentence about a model that the zoo has not, of a family that publishes no ONNX files itself; None if
    its family is unknown."""
    family = next((each for each in _FAMILIES if _is_of(name, each)), None)
    if family is None:
        return None
    export = family.export.format(weights="WEIGHTS", stem="MODEL")
    return f"{family.shown} publishes PyTorch weights: export them ({export}), and pass the ONNX file."


def bare(name: str) -> str:
    """Return a model's name without what its spellings differ in: case, hyphens and underscores."""
    return name.lower().replace("-", "").replace("_", "")


def _is_of(name: str, family: _Family) -> bool:
    return bare(name).startswith(family.names)
