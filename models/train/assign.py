"""Assigns cells to boxes: SimOTA, as in YOLOX (Ge et al., 2021, section 2.5)."""

from dataclasses import dataclass

import torch
from torch import Tensor

CENTRE_RADIUS = 2.5
CANDIDATES = 10
BOX_WEIGHT = 3.0
FAR = 1e5


@dataclass(frozen=True)
class Assigned:
    """The assigned `cells` (k,), the index (k,) of the box of each, and their present IoU (k,)."""

    cells: Tensor
    box_of: Tensor
    overlap: Tensor


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Return intersection over union, (n, m), of boxes (n, 4) and (m, 4) given as x1 y1 x2 y2."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(1) for x in (a, b))
    return shared / (area_a[:, None] + area_b[None] - shared + 1e-9)


@torch.no_grad()
def assign(
    boxes: Tensor, labels: Tensor, predicted: Tensor, scores: Tensor, centres: Tensor, strides: Tensor
) -> Assigned:
    """Assign cells to each box.

    boxes (n, 4), labels (n,) class ids; predicted (cells, 4) boxes and scores (cells, classes) of the student; centres
    (cells, 2) and strides (cells, 1) of the cells, all in pixels. A box gets the cells of least cost, as many as
    the sum of its ten best IoUs; a cell that several boxes want goes to the one of least cost.
    """
    offset = (centres[None] - (boxes[:, None, :2] + boxes[:, None, 2:]) / 2).abs().amax(2)
    near = offset < CENTRE_RADIUS * strides[None, :, 0]
    inside = ((centres[None] > boxes[:, None, :2]) & (centres[None] < boxes[:, None, 2:])).all(2)
    cells = (near | inside).any(0).nonzero()[:, 0]
    best = (near & inside)[:, cells]
    overlap = overlaps(boxes, predicted[cells])
    score = scores[cells][:, labels].T.clamp(1e-6, 1 - 1e-6)
    # Cross-entropy of a score that should be 1; the other classes' part is the same for all boxes of a class.
    cost = -score.log() - BOX_WEIGHT * (overlap + 1e-8).log() + FAR * ~best
    counts = overlap.topk(min(CANDIDATES, overlap.shape[1]), 1).values.sum(1).int().clamp(min=1)
    cheap = cost.topk(min(CANDIDATES, cost.shape[1]), 1, largest=False).indices
    taken = torch.zeros_like(best).scatter_(1, cheap, torch.arange(cheap.shape[1])[None] < counts[:, None])
    cheapest = torch.where(taken, cost, torch.inf).argmin(0)
    chosen = taken.any(0).nonzero()[:, 0]
    box_of = cheapest[chosen]
    return Assigned(cells[chosen], box_of, overlap[box_of, chosen])
