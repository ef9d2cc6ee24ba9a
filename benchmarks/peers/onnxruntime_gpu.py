"""Plain ONNX Runtime on a device with its defaults: a session, an array in, an array out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def providers_of(device: str) -> list[Any]:
    """cpu, cuda or cuda:N."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}), "CPUExecutionProvider"]


def session_on(path: Path, providers: list[Any]) -> Callable[[Array], Array]:
    """Run the model at `path`, with the tensor converted to its dtype. Ends the program if another provider than the
    requested one computes."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=providers)
    wanted = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
    if session.get_providers()[0] != wanted:
        raise SystemExit(f"{wanted} is not active: ONNX Runtime could not load its libraries.")
    entry = session.get_inputs()[0]
    dtype = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(entry.type, np.float32)

    def run(tensor: Array) -> Array:
        return np.asarray(session.run(None, {entry.name: tensor.astype(dtype, copy=False)})[0])

    return run
