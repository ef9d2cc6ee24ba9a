"""Going on after a kill: attempts at a video, their journals and checkpoints, and whose result stands."""
