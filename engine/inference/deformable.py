"""Deformable attention (RT-DETR, D-FINE, DEIM, RF-DETR) in float32 on a CPU: OpenVINO, where it is installed.

Its operator GridSample is what tells these models. Against ONNX Runtime OpenVINO takes 0.68 of the time for DEIMv2-Atto
in float32, 0.83 for RF-DETR-N, and 0.99 for an RT-DETR and a D-FINE that are dominated by their backbones. Files that
are quantized are left to ONNX Runtime: dynamic quantization takes half as long again in OpenVINO, and loses boxes.
"""

from __future__ import annotations

import logging

import numpy as np

from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends.base import CpuModel
from engine.inference.backends.openvino import OpenVinoBackend
from models.onnx_meta import parse_onnx

log = logging.getLogger(__name__)

FASTER = "OpenVINO computes deformable attention faster than ONNX Runtime"


def deformable_in_openvino(asked: CpuModel) -> OpenVinoBackend | None:
    """Return the model in OpenVINO if it has deformable attention, is not quantized, and runs there; otherwise None.

    One inference at the model's own size shows that it runs; OpenVINO may refuse a model only when it compiles it.
    """
    kinds = {node.op_type for node in parse_onnx(asked.path).graph.node}
    if "GridSample" not in kinds or any("Quantize" in kind for kind in kinds):
        return None
    try:
        backend = OpenVinoBackend(asked.path, asked.workers, batch_safe=asked.batch_safe, named=asked.name)
        backend.run(np.zeros((1, 3, *asked.size), backend.input_dtype))
    except (BackendMissing, ModelError, BackendError) as error:
        log.info("not OpenVINO: %s", error)
        return None
    return backend
