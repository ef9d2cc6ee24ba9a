"""Files where others may write: folders held by a descriptor, inputs opened once."""

__all__ = ["folders", "opened"]
