"""The output layouts by name. A manifest declares one; nothing here picks one from a shape."""

from types import MappingProxyType

from engine.inference.layouts.base import Layout, Shape
from engine.inference.layouts.end2end import End2endLayout
from engine.inference.layouts.yolov5 import Yolov5Layout
from engine.inference.layouts.yolov8 import Yolov8Layout
from engine.inference.layouts.yolox import YoloxLayout

__all__ = ["LAYOUTS", "Layout", "candidates", "get_layout"]

_ALL: tuple[Layout, ...] = (YoloxLayout(), Yolov5Layout(), Yolov8Layout(), End2endLayout())
LAYOUTS: MappingProxyType[str, Layout] = MappingProxyType({layout.name: layout for layout in _ALL})


def get_layout(name: str) -> Layout:
    """Give the layout of that name; ValueError, listing the names there are, if there is none."""
    try:
        return LAYOUTS[name]
    except KeyError:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}. Got {name!r}.") from None


def candidates(output_shape: Shape, num_classes: int | None = None) -> list[str]:
    """Name the layouts an output of this shape can have, batch first, None where a dimension is open.

    For the message that asks a user to declare one. More than one name is the rule (yolox and yolov5 look alike), so
    this is no way to choose. An empty list: no known layout fits.
    """
    return [name for name, layout in LAYOUTS.items() if layout.fits(output_shape, num_classes)]
