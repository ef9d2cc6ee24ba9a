"""The trackers that can be chosen: their parameters (`keys`), what each is (`registry`) and the time between frames
(`steps`)."""

__all__ = ["keys", "registry", "steps"]
