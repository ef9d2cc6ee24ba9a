"""The student's loss: its distance from the targets, and from the teacher's features."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from models.train.targets import Target

BOX_WEIGHT = 5.0
FEATURE_WEIGHT = 4.0
MIN_SCORE = 0.05  # cells with a lower target score train neither box nor class


@dataclass(frozen=True)
class Losses:
    objectness: Tensor
    classes: Tensor
    boxes: Tensor
    features: Tensor

    def total(self, with_features: bool) -> Tensor:
        total = self.objectness + self.classes + BOX_WEIGHT * self.boxes
        return total + FEATURE_WEIGHT * self.features if with_features else total


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return generalised overlap (Rezatofighi et al., 2019, arXiv:1902.09630) of boxes (n, 4) and (n, 4), pair by
    pair."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1)
    return shared / (union + 1e-7) - (hull - union) / (hull + 1e-7)


def losses(raw: Tensor, predicted: Tensor, target: Target, student: list[Tensor], teacher: list[Tensor]) -> Losses:
    """Objectness learns the score of the best class, the classes their share of it, so that the product is the target.
    All sums are weighted by the target's score and divided by its sum, so that confident cells count most."""
    sure = target.scores.amax(2)
    total = sure.sum().clamp(min=1)
    objectness = cross_entropy(raw[..., 4], sure, reduction="sum") / total
    used = sure > MIN_SCORE
    weight = sure[used]
    share = target.scores[used] / weight[:, None]
    classes = (cross_entropy(raw[..., 5:][used], share, reduction="none").sum(1) * weight).sum() / total
    boxes = ((1 - giou(predicted[used], target.boxes[used])) * weight).sum() / total
    features = torch.stack([_unlike(a, b) for a, b in zip(student, teacher, strict=True)]).mean()
    return Losses(objectness, classes, boxes, features)


def _unlike(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference of two features (N, C, h, w) with channels normalised to mean 0 and deviation
    1. That is one minus their correlation: the pattern must match, not its magnitude (Cao et al., 2022,
    arXiv:2207.02039)."""
    return ((_standard(a) - _standard(b)) ** 2).mean() / 2


def _standard(x: Tensor) -> Tensor:
    mean, deviation = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return (x - mean) / (deviation + 1e-6)


class Adaptors(nn.ModuleList):
    """1x1 convolutions from the student's features to the teacher's, only used in training."""

    def __init__(self, student_channels: list[int], teacher_channels: list[int]) -> None:
        super().__init__(nn.Conv2d(a, b, 1) for a, b in zip(student_channels, teacher_channels, strict=True))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [conv(x) for conv, x in zip(self, features, strict=True)]
