"""What runs on an NVIDIA GPU: context, memory, streams and kernels. Importing this, or a module of it, touches no CUDA."""
