"""Recognise files that are not ONNX models, and explain how to convert them to ONNX."""

from pathlib import Path

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
        return (
            f"PyTorch weights: export them with the program that trained them. Ultralytics: `yolo export "
            f"model={path.name} format=onnx`; YOLOv5: `python export.py --weights {path.name} --include onnx`; YOLOX: "
            f"`python tools/export_onnx.py -n MODEL -c {path.name} --output-name {path.stem}.onnx`."
        )
    return f"is {kind}, not an ONNX model. Export the model to ONNX, and name that file."
