"""Cython kernels of the engine. A leaf: it knows arrays, no engine types."""
