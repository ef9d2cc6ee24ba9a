"""Configuration defaults that are needed elsewhere too: in the help of the command lines, which is shown without
loading the configuration, and when building a TensorRT plan."""

from __future__ import annotations

from typing import Final

OUTPUT_FOLDER: Final = "output_videos"
FORMATS: Final = ("tracks", "mot")
CONF: Final = 0.25
NMS_IOU: Final = 0.45
MAX_DETECTIONS: Final = 300
SHAPE: Final = "auto"
DEVICE: Final = "auto"
ZONE: Final = "UTC"
BIN_S: Final = 900.0
SEGMENT_S: Final = 600.0

# Used where the configuration has None.
GPU_BATCH: Final = 8
GPU_WORKERS: Final = 2
MIN_STREAMS: Final = 2
MAX_STREAMS: Final = 4


def minutes(seconds: float) -> str:
    """Format a duration as the command line accepts it: 900 as "15m"."""
    return f"{seconds / 60:g}m"
