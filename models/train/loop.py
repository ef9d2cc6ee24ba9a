"""The training itself: batches, steps, schedule, moving average, checkpoints.

There is one process per core, each with a part of every batch; their gradients are averaged. Threads within PyTorch's
small layers would spend much of their time waiting for each other.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from models.train import CLASSES
from models.train.loss import Adaptors, losses
from models.train.network import StreetNano
from models.train.profiles import Profile
from models.train.samples import Sample
from models.train.targets import Grid, Target, merge
from models.train.teacher import FEATURE_CHANNELS, Teacher, cell_grid
from models.train.views import Views


@dataclass(frozen=True)
class Batch:
    """A process's part of a step: images (N, 3, H, W) float32 BGR 0..255; boxes (n, 4) and soft scores (n, classes)
    of each image; the teacher's prediction for every cell; its features."""

    pictures: Tensor
    labels: list[tuple[Tensor, Tensor]]
    target: Target
    features: list[Tensor]
    grid: Grid


class Batches:
    """Makes batches. They depend only on seed, step and process, so that a training that continues after an
    interruption gets the same batches."""

    def __init__(self, samples: list[Sample], teacher: Path, profile: Profile, seed: int) -> None:
        self._views = Views(samples)
        self._teacher = Teacher(teacher)
        self._profile = profile
        self._seed = seed

    def make(self, step: int, part: int, size: int) -> Batch:
        height, width = self._size(step)
        rng = np.random.default_rng((self._seed, step, part))
        views = [self._views.draw(rng, height, width) for _ in range(size)]
        pictures = np.stack([view.picture for view in views]).transpose(0, 3, 1, 2).astype(np.float32)
        answer = self._teacher(pictures)
        scores = answer.scores if self._profile.dense else np.zeros_like(answer.scores)
        corners, strides = cell_grid(height, width)
        return Batch(
            torch.from_numpy(pictures).contiguous(memory_format=torch.channels_last),
            [(torch.from_numpy(view.boxes), torch.from_numpy(view.scores)) for view in views],
            Target(torch.from_numpy(scores), torch.from_numpy(answer.boxes)),
            [torch.from_numpy(each) for each in answer.features],
            Grid(torch.from_numpy(corners), torch.from_numpy(strides)),
        )

    def _size(self, step: int) -> tuple[int, int]:
        """Return a value that is the same for all parts of a step."""
        sizes = self._profile.sizes
        return sizes[np.random.default_rng((self._seed, step)).integers(len(sizes))]


class Average:
    """Exponential moving average of a network's weights, which follows faster in the beginning."""

    def __init__(self, network: StreetNano, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: StreetNano, step: int) -> None:
        decay = min(self._decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def rate(step: int, profile: Profile) -> float:
    """Return the learning rate as a share of the profile's: a linear warm-up, then a cosine down to a hundredth."""
    if step < profile.warmup:
        return (step + 1) / profile.warmup
    along = (step - profile.warmup) / max(profile.steps - profile.warmup, 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * along)) / 2


class Training:
    """The content of a checkpoint file: network, optimiser and moving average."""

    def __init__(self, profile: Profile, seed: int) -> None:
        torch.manual_seed(seed)
        self.profile = profile
        self.step = 0
        self.network = StreetNano(len(CLASSES), profile.shape).to(memory_format=torch.channels_last)
        self.adaptors = Adaptors([profile.shape.neck] * len(FEATURE_CHANNELS), FEATURE_CHANNELS)
        self.average = Average(self.network, profile.average)
        parts = [*self.network.parameters(), *self.adaptors.parameters()]
        decayed = [
            {"params": [p for p in parts if p.ndim > 1]},
            {"params": [p for p in parts if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(decayed, lr=profile.rate, weight_decay=profile.decay)

    def save(self, path: Path) -> None:
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "adaptors": self.adaptors.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "shape": self.profile.shape.__dict__,
        }
        partial = path.with_suffix(".part")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.adaptors.load_state_dict(state["adaptors"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def learn(self, batch: Batch) -> dict[str, float]:
        """Do one step, and return the losses by name."""
        share = rate(self.step, self.profile)
        for group in self.optimiser.param_groups:
            group["lr"] = self.profile.rate * share
        raw, features = self.network(batch.pictures)
        predicted = batch.grid.decode(raw)
        target = merge(batch.target, batch.labels, raw, predicted, batch.grid)
        parts = losses(raw, predicted, target, self.adaptors(features), batch.features)
        self.optimiser.zero_grad(set_to_none=False)
        parts.total(self.profile.features).backward()
        weights = [p for group in self.optimiser.param_groups for p in group["params"]]
        _average([p.grad for p in weights if p.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(weights, 10.0)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"Step {self.step}: the gradient is not finite. Lower the rate and resume.")
        self.optimiser.step()
        _average([b for b in self.network.buffers() if b.dtype.is_floating_point])
        self.average.update(self.network, self.step)
        self.step += 1
        return {name: float(value.detach()) for name, value in parts.__dict__.items()}


def _average(tensors: list[Tensor]) -> None:
    """Replace values by their mean over all processes, in place."""
    if dist.get_world_size() == 1:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


Report = Callable[[int, dict[str, float], float], None]


def train(
    rank: int, processes: int, meeting: str, samples: list[Sample], teacher: Path, profile: Profile, seed: int,
    checkpoint: Path, resume: bool, report: Report,
) -> None:  # fmt: skip
    """Run process number `rank` of a training. The first one reports step, mean losses and seconds per step, and writes
    checkpoints. The processes find each other through the file `meeting`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=processes)
    batches = Batches(samples, teacher, profile, seed)
    training = Training(profile, seed)
    if resume:
        training.load(checkpoint)
    sums: dict[str, float] = {}
    start, count = time.perf_counter(), 0
    training.network.train()
    while training.step < profile.steps:
        for name, value in training.learn(batches.make(training.step, rank, profile.batch // processes)).items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
        last = training.step == profile.steps
        if rank == 0 and (training.step % min(50, profile.every) == 0 or last):
            means = {name: value / count for name, value in sums.items()}
            report(training.step, means, (time.perf_counter() - start) / count)
            sums, start, count = {}, time.perf_counter(), 0
        if rank == 0 and (training.step % profile.every == 0 or last):
            training.save(checkpoint)
    dist.destroy_process_group()
