"""Models in float32 on a CPU that our executor does not know: which of them OpenVINO computes, where it is installed.

Two operators tell, by measured times against ONNX Runtime. Deformable attention (GridSample: RT-DETR, D-FINE, DEIM,
RF-DETR) takes 0.68 of the time for DEIMv2-Atto, 0.83 for RF-DETR-N, and 0.99 for an RT-DETR and a D-FINE that are
dominated by their backbones. Shuffled channels (ShuffleNet and the like: NanoDet, PicoDet) take 0.73 and 0.46. Files
that are quantized are left to ONNX Runtime: dynamic quantization takes half as long again in OpenVINO, and loses boxes.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx

from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends.base import CpuModel, OnCpu
from engine.inference.backends.onnxruntime import on_cpu as in_onnxruntime
from engine.inference.backends.openvino import OpenVinoBackend
from models.onnx_meta import parse_onnx

log = logging.getLogger(__name__)


def elsewhere(asked: CpuModel, unknown: str) -> OnCpu:
    """Return the model in OpenVINO or in ONNX Runtime. `unknown`: why not in our executor. Raises BackendMissing and
    ModelError."""
    why = f"not our executor: {unknown}"
    kind = _faster_in_openvino(parse_onnx(asked.path))
    if kind is not None and (backend := _openvino(asked)) is not None:
        return OnCpu(backend, f"{why}; OpenVINO computes {kind} faster than ONNX Runtime")
    log.info("ONNX Runtime computes: %s", unknown)
    return OnCpu(in_onnxruntime(asked), why)


def _faster_in_openvino(model: onnx.ModelProto) -> str | None:
    """Return what a model has that OpenVINO computes faster; None if there is nothing, or if it is quantized."""
    nodes = model.graph.node
    if any("Quantize" in node.op_type for node in nodes):
        return None
    if any(node.op_type == "GridSample" for node in nodes):
        return "deformable attention"
    return "shuffled channels" if any(map(_shuffles, nodes)) else None


def _shuffles(node: onnx.NodeProto) -> bool:
    """Return whether a node swaps groups (N, G, C / G, H, W) and the channels within them."""
    return node.op_type == "Transpose" and any(list(part.ints) == [0, 2, 1, 3, 4] for part in node.attribute)


def _openvino(asked: CpuModel) -> OpenVinoBackend | None:
    """Return the model in OpenVINO; None if that is not installed, or refuses it.

    One inference at the model's own size shows that it runs: some models are refused only when they are compiled.
    """
    try:
        backend = OpenVinoBackend(asked.path, asked.workers, batch_safe=asked.batch_safe, named=asked.name)
        backend.run(np.zeros((1, 3, *asked.size), backend.input_dtype))
    except (BackendMissing, ModelError, BackendError) as error:
        log.info("not OpenVINO: %s", error)
        return None
    return backend
