"""Inputs: finding videos, opening containers, and what their structure tells.

`inputs` makes a list of videos of what the user named, `listing` walks folders and says what is left out (`annotated`
videos among it), `source` opens one and gives its packets, `extent` says how far
a file reaches by its container's own account, `lead` finds the way to a place inside a video. What a header claims is a
hint: counts and durations are intentions, and a file is cut off where its structure says so.
"""

__all__ = ["annotated", "inputs", "lead", "listing", "planes", "references", "side_data", "source", "suffixes", "units"]
