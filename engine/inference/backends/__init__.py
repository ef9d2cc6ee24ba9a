"""Backends: our own, ONNX Runtime, OpenVINO, and a fake one for tests."""

__all__ = ["base", "fake", "native", "onnxruntime", "openvino", "tensorrt"]
