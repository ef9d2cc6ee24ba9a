"""What runs on an NVIDIA GPU: context, memory, streams and kernels. Importing this or its modules touches no CUDA."""
