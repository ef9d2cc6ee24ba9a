"""From a model's name to detections: finding it, choosing what computes it, running it, reading its output."""

__all__ = ["backends", "gpu", "heads", "layouts", "letterbox", "model", "plausible", "trt"]
