"""Our own executor for convolutional detectors on a CPU: an ONNX graph becomes a table of steps for engine_ext.convnet.

In order: `graph` (the file), `trace` (what each node does at one input size), `fuse` (operations without a pass of
their own), `layout` (the place of each tensor), `pack` (weights in the order they are read), `plan` (the table).
"""

__all__ = ["graph", "ops", "pack", "plan"]
