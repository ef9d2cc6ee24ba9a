"""The benchmark suite: `python -m benchmarks --profile quick|full|large`, or `yolo-engine bench` in a clone."""
