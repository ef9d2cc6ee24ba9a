"""The output layouts, one file each. A manifest declares one by name; nothing picks one from a shape.

models.output_shape defines which shapes a layout can have; that is checked before a model is loaded.
"""

from types import MappingProxyType

from engine.inference.layouts.base import Decoded, Layout
from engine.inference.layouts.detr import DetrLayout
from engine.inference.layouts.detr_post import DetrPostLayout
from engine.inference.layouts.distributed import DistributedLayout
from engine.inference.layouts.end2end import End2endLayout
from engine.inference.layouts.rtmdet import RtmdetLayout
from engine.inference.layouts.yolov5 import Yolov5Layout
from engine.inference.layouts.yolov8 import Yolov8Layout
from engine.inference.layouts.yolox import YoloxLayout

__all__ = ["LAYOUTS", "Decoded", "Layout", "get_layout"]

_ALL: tuple[Layout, ...] = (
    YoloxLayout(),
    Yolov5Layout(),
    Yolov8Layout(),
    End2endLayout(),
    DetrLayout(),
    DetrPostLayout(),
    RtmdetLayout(),
    DistributedLayout("nanodet", centre=0.5),
    DistributedLayout("nanodet-plus", centre=0.0),
    DistributedLayout("picodet", centre=0.5),
)
LAYOUTS: MappingProxyType[str, Layout] = MappingProxyType({layout.name: layout for layout in _ALL})


def get_layout(name: str) -> Layout:
    """Return the layout with this name. Raises ValueError, which lists the known names, if there is none."""
    try:
        return LAYOUTS[name]
    except KeyError:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}. Got {name!r}.") from None
