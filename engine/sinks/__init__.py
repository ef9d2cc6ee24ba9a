"""Sinks: what becomes of the tracks. Row files, annotated video, memory."""

__all__ = ["base", "jsonl", "memory", "mot", "mux", "rows", "sound_head", "video"]
