"""Text for people: strangers' words made printable, secrets masked, names that were meant.

Everything that is shown goes through `say` or `printable`: names of files, messages of libraries and metadata may hold
control characters. URLs go through `masks`.
"""

__all__ = ["counted", "did_you_mean", "masks", "printable", "say"]
