"""From a model's name to detections: finding it, choosing what computes it, running it, reading its output.

In order: `model` loads what a configuration asks for, `select` picks what computes and says why, `backends` run it,
`layouts` read the raw outputs, `plausible` looks at the first boxes. `native` is our own executor for CPUs, `gpu` what
runs on a card, `trt` builds and checks TensorRT plans; the engine imports of `trt` only what finds and checks one.

A backend is a file in `backends` and a line in engine/choices/backends.py; a layout is a file in `layouts` and an entry
in its table.
Nothing is guessed: a layout is declared, and an accelerator that was asked for and is not there is an error.
"""

__all__ = ["backends", "gpu", "heads", "layouts", "letterbox", "model", "plausible", "tensor_shape", "trt"]
