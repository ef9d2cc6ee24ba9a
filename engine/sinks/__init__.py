"""Sinks: what becomes of the tracks. Row files, annotated video, memory.

`base` is the contract: a sink takes the tracks of one stream, frame by frame, tells its size at a mark, and appears
under its final name only when it is complete. A sink of rows is one file here and one line of
engine/choices/formats.py. `packet_log` is what an annotated video grows as, since a log can be cut behind any packet
and an MP4 can't; `mux` makes the MP4; `overlay` is what is drawn in it, `scene_overlay` what of that comes from a
scene.
"""

__all__ = [
    "base",
    "blur",
    "crops",
    "heatmap",
    "jsonl",
    "memory",
    "mot",
    "mux",
    "overlay",
    "rows",
    "scene_overlay",
    "sound_head",
    "store",
    "video",
]
