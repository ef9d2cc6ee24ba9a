"""The stages, one file each, in the order of the data: decode, gate, preprocess, infer, postprocess, fill, track.

A stage takes one record type and gives the next (engine.records); it knows neither threads nor queues nor files. State
belongs to one stream and dies with it. Order is restored once, in front of the tracker.
"""

__all__ = ["agreement", "confidence", "decode", "gaps", "gate", "infer", "postprocess", "track", "windows"]
