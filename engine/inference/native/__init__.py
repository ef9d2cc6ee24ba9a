"""Our own executor for convolutional detectors on a CPU: an ONNX graph becomes a table of steps for engine_ext.convnet.

In order: `graph` (the file), `trace` (what each node does at one input size), `fuse` (merges operations into others),
`layout` (the place of each tensor), `pack` (weights in the order of access), `plan` (the table). `end` splits off
whatever follows the convolutions at the end of a graph, and computes it with NumPy.
"""

__all__ = ["end", "graph", "ops", "pack", "plan"]
