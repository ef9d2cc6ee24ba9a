"""The display matrix of a frame, regardless of its other side data.

To return any side data, PyAV wraps all of it, and raises ValueError for a type that FFmpeg knows but PyAV does not
list: EXIF in motion JPEG, the views of multi-view HEVC. Such a type gets a made-up name here.
"""

from __future__ import annotations

from enum import Enum

import av
from av.sidedata.sidedata import SideDataContainer, Type


def _unnamed(kind: type[Enum], value: object) -> Enum | None:
    """Create a member for an unknown value (the Enum hook `_missing_`)."""
    if not isinstance(value, int):
        return None
    member = object.__new__(kind)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    kind._value2member_map_[value] = member
    return member


Type._missing_ = classmethod(_unnamed)  # type: ignore[method-assign, assignment]  # the one place PyAV leaves for it


def display_matrix(image: av.VideoFrame) -> bytes | None:
    """Return nine int32, 16.16 fixed point, in the order of FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX; None if there is
    none."""
    # Not image.side_data: that creates a reference cycle with the frame, which then lives until garbage collection.
    found = SideDataContainer(image)  # type: ignore[call-arg]  # its stub has none
    matrix = found.get("DISPLAYMATRIX") if len(found) else None  # most frames have no side data
    return None if matrix is None else bytes(matrix)
