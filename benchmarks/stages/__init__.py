"""One file per stage: ours compared with its peers and its limit."""
