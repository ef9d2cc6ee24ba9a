"""Profiles of a training: its size and length."""

from dataclasses import dataclass, field

from models.train.network import Shape


@dataclass(frozen=True)
class Profile:
    """`steps` of `batch` views; `sizes` are the views' (height, width), one of which is drawn per step; `limit` is the
    maximum number of images of each kind; a checkpoint is written every `every` steps. AdamW's learning `rate` rises
    for `warmup` steps; `decay` is its weight decay, `average` that of the moving average. Videos give a frame every
    `frame_every_s`. With `dense` the teacher predicts every cell of every view, with `features` its features are
    compared, too."""

    steps: int
    batch: int
    sizes: tuple[tuple[int, int], ...]
    limit: int | None = None
    every: int = 500
    rate: float = 2e-3
    decay: float = 0.03
    warmup: int = 200
    average: float = 0.999
    frame_every_s: float = 2.0
    dense: bool = True
    features: bool = True
    shape: Shape = field(default_factory=Shape)


PROFILES = {
    "smoke": Profile(
        steps=12, batch=4, sizes=((128, 160), (160, 128)), limit=4, every=6, warmup=4, average=0.9, frame_every_s=30.0
    ),
    "full": Profile(
        steps=4900,
        batch=16,
        sizes=((256, 416), (256, 320), (224, 384), (288, 288), (320, 256), (192, 320), (352, 352)),
    ),
}
