"""From a model's name to detections: finding it, choosing what computes it, running it, reading its output."""
