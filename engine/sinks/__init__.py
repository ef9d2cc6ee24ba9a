"""Sinks: what becomes of the tracks. Row files, annotated video, memory."""

__all__ = ["base", "formats", "memory", "mux", "rows", "sound_head", "video"]
