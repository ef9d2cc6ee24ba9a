"""Augmentation: cropped, scaled, flipped, recoloured images, alone or four in a mosaic."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.train import CLASSES
from models.train.samples import Picture, Sample

PAD = 114
MOSAIC_SHARE = 0.5
SCALES = (0.6, 2.2)  # relative to an image that just covers its place
OBJECT_SHARE = 0.5  # of the places show the surroundings of an object
OBJECT_SIDE = 20.0  # minimum side of such an object in pixels; the maximum is that of its place
OBJECT_SCALES = (0.25, 4.0)
SMALLEST_SIDE = 4.0
SMALLEST_SHARE = 0.35  # minimum share of a box's area within the view
RARE = 0.3
BY_HAND = 2.5  # weight of images with true labels, which are the most varied ones, and few

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Placed:
    """A sample at `scale`, with its upper left corner at `dx, dy` of its place, in pixels."""

    sample: Sample
    scale: float
    dx: float
    dy: float


@dataclass(frozen=True)
class View:
    """`picture` (H, W, 3) uint8 BGR; `boxes` (n, 4) and `scores` (n, classes) as in `Sample`, of what is in view."""

    picture: Picture
    boxes: Floats
    scores: Floats


def repeat_weights(samples: list[Sample]) -> NDArray[np.float64]:
    """Return how often to draw each sample, as shares that sum to 1: those with rare classes more often.

    A class in a share f of the images has the weight max(1, sqrt(RARE / f)), an image that of its rarest class: the
    repeat factor of LVIS (Gupta et al., 2019, arXiv:1908.03195). Labelled by hand, it counts `BY_HAND` times as much.
    """
    present = np.array([(s.scores > 0.4).any(0) for s in samples])
    share = present.mean(0)
    factor = np.sqrt(RARE / np.maximum(share, 1e-9)).clip(1, 6)
    weights = np.where(present, factor, 1.0).max(1) * [BY_HAND if s.by_hand else 1.0 for s in samples]
    return np.asarray(weights / weights.sum())


class Views:
    """Makes views of one size from samples. All randomness is from the given generator."""

    def __init__(self, samples: list[Sample]) -> None:
        if not samples:
            raise ValueError("There is no picture to train on.")
        self._samples = samples
        self._weights = repeat_weights(samples)
        self._objects = [owners for owners in map(self._objects_of, range(len(CLASSES))) if len(owners)]

    def _objects_of(self, class_id: int) -> NDArray[np.float64]:
        """Return (n, 3): sample, box and weight of every object of a class."""
        rows = [
            (i, j, sample.scores[j, class_id] * (BY_HAND if sample.by_hand else 1.0))
            for i, sample in enumerate(self._samples)
            for j in np.flatnonzero(sample.scores.argmax(1) == class_id)
        ]
        return np.array(rows, np.float64).reshape(-1, 3)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> View:
        canvas = np.full((height, width, 3), PAD, np.uint8)
        cells = [(0, 0, width, height)]
        if rng.random() < MOSAIC_SHARE:
            x, y = int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.3, 0.7))
            cells = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        parts = [self._place(rng, canvas, cell) for cell in cells]
        boxes, scores = (np.concatenate(each) for each in zip(*parts, strict=True))
        return View(recoloured(rng, canvas), boxes, scores)

    def _place(
        self, rng: np.random.Generator, canvas: Picture, cell: tuple[int, int, int, int]
    ) -> tuple[Floats, Floats]:
        """Draw a random sample into a cell x1 y1 x2 y2 of the canvas; its boxes in the canvas's pixels."""
        x1, y1, x2, y2 = cell
        w, h = x2 - x1, y2 - y1
        around_object = self._objects and rng.random() < OBJECT_SHARE
        placed = self._around_object(rng, w, h) if around_object else self._anywhere(rng, w, h)
        sample, dx, dy = placed.sample, placed.dx, placed.dy
        stretch = np.exp(rng.uniform(-0.12, 0.12))
        sx, sy = placed.scale * stretch, placed.scale / stretch
        source_w = sample.picture.shape[1]
        if rng.random() < 0.5:
            sx, dx = -sx, dx + source_w * sx
        # In OpenCV, pixel centres are at integers; box coordinates are relative to pixel edges.
        matrix = np.array([[sx, 0, dx + (sx - 1) / 2], [0, sy, dy + (sy - 1) / 2]])
        canvas[y1:y2, x1:x2] = _warp(sample.picture, matrix, w, h, averaged=placed.scale < 0.6)
        corners = sample.boxes.reshape(-1, 2, 2) * (sx, sy) + (dx, dy)
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        area = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
        boxes = boxes.clip(0, (w, h, w, h))
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = (sides.min(1) >= SMALLEST_SIDE) & (np.prod(sides, 1) >= SMALLEST_SHARE * area)
        return (boxes[keep] + (x1, y1, x1, y1)).astype(np.float32), sample.scores[keep]

    def _anywhere(self, rng: np.random.Generator, w: int, h: int) -> Placed:
        """Return a random image: a random part of it if it is larger than its place, otherwise at a random position
        within."""
        sample = self._samples[rng.choice(len(self._samples), p=self._weights)]
        source_h, source_w = sample.picture.shape[:2]
        scale = max(w / source_w, h / source_h) * np.exp(rng.uniform(*np.log(SCALES)))
        return Placed(sample, scale, (w - source_w * scale) * rng.random(), (h - source_h * scale) * rng.random())

    def _around_object(self, rng: np.random.Generator, w: int, h: int) -> Placed:
        """Return the surroundings of an object, with uniformly drawn classes and object sizes."""
        objects = self._objects[rng.integers(len(self._objects))]
        i, j, _ = objects[rng.choice(len(objects), p=objects[:, 2] / objects[:, 2].sum())]
        sample = self._samples[int(i)]
        left, top, right, bottom = sample.boxes[int(j)]
        side = np.exp(rng.uniform(np.log(OBJECT_SIDE), np.log(max(w, h, OBJECT_SIDE))))
        scale = float((side / np.sqrt((right - left) * (bottom - top) + 1e-6)).clip(*OBJECT_SCALES))
        source_h, source_w = sample.picture.shape[:2]
        # The centre is anywhere, but without an empty border if the image can fill the place.
        dx, dy = (
            float(np.clip(rng.uniform(0, side) - centre * scale, min(0, free), max(0, free)))
            for side, centre, free in (
                (w, (left + right) / 2, w - source_w * scale),
                (h, (top + bottom) / 2, h - source_h * scale),
            )
        )
        return Placed(sample, scale, dx, dy)


