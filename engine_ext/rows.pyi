"""Detections and tracks as lines of text, the bytes that Python's own formatting would give.

Boxes are rounded to 0.01 and scores to 0.0001, each to the decimal nearest to the exact value of the double, as
`f"{value:.2f}"` does. All functions: zero rows give b""; ValueError where the columns differ in length or dtype, or a
class has no name.
"""

import numpy as np
from numpy.typing import NDArray

def tracks_jsonl(
    head: bytes,
    track_ids: NDArray[np.int64],
    class_ids: NDArray[np.int32],
    names: list[bytes],
    scores: NDArray[np.float32],
    boxes_xyxy: NDArray[np.float64],
) -> bytes:
    """Write one JSON line per track, by id: `head`, the id, then "class_id", "class", "score" and "box_xyxy".

    head: what each line begins with, up to the id.
    track_ids (M,), class_ids (M,), scores (M,), boxes_xyxy (M, 4) x1 y1 x2 y2 in pixels: read, any strides.
    names: of the classes, as JSON strings with their quotes.
    """

def read_tracks_jsonl(text: bytes | memoryview) -> tuple[NDArray[np.float64], dict[int, bytes]]:
    """Read whole lines as `tracks_jsonl` writes them behind the engine's head: a table (N, 10) float64 of frame, pts,
    time_s, track_id, class_id, score and the box's four sides, and the JSON strings of the classes by id.

    Numbers are those that `json.loads` gives. Raises ValueError for anything else, though it may be JSON: other keys,
    another order or spacing, exponents, numbers of more than 15 digits.
    """

def detections_jsonl(
    head: bytes,
    class_ids: NDArray[np.int32],
    names: list[bytes],
    scores: NDArray[np.float32],
    boxes_xyxy: NDArray[np.float64],
) -> bytes:
    """Write one JSON line per detection, in the order given: `head`, the class, then "class", "score" and "box_xyxy".

    head: what each line begins with, up to the class.
    class_ids (N,), scores (N,), boxes_xyxy (N, 4) x1 y1 x2 y2 in pixels: read, any strides.
    names: of the classes, as JSON strings with their quotes.
    """

def mot(
    number: int, track_ids: NDArray[np.int64], scores: NDArray[np.float32], boxes_xyxy: NDArray[np.float64]
) -> bytes:
    """Write one MOTChallenge line per track, by id: `number,id,left,top,width,height,score,-1,-1,-1`.

    number: of the frame, from 1.
    track_ids (M,), scores (M,), boxes_xyxy (M, 4) x1 y1 x2 y2 in pixels: read, any strides.
    """
