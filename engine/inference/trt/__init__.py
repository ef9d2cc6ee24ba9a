"""build-trt: ONNX -> TensorRT plan, its side-car and its checks.

In the order of the work: `prepare` makes the ONNX for a precision (`plain`, `narrow`, `calibrate`, `quantize`),
`profile` says which shapes, `flavors` which TensorRT, `network` parses and `build` builds, `progress` shows it,
`sidecar` records it and is what a loader asks, `parity` compares a plan on its GPU with the CPU. Importing this loads
no TensorRT.
"""

__all__ = [
    "build",
    "calibrate",
    "find",
    "flavors",
    "gpu",
    "network",
    "profile",
    "progress",
    "quantize",
    "sidecar",
    "to_float32",
]
