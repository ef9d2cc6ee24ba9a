"""The configuration keys that are parameters of a tracker, with the rule for each.

`registry` says which tracker has which of them, with their defaults and meanings.
"""

# No deferred annotations: pydantic would compile each one by itself, which takes 4 ms of each start.

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from engine.trackers.registry import DEFAULT, TRACKERS


def not_bool(value: Any) -> Any:
    """Refuse true and false if a number is meant: Python counts them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value


Count = Annotated[int, BeforeValidator(not_bool)]
Share = Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=1)]
_Age = Annotated[Count, Field(ge=0, le=100_000)]
_Hits = Annotated[Count, Field(ge=0, le=1000)]
_Ratio = Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=10)]


def _default(key: str) -> Any:
    """Return the default tracker's value of a key."""
    return TRACKERS[DEFAULT].defaults[key]


class TrackerKeys(BaseModel):
    """Parameters of all trackers. None: not a parameter of the chosen tracker."""

    model_config = ConfigDict(defer_build=True)  # EngineConfig builds all of it once more

    max_age: _Age | None = _default("max_age")
    min_hits: _Hits | None = _default("min_hits")
    iou_threshold: Share | None = _default("iou_threshold")
    det_thresh: Share | None = None
    delta_t: Annotated[Count, Field(ge=1, le=100)] | None = None
    inertia: Share | None = None
    use_byte: bool | None = None
    track_thresh: Share | None = None
    match_thresh: Share | None = None
    track_buffer: _Age | None = None
    mot20: bool | None = None
    lost_track_buffer: _Age | None = None
    track_activation_threshold: Share | None = None
    minimum_consecutive_frames: Annotated[Count, Field(ge=1, le=1000)] | None = None
    minimum_iou_threshold_first_assoc: Share | None = None
    minimum_iou_threshold_second_assoc: Share | None = None
    minimum_iou_threshold_unconfirmed_assoc: Share | None = None
    high_conf_det_threshold: Share | None = None
    instant_first_frame_activation: bool | None = None
    buffer_ratio_first: _Ratio | None = None
    buffer_ratio_second: _Ratio | None = None
