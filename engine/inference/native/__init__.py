"""An own executor of convolutional detectors on a CPU: an ONNX graph becomes a table of steps for engine_ext.convnet.

In order: `graph` (the file), `trace` (what each node does at one input size), `fuse` (what needs no pass of its own),
`layout` (where each tensor lies), `pack` (weights in the order they are read), `plan` (the table). `end` takes apart a
graph that does more than convolve at its end, and computes that with NumPy.
"""

__all__ = ["end", "graph", "ops", "pack", "plan"]
