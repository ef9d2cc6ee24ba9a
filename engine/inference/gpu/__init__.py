"""What runs on an NVIDIA GPU: context, memory, streams and kernels. Importing this or its modules touches no CUDA."""

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