def _warp(picture: Picture, matrix: NDArray[np.float64], width: int, height: int, averaged: bool) -> Picture:
    """Warp an image. Because `warpAffine` does not average, an image that shrinks much is first averaged to half its
    size, if requested."""
    while averaged and abs(matrix[0, 0]) < 0.6:
        picture = np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        half = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])  # from pixels of the half image to those of the whole
        matrix = matrix @ half
    return np.asarray(
        cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(PAD, PAD, PAD)), np.uint8
    )


def recoloured(rng: np.random.Generator, picture: Picture) -> Picture:
    """Return an image with changed hue, saturation and brightness; sometimes grey or blurred, as cameras' are."""
    gains = 1 + rng.uniform(-1, 1, 3) * (0.02, 0.6, 0.4)
    hue, saturation, value = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV))
    steps = np.arange(256)
    hue = cv2.LUT(hue, ((steps * gains[0]) % 180).astype(np.uint8))
    saturation = cv2.LUT(saturation, (steps * gains[1]).clip(0, 255).astype(np.uint8))
    value = cv2.LUT(value, (steps * gains[2]).clip(0, 255).astype(np.uint8))
    picture = cv2.cvtColor(cv2.merge((hue, saturation, value)), cv2.COLOR_HSV2BGR).astype(np.uint8, copy=False)
    if rng.random() < 0.05:
        picture = np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
    if rng.random() < 0.1:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 1.2)), np.uint8)
    return picture
