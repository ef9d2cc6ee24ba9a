"""Sinks write the tracks: row files, annotated video, memory.

`base` is the contract: a sink takes the tracks of one stream, frame by frame, reports its size at a barrier, and
appears under its final name only once it is complete. A row sink is one file here, one line in
engine/choices/formats.py and the form of its rows in engine/output_folder/own_files.py. An annotated video grows as a
`packet_log`, because a log can be truncated after any packet and an MP4 can't; `mux` makes the MP4; `overlay` draws on
it, `scene_overlay` draws the scene.
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
    "packet_log",
    "rows",
    "scene_overlay",
    "sound_head",
    "store",
    "video",
]
