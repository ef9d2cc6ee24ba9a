"""Backends: our own, ONNX Runtime, OpenVINO, TensorRT, and a fake one for tests.

`base` is the contract: a loaded model that many threads call concurrently with a tensor, and that returns raw outputs.
A backend reports what really computed (`provider`), raises BackendMissing with the command that installs it, and never
falls back to another device by itself.
"""

__all__ = ["base", "fake", "native", "onnxruntime", "openvino", "tensorrt"]
