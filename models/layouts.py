"""The names of output layouts, which define how a model's tensors encode detections. A separate module, because the
help of every command needs these names and nothing else of a manifest."""

from typing import Literal, get_args

LayoutName = Literal[
    "yolox", "yolov5", "yolov8", "end2end", "detr", "detr-post", "rtmdet", "nanodet", "nanodet-plus", "picodet"
]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)
