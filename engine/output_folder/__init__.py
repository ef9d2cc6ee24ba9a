"""The contents of an output folder: who wrote each file, and whether it is genuine.

`own_files` recognises files that this program wrote, `corrections` tracks that a person has corrected, `remade` tracks
that `retrack` has made again. `hashes` computes the sizes and hashes in a manifest and its seal; `manifest` validates a
manifest that others may have written. This room knows nothing of runs, videos or answers.
"""

__all__ = ["corrections", "hashes", "manifest", "own_files", "remade"]
