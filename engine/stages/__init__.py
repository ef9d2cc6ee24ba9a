"""The stages, one file each, in the order of the data: scan, decode, gate, preprocess, infer, postprocess, fill, track.

A stage takes one record type and returns the next (engine.records); it knows no threads, queues or files. Its state
belongs to one stream and ends with it. Order is restored once, in front of the tracker.
"""

__all__ = ["agreement", "confidence", "decode", "gaps", "gate", "infer", "postprocess", "scan", "track", "windows"]
