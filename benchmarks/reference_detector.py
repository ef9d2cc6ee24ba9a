"""A plain peer of the engine's detector: OpenCV, ONNX Runtime on the model's own file, NumPy, without the engine.

What a careful user writes in an afternoon: letterbox to the model's square, one image at a time, vectorised NumPy.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Array = NDArray[Any]


class Family(NamedTuple):
    """The input of a family of models: channel order, factor, and whether the image is centred."""

    bgr: bool
    scale: float
    centred: bool


FAMILIES = {
    "yolox": Family(bgr=True, scale=1.0, centred=False),
    "yolov5": Family(bgr=False, scale=1 / 255, centred=True),
    "yolov8": Family(bgr=False, scale=1 / 255, centred=True),
    "end2end": Family(bgr=False, scale=1 / 255, centred=True),
}
PAD = 114
YOLOX_STRIDES = (8, 16, 32)


class ReferenceDetector:
    """`family` is one of FAMILIES. The session has ONNX Runtime's default options: all cores on one image.

    providers  ONNX Runtime's execution providers
    size_hw    of the input, for a file with dynamic axes
    """

    def __init__(
        self,
        path: Path,
        family: str,
        *,
        conf: float,
        nms_iou: float,
        max_detections: int = 300,
        providers: Sequence[Any] = ("CPUExecutionProvider",),
        size_hw: tuple[int, int] | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=list(providers))
        entry = self._session.get_inputs()[0]
        self._input = entry.name
        self._dtype = np.float16 if entry.type == "tensor(float16)" else np.float32
        self.size_hw: tuple[int, int] = size_hw or tuple(entry.shape[2:])
        self._family = FAMILIES[family]
        readers = {"yolox": self._read_yolox, "yolov5": read_yolov5, "yolov8": read_yolov8, "end2end": read_end2end}
        self._read = readers[family]
        self._grid = yolox_grid(self.size_hw) if family == "yolox" else None
        self._conf, self._nms_iou, self._max_detections = conf, nms_iou, max_detections

    def __call__(self, image_bgr: Array) -> tuple[Array, Array, Array]:
        """(H, W, 3) uint8 -> boxes_xyxy (N, 4) in the image's pixels, scores (N,), class_ids (N,), best score first."""
        tensor, ratio, offset = self.letterbox(image_bgr)
        output = self._session.run(None, {self._input: tensor})[0][0].astype(np.float32)
        return self.read(output, ratio, offset, (image_bgr.shape[0], image_bgr.shape[1]))

    def read(
        self, output: Array, ratio: float, offset: tuple[int, int], image_hw: tuple[int, int]
    ) -> tuple[Array, Array, Array]:
        """Return one image's output as `__call__` gives it; `ratio` and `offset` are those of `letterbox`."""
        boxes, scores, class_ids = self._read(output, self._conf)
        alone = self._read is read_end2end  # it has removed duplicates itself
        kept = np.argsort(-scores, kind="stable") if alone else nms(boxes, scores, class_ids, self._nms_iou)
        kept = kept[: self._max_detections]
        (height, width), (left, top) = image_hw, offset
        boxes = (boxes[kept] - np.array([left, top, left, top])) / ratio
        return np.clip(boxes, 0, [width, height, width, height]), scores[kept], class_ids[kept]

    def letterbox(self, image_bgr: Array) -> tuple[Array, float, tuple[int, int]]:
        """Return the tensor (1, 3, H, W), tensor pixels to an image pixel, and where the image begins: (left, top)."""
        (height, width), (h, w) = self.size_hw, image_bgr.shape[:2]
        ratio = min(height / h, width / w)
        whole = round if self._family.centred else int  # YOLOX's own programs round down
        resized = cv2.resize(image_bgr, (whole(w * ratio), whole(h * ratio)), interpolation=cv2.INTER_LINEAR)
        spare_y, spare_x = height - resized.shape[0], width - resized.shape[1]
        top, left = (spare_y // 2, spare_x // 2) if self._family.centred else (0, 0)
        padded = cv2.copyMakeBorder(
            resized, top, spare_y - top, left, spare_x - left, cv2.BORDER_CONSTANT, value=(PAD, PAD, PAD)
        )
        if not self._family.bgr:
            padded = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)
        tensor = padded.transpose(2, 0, 1)[None].astype(np.float32)
        if self._family.scale != 1:
            tensor *= self._family.scale
        return np.ascontiguousarray(tensor, self._dtype), ratio, (left, top)

    def _read_yolox(self, output: Array, conf: float) -> tuple[Array, Array, Array]:
        """Read a raw grid (A, 5 + C): the centre counts from the cell's corner in strides, the size is a logarithm."""
        assert self._grid is not None
        corners, strides = self._grid
        decoded = output.copy()
        decoded[:, :2] = (output[:, :2] + corners) * strides
        decoded[:, 2:4] = np.exp(output[:, 2:4]) * strides
        return read_yolov5(decoded, conf)


def yolox_grid(size_hw: tuple[int, int]) -> tuple[Array, Array]:
    """For every row of a YOLOX output: its cell's (x, y), and its stride (A, 1)."""
    height, width = size_hw
    corners, strides = [], []
    for stride in YOLOX_STRIDES:
        y, x = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def read_yolov5(output: Array, conf: float) -> tuple[Array, Array, Array]:
    """Read (A, 5 + C): cx cy w h, objectness, class scores."""
    class_ids = output[:, 5:].argmax(axis=1)
    scores = output[:, 4] * output[np.arange(len(output)), 5 + class_ids]
    passed = scores >= conf
    return corners_of(output[passed, :4]), scores[passed], class_ids[passed]


def read_yolov8(output: Array, conf: float) -> tuple[Array, Array, Array]:
    """(4 + C, A): rows cx, cy, w, h, class scores."""
    class_ids = output[4:].argmax(axis=0)
    scores = output[4:].max(axis=0)
    passed = scores >= conf
    return corners_of(output[:4, passed].T), scores[passed], class_ids[passed]


def read_end2end(output: Array, conf: float) -> tuple[Array, Array, Array]:
    """Read (N, 6): x1 y1 x2 y2, score, class, without duplicates."""
    rows = output[output[:, 4] >= conf]
    return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)


def corners_of(boxes: Array) -> Array:
    """cx cy w h -> x1 y1 x2 y2."""
    half = boxes[:, 2:] / 2
    return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])


def nms(boxes: Array, scores: Array, class_ids: Array, threshold: float) -> Array:
    """Return the indices of the boxes that greedy NMS per class keeps, best score first."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.clip(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner, 0, None).prod(axis=1)
        overlap = shared / (areas[best] + areas[rest] - shared)
        order = rest[(overlap <= threshold) | (class_ids[rest] != class_ids[best])]
    return np.array(kept, np.intp)
