"""An own executor of convolutional detectors on a CPU: an ONNX graph becomes a table of steps for engine_ext.convnet.

In order: `graph` (the file), `trace` (what each node does at one input size), `fuse` (what needs no pass of its own),
`layout` (where each tensor lies), `pack` (weights in the order they are read), `plan` (the table).
"""

__all__ = ["graph", "ops", "pack", "plan"]
