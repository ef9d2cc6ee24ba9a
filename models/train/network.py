"""The network of street-nano: an anchor-free detector of depthwise blocks with one prediction per cell.

Its architecture is that of YOLOX (Ge et al., 2021, arXiv:2107.08430): a backbone, a top-down and bottom-up feature
pyramid, and at strides 8, 16 and 32 a decoupled head for classes and boxes. It is designed for ONNX Runtime on a CPU:
the activation is ReLU, which fuses into the preceding convolution, whereas SiLU costs two more passes over memory.
Blocks are MobileNet's inverted residuals (Sandler et al., 2018, arXiv:1801.04381), whose 1x1 convolutions are matrix
products.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.train import STRIDES


@dataclass(frozen=True)
class Shape:
    """Widths and depths. `widths` are the channels at strides 2, 4, 8, 16, 32; `depths` the blocks at 4, 8, 16, 32."""

    widths: tuple[int, int, int, int, int] = (16, 24, 64, 128, 192)
    depths: tuple[int, int, int, int] = (0, 2, 4, 3)
    expand: int = 2
    neck: int = 64
    head_depth: int = 2


class ConvBn(nn.Sequential):
    """Convolution, batch normalisation and, unless `act` is false, ReLU."""

    def __init__(self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True):
        conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(cout, eps=1e-3, momentum=0.03), *([nn.ReLU(inplace=True)] if act else []))


class Inverted(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; the input is added if the shapes agree."""

    def __init__(self, cin: int, cout: int, stride: int, expand: int, kernel: int = 3):
        super().__init__()
        mid = cin * expand
        self.body = nn.Sequential(
            ConvBn(cin, mid), ConvBn(mid, mid, kernel, stride, groups=mid), ConvBn(mid, cout, act=False)
        )
        self.residual = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class Separable(nn.Sequential):
    """5x5 depthwise, then 1x1: a large receptive field at little cost, for neck and head."""

    def __init__(self, cin: int, cout: int, stride: int = 1):
        super().__init__(ConvBn(cin, cin, 5, stride, groups=cin), ConvBn(cin, cout))


class Pool(nn.Module):
    """Spatial pyramid pooling as three successive 5x5 maxima (SPPF): windows of 5, 9 and 13 cells."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.narrow = ConvBn(channels, half)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.merge = ConvBn(half * 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        views = [self.narrow(x)]
        for _ in range(3):
            views.append(self.pool(views[-1]))
        return self.merge(torch.cat(views, 1))


class Backbone(nn.Module):
    """Image (N, 3, H, W) -> features at strides 8, 16, 32."""

    def __init__(self, shape: Shape):
        super().__init__()
        w = shape.widths
        self.stem = nn.Sequential(ConvBn(3, w[0], 3, 2), ConvBn(w[0], w[1], 3, 2))
        stages = []
        for i, depth in enumerate(shape.depths):
            cin, cout = (w[1], w[1]) if i == 0 else (w[i], w[i + 1])
            first = [] if i == 0 else [Inverted(cin, cout, 2, shape.expand)]
            rest = [Inverted(cout, cout, 1, shape.expand) for _ in range(depth - len(first))]
            stages.append(nn.Sequential(*first, *rest))
        stages[-1].append(Pool(w[4]))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[1:]


class Neck(nn.Module):
    """Path aggregation (Liu et al., 2018, arXiv:1803.01534): top-down, then bottom-up, with `neck` channels."""

    def __init__(self, cins: tuple[int, ...], width: int):
        super().__init__()
        self.lateral = nn.ModuleList(ConvBn(c, width) for c in cins)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.topdown = nn.ModuleList(Separable(2 * width, width) for _ in cins[1:])
        self.down = nn.ModuleList(Separable(width, width, 2) for _ in cins[1:])
        self.bottomup = nn.ModuleList(Separable(2 * width, width) for _ in cins[1:])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        p3, p4, p5 = (conv(x) for conv, x in zip(self.lateral, features, strict=True))
        p4 = self.topdown[0](torch.cat([p4, self.up(p5)], 1))
        p3 = self.topdown[1](torch.cat([p3, self.up(p4)], 1))
        p4 = self.bottomup[0](torch.cat([p4, self.down[0](p3)], 1))
        p5 = self.bottomup[1](torch.cat([p5, self.down[1](p4)], 1))
        return [p3, p4, p5]


class Head(nn.Module):
    """One level: (N, C, h, w) -> raw predictions (N, 5 + classes, h, w) and the two features they are computed from."""

    def __init__(self, width: int, classes: int, depth: int):
        super().__init__()
        self.for_class = nn.Sequential(*(Separable(width, width) for _ in range(depth)))
        self.for_box = nn.Sequential(*(Separable(width, width) for _ in range(depth)))
        self.classes = nn.Conv2d(width, classes, 1)
        self.box = nn.Conv2d(width, 4, 1)
        self.objectness = nn.Conv2d(width, 1, 1)
        for conv, bias in ((self.classes, -2.0), (self.objectness, -4.6)):  # few cells hold an object: start near 0.01
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        class_feature, box_feature = self.for_class(x), self.for_box(x)
        raw = torch.cat([self.box(box_feature), self.objectness(box_feature), self.classes(class_feature)], 1)
        return raw, class_feature, box_feature


class StreetNano(nn.Module):
    """Image (N, 3, H, W), float32 BGR 0..255, H and W multiples of 32 -> (N, cells, 5 + classes) raw predictions.

    A cell's row is `dx, dy, log w, log h, objectness, classes...`: the box's centre is `(dx + column, dy + row)` and
    its size `exp(log)` in units of the stride; objectness and classes are logits while training and probabilities in
    the exported file (layout "yolox"). Cells are listed level by level, row by row.
    """

    def __init__(self, classes: int, shape: Shape | None = None):
        super().__init__()
        shape = shape or Shape()
        self.backbone = Backbone(shape)
        self.neck = Neck(shape.widths[2:], shape.neck)
        self.heads = nn.ModuleList(Head(shape.neck, classes, shape.head_depth) for _ in STRIDES)

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return raw predictions and, for distillation, the class and box features of each level."""
        levels = self.neck(self.backbone(pictures * (1 / 128) - 1))
        raws, features = [], []
        for head, level in zip(self.heads, levels, strict=True):
            raw, class_feature, box_feature = head(level)
            raws.append(raw.flatten(2))
            features += [class_feature, box_feature]
        return torch.cat(raws, 2).transpose(1, 2), features
