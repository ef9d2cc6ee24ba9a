"""YOLOX-nano as a teacher: the scores and boxes of every cell, and the features they are computed from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models.dynamic_axes import freed_model
from models.resolution import resolve
from models.train import COCO_IDS, STRIDES

FEATURE_CHANNELS = [64] * 6  # of YOLOX-nano: class and box features of three levels

Floats = NDArray[np.float32]


def cell_grid(height: int, width: int) -> tuple[Floats, Floats]:
    """Return column and row `(cells, 2)` and stride `(cells, 1)` of every cell of an image, in the order of the models'
    outputs."""
    corners, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], 1))
        strides.append(np.full((corners[-1].shape[0], 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


@dataclass(frozen=True)
class Answer:
    """The teacher's prediction for a batch.

    scores    (N, cells, classes) float32: objectness times class, only of the trained classes
    boxes     (N, cells, 4) float32 x1 y1 x2 y2 in pixels
    features  six (N, C, h, w) float32: class and box features at strides 8, 16, 32
    """

    scores: Floats
    boxes: Floats
    features: list[Floats]


class Teacher:
    """YOLOX with dynamic height and width, and its last features as further outputs. Not thread-safe."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        model = onnx.load(freed_model(resolve(path)).path)
        for level in range(len(STRIDES)):
            for part in ("cls", "reg"):
                tensor = _input_of_weight(model, f"head.{part}_preds.{level}.weight", path)
                model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, pictures: Floats) -> Answer:
        """`pictures` is (N, 3, H, W) float32 BGR 0..255, H and W multiples of 32."""
        raw, *features = self._session.run(None, {self._input: pictures})
        corners, strides = cell_grid(*pictures.shape[2:])
        centre, half = (raw[..., :2] + corners) * strides, np.exp(raw[..., 2:4]) * strides / 2
        scores = raw[..., 4:5] * raw[..., [5 + i for i in COCO_IDS]]
        return Answer(scores, np.concatenate([centre - half, centre + half], -1), features)


def _input_of_weight(model: Any, weight: str, path: Path) -> str:
    for node in model.graph.node:
        if weight in node.input:
            return str(node.input[0])
    raise ValueError(f"{path}: no export of YOLOX that can teach: it has no weight {weight}.")
