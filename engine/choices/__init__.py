"""What a configuration may name, and what it is where it names nothing: backends, files of data, exports, precisions.

One line for each; what is named is loaded by whoever uses it. So the command line and a worker of a job check a
configuration without loading what computes.
"""

__all__ = ["backends", "defaults", "formats", "precision"]
