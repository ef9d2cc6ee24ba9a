"""From a model's name to detections: finding the model, choosing a backend, running it, reading its output.

In order: `model` loads the configured model, `select` chooses a backend and says why, `backends` run the model,
`layouts` read the raw outputs, `plausible` checks the first boxes. `native` is our own executor for CPUs, `gpu` runs on
a card, `trt` builds and checks TensorRT plans; the engine imports only the parts of `trt` that find and check one.

A backend is a file in `backends` and a line in engine/choices/backends.py; a layout is a file in `layouts` and an entry
in its table. Nothing is guessed: a layout is declared, and requesting an accelerator that is missing is an error.
"""

__all__ = ["backends", "gpu", "heads", "layouts", "letterbox", "model", "plausible", "tensor_shape", "trt"]
