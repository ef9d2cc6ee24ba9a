"""The trackers by name: kernel, parameters with defaults, the scores each needs, and its purpose.

Configuration, command line, documentation and the track stage are all generated from this one list. It imports nothing
heavy, because the command line's help is built from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from engine_ext.tracker import Tracker

Parameter: TypeAlias = bool | int | float
"""The value of a tracker's parameter."""

# Trackers that use low-scoring detections ignore those at or below this score; their authors' constant.
LOW_SCORE = 0.1

# Parameters that set for how many frames a track may stay lost.
_LIFETIMES = ("max_age", "track_buffer", "lost_track_buffer")

# Parameters that set for how many frames an object must be detected before its track counts.
FIRST_HITS = ("min_hits", "minimum_consecutive_frames")

# The help text of every parameter. The rules are in `keys`, the defaults with each tracker.
HELP = {
    "max_age": "Inferred frames that a track survives without a detection.",
    "min_hits": "Consecutive detections before a track counts.",
    "iou_threshold": "Minimum overlap to match a detection to a track.",
    "det_thresh": "Score above which a detection starts a track.",
    "delta_t": "Frames over which direction is measured.",
    "inertia": "Weight of direction relative to overlap.",
    "use_byte": "Match low-scoring detections with known tracks.",
    "track_thresh": "Score above which detections are matched first.",
    "match_thresh": "Maximum cost of a first match.",
    "track_buffer": "Inferred frames a lost track is kept.",
    "mot20": "Ignore scores in the matching cost, for dense crowds.",
    "lost_track_buffer": "Inferred frames a lost track is kept.",
    "track_activation_threshold": "Minimum score to start a track.",
    "minimum_consecutive_frames": "Detections before a track counts.",
    "minimum_iou_threshold_first_assoc": "Minimum overlap times score of a first match.",
    "minimum_iou_threshold_second_assoc": "Minimum overlap of a low-score match.",
    "minimum_iou_threshold_unconfirmed_assoc": "Minimum overlap times score to match a new track.",
    "high_conf_det_threshold": "Minimum score that counts as high.",
    "instant_first_frame_activation": "Count the first frame's tracks at once.",
    "buffer_ratio_first": "Box enlargement for the first match, relative to its size.",
    "buffer_ratio_second": "Box enlargement for the low-score match, relative to its size.",
}
KEYS = tuple(HELP)


class TrackerKind(NamedTuple):
    """One tracker. `kernel` is its module and class in engine_ext, `defaults` its parameters; `wants_low` says, given
    the parameters, whether it uses low-scoring detections."""

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
            "The default. Uses a constant-velocity filter and box overlap, but no scores. Predictable and the fastest. "
            "Good if objects are rarely hidden and detections are steady.",
        ),
        TrackerKind(
            "bytetrack",
            "ByteTrack",
            "bytetrack.ByteTracker",
            {"track_thresh": 0.5, "match_thresh": 0.8, "track_buffer": 30, "mot20": False},
            lambda _: True,
            "Matches low-scoring detections with known tracks in a second stage, so half-hidden objects keep their "
            "ids. Good for crowds and for detectors with varying scores.",
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
            "Uses an object's observed direction of motion, and corrects its filter when the object is found again. "
            "Good for objects that turn, stop or stay hidden for long; with use_byte also for low scores.",
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
            "Enlarges boxes before measuring their overlap, first a little, then more. Good for small or fast objects "
            "and low frame rates; the best on MOT17 here.",
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
