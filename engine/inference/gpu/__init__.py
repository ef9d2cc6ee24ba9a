"""What runs on an NVIDIA GPU: context, memory, streams and kernels. Importing this or its modules touches no CUDA.

From the driver up: `process` (no CUDA across a fork), `context`, `memory`, `graphs`, `plan` (a plan and its execution
contexts), `frames` (planes on their way up), `filters` and `kernels` (`protocol` is what they and the backend owe each
other), `slot` (one batch under way: three streams, events, buffers) and `lane` (what one thread has at a time).

* Lanes, not threads: a run makes new threads and an engine may have many runs, so buffers belong to lanes, which
  threads take and give back. All are made at the start: what does not fit fails there.
* The primary context, current only inside a call: TensorRT and ONNX Runtime use the same. PyCUDA aborts the process
  when a thread ends with a context on its stack, so every call pushes and pops.
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
