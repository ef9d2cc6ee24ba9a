"""The target of every cell: the teacher's prediction, or that of an assigned label where it scores higher."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.train.assign import assign

MIN_QUALITY = 0.5


@dataclass(frozen=True)
class Target:
    """`scores` (N, cells, classes) in 0..1; `boxes` (N, cells, 4), x1 y1 x2 y2 in pixels, valid where a score is not
    0."""

    scores: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class Grid:
    """`corners` (cells, 2): column and row; `strides` (cells, 1) in pixels."""

    corners: Tensor
    strides: Tensor

    def decode(self, raw: Tensor) -> Tensor:
        """Return boxes (..., cells, 4), x1 y1 x2 y2 in pixels, of raw predictions."""
        centre = (raw[..., :2] + self.corners) * self.strides
        half = raw[..., 2:4].clamp(max=8).exp() * self.strides / 2
        return torch.cat([centre - half, centre + half], -1)


def student_scores(raw: Tensor) -> Tensor:
    """Return objectness times class, (N, cells, classes), of raw predictions that are still logits."""
    return raw[..., 4:5].sigmoid() * raw[..., 5:].sigmoid()


@torch.no_grad()
def merge(teacher: Target, labels: list[tuple[Tensor, Tensor]], raw: Tensor, predicted: Tensor, grid: Grid) -> Target:
    """Merge labels, per image a pair of boxes (n, 4) and soft scores (n, classes), into the teacher's prediction.

    The target of a cell that SimOTA assigns to a box is the box's score times the IoU of the cell's own box, but at
    least `MIN_QUALITY` of the score, so that there is something to learn from in the beginning. Where the teacher's
    score is higher, its prediction stays.
    """
    scores, boxes = teacher.scores.clone(), teacher.boxes.clone()
    said = student_scores(raw)
    centres = (grid.corners + 0.5) * grid.strides
    for i, (box, score) in enumerate(labels):
        if not len(box):
            continue
        given = assign(box, score.argmax(1), predicted[i], said[i], centres, grid.strides)
        wanted = score[given.box_of] * given.overlap.clamp(min=MIN_QUALITY)[:, None]
        surer = wanted.amax(1) > scores[i, given.cells].amax(1)
        cells, wanted, box_of = given.cells[surer], wanted[surer], given.box_of[surer]
        scores[i, cells] = wanted
        boxes[i, cells] = box[box_of]
    return Target(scores, boxes)
