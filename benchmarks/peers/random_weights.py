"""Exports models with random weights from Ultralytics, to measure their speed without trained ones.

    build/ultralytics/bin/python benchmarks/peers/random_weights.py FOLDER NAME...

Ultralytics is under AGPL-3.0: this file is run by the environment of `make bench-ultralytics`, imports nothing of the
project, and what it writes is not to be committed. Writes FOLDER/NAME.onnx for each NAME, such as yolov10n: 640x640,
dynamic axes, float32. The weights have a fixed seed, and batch normalization the statistics of noise, so that values
keep their size from the first layer to the last.
"""

import sys
from pathlib import Path

SIDE = 640


def main() -> None:
    sys.path.pop(0)  # the folder of this file, where a neighbour's name would hide the package
    import torch
    from ultralytics import YOLO

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:]:
        torch.manual_seed(0)
        model = YOLO(f"{name}.yaml")
        for module in model.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean of all that is seen
        with torch.no_grad():
            model.model.train()(torch.rand(2, 3, SIDE, SIDE))
        model.model.eval()
        exported = Path(model.export(format="onnx", imgsz=SIDE, dynamic=True, device="cpu"))
        exported.rename(folder / f"{name}.onnx")


if __name__ == "__main__":
    main()
