"""What is in an output folder, whose it is, and whether it is what it claims to be.

`own_files` knows which files this program has written, `corrections` which tracks a person has corrected, `remade`
which of them `retrack` has made again. `hashes` has the sizes and hashes of a manifest and its seal; `manifest` reads
one that others may have written. Nothing of a run, its videos or its answers is known here.
"""

__all__ = ["corrections", "hashes", "manifest", "own_files", "remade"]
