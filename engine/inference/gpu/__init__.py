"""Everything that runs on an NVIDIA GPU: context, memory, streams and kernels. Importing this or its modules does not
initialize CUDA.

From the driver up: `process` (no CUDA across a fork), `context`, `memory`, `graphs`, `plan` (a plan and its execution
contexts), `frames` (uploading planes), `filters` and `kernels` (`protocol` is the contract between them and the
backend), `slot` (one batch in flight: three streams, events, buffers) and `lane` (the resources one thread uses at a
time).

* Lanes, not threads: a run makes new threads and an engine may have many runs, so buffers belong to lanes, which
  threads
  take and return. All are allocated at the start: what does not fit fails there.
* The primary context, current only inside a call: TensorRT and ONNX Runtime use the same one. PyCUDA aborts the process
  if a thread ends with a context on its stack, so every call pushes and pops.
"""

__all__ = [
    "compiler",
    "context",
    "decode",
    "filters",
    "frames",
    "graphs",
    "kernels",
    "lane",
    "plan",
    "process",
    "protocol",
]
