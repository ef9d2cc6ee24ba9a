"""The available trackers: their parameters (`keys`), their definitions (`registry`) and the time between frames
(`steps`)."""

__all__ = ["keys", "registry", "steps"]
