"""Backends: our own, ONNX Runtime, OpenVINO, and a fake one for tests."""
