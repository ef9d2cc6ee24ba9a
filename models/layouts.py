"""The names of output layouts: how a model's tensors say what it found. Here alone, since the help of every command
names them and needs nothing else of a manifest."""

from typing import Literal, get_args

LayoutName = Literal["yolox", "yolov5", "yolov8", "end2end", "detr", "detr-post", "rtmdet"]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)
