"""build-trt: ONNX to a TensorRT plan, with its side-car and its checks.

In the order of the work: `prepare` converts the ONNX file to a precision (`to_float32`, `to_half`, `calibrate`,
`quantize`), `profile` defines the shapes, `flavors` the variants of TensorRT, `network` parses and `build` builds,
`progress` shows it, `sidecar` records it and is checked by a loader, `parity` compares a plan on its GPU with the CPU,
`aside` builds beside a run.
Importing this does not load TensorRT.
"""

__all__ = [
    "aside",
    "build",
    "calibrate",
    "fed",
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
