"""Inputs: finding videos, opening containers, and reading their structure.

`inputs` turns the user's arguments into a list of videos, `listing` walks folders and reports what is left out
(including `annotated` videos), `source` opens one and returns its packets, `extent` measures how far a file reaches by
its container's own structure, `lead` finds the packets from which to decode a position inside a video. Claims in a
header are only hints: a file counts as truncated only if its structure shows it.
"""

__all__ = ["annotated", "inputs", "lead", "listing", "planes", "references", "side_data", "source", "suffixes", "units"]
