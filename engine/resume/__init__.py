"""Going on after a kill: attempts at a video, their journals and checkpoints, and whose result stands."""

__all__ = ["attempts", "audio_cursor", "checkpoint", "fingerprint", "partial_outputs", "steps"]
