"""The trackers by name: kernel, parameters with their defaults, the scores each needs, and what it is for.

The one list from which configuration, command line, documentation and the track stage are made. Nothing heavy is
imported here: the command line's help is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from engine_ext.tracker import Tracker

Parameter: TypeAlias = bool | int | float
"""The value of a tracker's parameter."""

# Detections with a score above it are of use to the trackers that look at faint ones; a constant of their authors.
LOW_SCORE = 0.1

# Parameters that say for how many frames a track may stay lost.
_LIFETIMES = ("max_age", "track_buffer", "lost_track_buffer")

# Parameters that say for how many frames an object must have been detected before its track counts.
FIRST_HITS = ("min_hits", "minimum_consecutive_frames")

# Every parameter: what it does. The rules are in `keys`, the defaults with each tracker.
HELP = {
    "max_age": "Inferred frames a track outlives unseen.",
    "min_hits": "Detections in a row before a track counts.",
    "iou_threshold": "Overlap that joins detection and track.",
    "det_thresh": "Score above which a detection starts a track.",
    "delta_t": "Frames over which direction is taken.",
    "inertia": "Weight of the direction beside the overlap.",
    "use_byte": "Match low scores with known tracks.",
    "track_thresh": "Score above which detections are matched first.",
    "match_thresh": "Largest cost of a first match.",
    "track_buffer": "Inferred frames a lost track is kept.",
    "mot20": "Leave scores out of the costs, for dense crowds.",
    "lost_track_buffer": "Inferred frames a lost track is kept.",
    "track_activation_threshold": "Least score of a detection that starts a track.",
    "minimum_consecutive_frames": "Detections before a track counts.",
    "minimum_iou_threshold_first_assoc": "Least overlap times score of a first match.",
    "minimum_iou_threshold_second_assoc": "Least overlap of a match at a low score.",
    "minimum_iou_threshold_unconfirmed_assoc": "Least overlap times score of a new track's match.",
    "high_conf_det_threshold": "Lowest of the scores that count as high.",
    "instant_first_frame_activation": "Count the first frame's tracks at once.",
    "buffer_ratio_first": "Margin of the first match, in sizes of the box.",
    "buffer_ratio_second": "Margin of the match at a low score, in sizes of the box.",
}
KEYS = tuple(HELP)


@dataclass(frozen=True)
class TrackerKind:
    """One tracker. `kernel` is its module and class in engine_ext, `defaults` names its parameters, `wants_low` tells
    from them whether it uses faint detections."""

    name: str
    title: str
    kernel: str
    defaults: Mapping[str, Parameter]
    wants_low: Callable[[Mapping[str, Parameter]], bool]
    help: str

    def make(self, parameters: Mapping[str, Parameter], *, class_aware: bool) -> Tracker:
        """Make a tracker for one stream."""
        module, name = self.kernel.split(".")
        tracker: Tracker = getattr(import_module(f"engine_ext.{module}"), name)(**parameters, class_aware=class_aware)
        return tracker


TRACKERS: dict[str, TrackerKind] = {
    kind.name: kind
    for kind in (
        TrackerKind(
            "sort",
            "SORT",
            "sort.SortTracker",
            {"max_age": 10, "min_hits": 3, "iou_threshold": 0.3},
            lambda _: False,
            "The default. A constant-velocity filter and the overlap of boxes; scores play no part. Predictable and "
            "the fastest. Good where objects are seldom hidden and detections are steady.",
        ),
        TrackerKind(
            "bytetrack",
            "ByteTrack",
            "bytetrack.ByteTracker",
            {"track_thresh": 0.5, "match_thresh": 0.8, "track_buffer": 30, "mot20": False},
            lambda _: True,
            "Matches faint detections with known tracks in a second stage, so that an object half hidden keeps its id. "
            "Good for crowds and detectors whose scores vary.",
        ),
        TrackerKind(
            "ocsort",
            "OC-SORT",
            "ocsort.OCSortTracker",
            {
                "det_thresh": 0.6,
                "max_age": 30,
                "min_hits": 3,
                "iou_threshold": 0.3,
                "delta_t": 3,
                "inertia": 0.2,
                "use_byte": False,
            },
            lambda parameters: bool(parameters["use_byte"]),
            "Follows the direction in which an object was seen to move, and mends its filter when it is found again. "
            "Good for objects that turn, stop or are hidden for long; with use_byte for faint ones, too.",
        ),
        TrackerKind(
            "cbiou",
            "C-BIoU",
            "cbiou.CBIoUTracker",
            {
                "lost_track_buffer": 30,
                "track_activation_threshold": 0.7,
                "minimum_consecutive_frames": 2,
                "minimum_iou_threshold_first_assoc": 0.2,
                "minimum_iou_threshold_second_assoc": 0.5,
                "minimum_iou_threshold_unconfirmed_assoc": 0.3,
                "high_conf_det_threshold": 0.6,
                "instant_first_frame_activation": True,
                "buffer_ratio_first": 0.3,
                "buffer_ratio_second": 0.5,
            },
            lambda _: True,
            "Gives boxes a margin before their overlap is measured, a narrow one and then a wide one. Good for small "
            "or fast objects and low frame rates; the best on MOT17 here.",
        ),
    )
}
DEFAULT = "sort"


def parameters_of(name: str, values: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters of the tracker `name` among the keys of a configuration, its defaults where they are
    missing."""
    return {key: values.get(key, default) for key, default in TRACKERS[name].defaults.items()}


def completed(values: Mapping[str, object]) -> dict[str, object]:
    """Return the keys of a configuration with the parameters of its tracker filled in, and those of others as None.

    Raises ValueError for a parameter of another tracker.
    """
    name = values.get("tracker", DEFAULT)
    if not isinstance(name, str) or name not in TRACKERS:  # the key's own rule refuses it
        return dict(values)
    own = TRACKERS[name].defaults
    for key in KEYS:
        if key not in own and values.get(key) is not None:
            owners = " and ".join(kind.name for kind in TRACKERS.values() if key in kind.defaults)
            raise ValueError(
                f"{key} is a parameter of the tracker {owners}, and the tracker is {name}: leave it out, or choose "
                f"another tracker. The parameters of {name} are {', '.join(own)}"
            )
        if key in own and key in values and values[key] is None:
            raise ValueError(f"{key} must be {_word(own[key])}. Got None")
    return {**values, **dict.fromkeys(KEYS), **parameters_of(name, values)}


def without_parameters(values: Mapping[str, object]) -> dict[str, object]:
    """Return the keys of a configuration but the parameters of trackers, for another tracker to be chosen."""
    return {key: value for key, value in values.items() if key not in KEYS}


def lifetime(name: str, values: Mapping[str, Any]) -> int:
    """Return how many frames a track of the tracker may stay lost, at most."""
    parameters = parameters_of(name, values)
    # One more: ByteTrack finds a lost track one frame later than its buffer says.
    return 1 + max((int(parameters[key]) for key in _LIFETIMES if key in parameters), default=0)


def _word(default: Parameter) -> str:
    return (
        "true or false" if isinstance(default, bool) else "a whole number" if isinstance(default, int) else "a number"
    )
