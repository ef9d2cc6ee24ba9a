"""The commands that messages give to install what is missing."""

from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]


def extra(name: str) -> str:
    """Return what installs an extra. In a clone that runs as it is there, it continues doing so, with the versions
    tried."""
    how = "-c constraints.txt -e " if (CLONE / "constraints.txt").is_file() else ""
    return f"pip install {how}'.[{name}]' in a clone"


def onnxruntime_gpu() -> str:
    """Return what replaces whatever ONNX Runtime is there by its GPU build: setup.py asks for the other one
    otherwise."""
    return f"pip uninstall -y onnxruntime onnxruntime-gpu, then YOLO_ENGINE_ORT=gpu {extra('gpu')}"
