"""The threads of a run: how they start, meet, fail and stop, and what belongs to one video on its way through."""

__all__ = ["assignment", "channel", "outputs", "pipeline", "reader", "recording", "stream", "total"]
