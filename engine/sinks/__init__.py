"""Sinks: what becomes of the tracks. Row files, annotated video, memory."""
