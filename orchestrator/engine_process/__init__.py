"""The engine's own process: the only one that opens videos and models, and the line to its worker."""
