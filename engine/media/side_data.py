"""The display matrix of a frame, whatever else the frame carries.

PyAV wraps all side data of a frame to give any of it, and raises ValueError if FFmpeg knows a type that its own list
lacks: EXIF in motion JPEG, the views of multi-view HEVC. Such a type is given a name here, and nobody asks for it.
"""

from __future__ import annotations

from enum import Enum

import av
from av.sidedata.sidedata import SideDataContainer, Type


def _unnamed(kind: type[Enum], value: object) -> Enum | None:
    """Give a value that no member has a member of its own: a hook of Enum."""
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
    # Not image.side_data: the frame would keep it, and it the frame, until the garbage collector finds the pair.
    found = SideDataContainer(image)  # type: ignore[call-arg]  # its stub has none
    matrix = found.get("DISPLAYMATRIX") if len(found) else None  # most frames have none at all
    return None if matrix is None else bytes(matrix)
