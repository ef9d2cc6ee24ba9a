"""The names that a configuration may use, and its defaults: backends, data formats, exports, precisions.

Each has one line here and is loaded only by its users, so the command line and a job's worker validate a configuration
without loading any code that computes. `loading` says what else is spared when libraries are loaded.
"""

__all__ = ["backends", "defaults", "formats", "loading", "precision"]
