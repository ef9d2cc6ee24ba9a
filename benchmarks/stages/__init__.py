"""One stage a file: ours beside its peers and its limit."""
