"""Text for people: strangers' words made printable, secrets masked, names that were meant."""

__all__ = ["did_you_mean", "masks", "printable", "say"]
