"""The real PyCUDA over a driver without a card: libcuda.c, compiled here, stands for NVIDIA's.

`fakecuda.py` is stricter about order; this one says whether the names, arguments and manners of PyCUDA are those that
the engine takes them for. `run.py` is a program of its own: a process has one libcuda.
"""
