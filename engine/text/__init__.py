"""Text for people: printable forms of untrusted text, masked secrets, suggestions for misspelt names, texts
within JSON.

All output goes through `say` or `printable`, because file names, library messages and metadata may contain control
characters. URLs go through `masks`.
"""

__all__ = ["counted", "did_you_mean", "masks", "printable", "say", "within"]
