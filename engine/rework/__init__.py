"""Process finished runs again without the model: `retrack` makes new tracks from stored detections, `render` draws the
video again, `sweep` tries sets of parameters against ground truth.
"""

__all__ = ["render", "retrack", "sweep"]
