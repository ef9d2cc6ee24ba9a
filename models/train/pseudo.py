"""Pseudo-labels for unlabelled images: the teacher's boxes at several scales and on tiles.

At its own 416 pixels the teacher misses people of a few pixels, which it finds in an enlarged part of the image. Scores
become soft labels.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from models.train.samples import Picture, Sample
from models.train.teacher import Teacher

LONG_SIDES = (416, 640, 896)
TILE_SIDE = 672
LOWEST_SCORE = 0.2
SAME_OBJECT = 0.55
EDGE = 6.0

Floats = NDArray[np.float32]


def annotate(name: str, picture: Picture, teacher: Teacher) -> Sample:
    height, width = picture.shape[:2]
    found = [_look(teacher, picture, side) for side in LONG_SIDES]
    for x, y, w, h in _tiles(width, height):
        boxes, scores = _look(teacher, picture[y : y + h, x : x + w], TILE_SIDE)
        boxes = boxes + np.array([x, y, x, y], np.float32)
        found.append(_whole(boxes, scores, (x, y, x + w, y + h), (width, height)))
    boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    boxes = boxes.clip(0, (width, height, width, height))
    keep = _suppress(boxes, scores)
    return Sample(name, picture, boxes[keep].astype(np.float32), scores[keep].astype(np.float32))


def _tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield four overlapping quarters, each 0.6 of the image's sides: x, y, width, height."""
    w, h = int(width * 0.6), int(height * 0.6)
    for y in (0, height - h):
        for x in (0, width - w):
            yield x, y, w, h


def _look(teacher: Teacher, picture: Picture, long_side: int) -> tuple[Floats, Floats]:
    height, width = picture.shape[:2]
    scale = long_side / max(height, width)
    inner_h, inner_w = round(height * scale), round(width * scale)
    canvas = np.full((-(-inner_h // 32) * 32, -(-inner_w // 32) * 32, 3), 114, np.uint8)
    canvas[:inner_h, :inner_w] = cv2.resize(picture, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR)
    answer = teacher(canvas.transpose(2, 0, 1)[None].astype(np.float32))
    sure = answer.scores[0].max(1) >= LOWEST_SCORE
    boxes, scores = answer.boxes[0][sure] / scale, answer.scores[0][sure]
    keep = _suppress(boxes, scores)
    return boxes[keep], scores[keep]


def _whole(
    boxes: Floats, scores: Floats, tile: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Return the boxes that are not cut by an inner border of a tile."""
    x1, y1, x2, y2 = tile
    cut = (x1 > 0) & (boxes[:, 0] < x1 + EDGE) | (y1 > 0) & (boxes[:, 1] < y1 + EDGE)
    cut |= (x2 < size[0]) & (boxes[:, 2] > x2 - EDGE) | (y2 < size[1]) & (boxes[:, 3] > y2 - EDGE)
    return boxes[~cut], scores[~cut]


def _suppress(boxes: Floats, scores: Floats) -> NDArray[np.intp]:
    """Suppress non-maxima per class, and return the indices of the others."""
    sizes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    keep = cv2.dnn.NMSBoxesBatched(
        sizes.tolist(), scores.max(1).tolist(), scores.argmax(1).tolist(), LOWEST_SCORE, SAME_OBJECT
    )
    return np.asarray(keep, np.intp).reshape(-1)
