"""The throughput table of a GPU: each stage and the whole, compared with plain ONNX Runtime and a simple loop.

`benchmarks/gpu/run.sh` sets up all it needs on a machine with a card, runs the tests that need one, then this. With
`--device cpu` the same code runs without one; so it is tested.
"""
