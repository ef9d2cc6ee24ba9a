"""The command line `yolo-engine`: one file a command, and how what they tell looks."""

__all__ = ["main", "progress", "repeats"]
