"""The moving average of the generators' weights, which is what a user receives."""

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from cyclegan_style.training.cyclegan import Generators


class MovingAverage(nn.Module):
    """Exponential moving average of the generators' weights, with a copy of their buffers.

    Its numbers and its state dict are those of torch's ``AveragedModel``, which makes the host wait
    for a GPU at each update: it copies its counter there, or compares it there with 0. A warm-up
    bounds the decay by (1 + t) / (10 + t) after t updates.
    """

    n_averaged: Tensor

    def __init__(self, generators: Generators, decay: float, warmup: bool = False) -> None:
        super().__init__()
        self.module = deepcopy(generators)
        self.decay = decay
        self.warmup = warmup
        self.register_buffer("n_averaged", torch.tensor(0))  # stays on the CPU

    @torch.no_grad()
    def update(self, generators: Generators) -> None:
        """Take in the weights of a step; the first are copied."""
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(generators.parameters())
        if self.n_averaged == 0:
            copy_each(averages, weights)
        else:
            torch._foreach_lerp_(averages, weights, 1 - self._decay_now())
        copy_each(self.module.buffers(), generators.buffers())
        self.n_averaged += 1

    def _decay_now(self) -> float:
        updates = int(self.n_averaged)
        return min(self.decay, (1 + updates) / (10 + updates)) if self.warmup else self.decay


def copy_each(targets: Iterable[Tensor], sources: Iterable[Tensor]) -> None:
    """Copy tensors one by one."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
