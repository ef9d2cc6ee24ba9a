"""Images with boxes, in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.train import COCO_IDS

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """An image `(H, W, 3)` uint8 BGR, its boxes `(n, 4)` float32 x1 y1 x2 y2 in pixels, and the score of each class:
    `(n, classes)` float32, one 1 per row in an image labelled `by_hand`."""

    name: str
    picture: Picture
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    by_hand: bool = False


def read_picture(path: Path) -> Picture:
    picture = cv2.imread(str(path))
    if picture is None:
        raise OSError(f"{path}: no picture that OpenCV can read.")
    return np.asarray(picture, np.uint8)


def read_labels(path: Path) -> NDArray[np.float64]:
    """Return rows of `class cx cy w h`, (n, 5). Raises ValueError, with file and line, for anything else."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        if len(row) != 5 or not all(0 <= share <= 1 for share in row[1:]) or min(row[3:]) <= 0:
            raise ValueError(
                f"{path}, line {number}: a label is `class cx cy w h`, shares of the picture. Got {line!r}."
            )
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 5)


def labelled(folder: Path) -> Iterator[Sample]:
    """Return `folder/*.jpg` with `folder/labels/*.txt`, one line per object: COCO class id, centre x, centre y, width,
    height, relative to the image. Classes that are not trained are left out."""
    for path in sorted(folder.glob("*.jpg")):
        picture = read_picture(path)
        height, width = picture.shape[:2]
        rows = read_labels(folder / "labels" / f"{path.stem}.txt")
        rows = rows[np.isin(rows[:, 0], COCO_IDS)]
        centre, half = rows[:, 1:3], rows[:, 3:5] / 2
        boxes = np.concatenate([centre - half, centre + half], 1) * (width, height, width, height)
        scores = rows[:, :1] == np.array(COCO_IDS)
        yield Sample(path.stem, picture, boxes.astype(np.float32), scores.astype(np.float32), by_hand=True)


def pictures(folder: Path) -> Iterator[tuple[str, Picture]]:
    for path in sorted(folder.glob("*.jpg")):
        yield path.stem, read_picture(path)


def frames(path: Path, every_s: float) -> Iterator[tuple[str, Picture]]:
    """Yield a frame every `every_s` seconds of a video."""
    with av.open(str(path)) as container:
        due = 0.0
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= due:
                due = frame.time + every_s
                yield f"{path.stem}-{frame.time:.2f}", np.ascontiguousarray(frame.to_ndarray(format="bgr24"))
