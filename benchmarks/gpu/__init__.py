"""The throughput table of a GPU: each stage and the whole, compared with plain ONNX Runtime and a simple loop.

`benchmarks/gpu/run.sh` sets up everything on a machine with a GPU, runs the tests that need one, then this. With
`--device cpu` the same code runs without one, as in its tests.
"""
