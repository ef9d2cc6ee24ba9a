"""Cython kernels of the engine. A leaf package: it knows arrays, but no engine types."""
