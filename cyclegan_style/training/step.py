"""What every task shares of a step: the state that it changes, and how the loop asks for it.

The loop, checkpoints, samples and scores know no more of a task than this. What a step optimises,
what its samples show and what is exported are each task's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from cyclegan_style.config import Config, OptimizerConfig, TrainConfig
from cyclegan_style.data.images import Pixels
from cyclegan_style.networks.winograd import train_by_winograd
from cyclegan_style.training.activations import recompute_activations
from cyclegan_style.training.average import MovingAverage
from cyclegan_style.training.compiling import compile_blocks, compile_networks
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.discriminators import Discriminators
from cyclegan_style.training.passes import Images
from cyclegan_style.training.pool import ImagePool
from cyclegan_style.training.samples import sample_sheet

Losses = dict[str, Tensor]


class TrainingStep(ABC):
    """Networks in training, and ``run``, which advances them by one step."""

    generators: Generators
    """What is trained to make pictures, and, or its average, exported."""
    discriminators: Discriminators | None = None
    """What judges them, if something learns to."""
    average: MovingAverage | None = None
    """Of the generators."""

    def __init__(self, config: Config, accelerator: Accelerator, dtype: torch.dtype) -> None:
        self.accelerator = accelerator
        self.clip_norm = config.optimizer.clip_norm
        self.shown_channels = config.shown_channels
        self.memory_format = (
            torch.channels_last if config.train.channels_last else torch.contiguous_format
        )
        self.place: dict[str, Any] = {
            "device": accelerator.device,
            "dtype": dtype,
            "memory_format": self.memory_format,
        }
        """Where and how networks compute."""
        self.optimizers: dict[str, AcceleratedOptimizer] = {}
        """By their names in checkpoints."""
        self.pools: dict[str, ImagePool] = {}
        """What each process remembers of its own, by domain."""

    @abstractmethod
    def learn(self, batches: Sequence[Images]) -> Losses:
        """Change weights by batches whose gradients are averaged, the mean over all processes.

        Returns this process's losses, each the mean over the batches, which stay on the device, so
        that nothing here waits for it.
        """

    @property
    @abstractmethod
    def trained(self) -> dict[str, nn.Module]:
        """All networks whose weights are learned, by their names in checkpoints."""

    def run(self, batches: Sequence[Images]) -> Losses:
        """Train one step."""
        losses = self.learn([self._laid_out(batch) for batch in batches])
        if self.average is not None:
            self.average.update(self.generators)
        return losses

    def set_learning_rate(self, rate: float) -> None:
        """Use this rate from the next step on."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    @abstractmethod
    def set_progress(self, share: float, steps: int) -> None:
        """Hear what share of training, 0 to 1, and how many steps are behind us."""

    @property
    def exported_generators(self) -> Generators:
        """The generators a user receives: the moving average if there is one."""
        return self.generators if self.average is None else self.average.module

    def sample(self, tests: Mapping[str, Sequence[Tensor]]) -> Pixels:
        """A picture of what the generators make of the test pictures."""
        return sample_sheet(self.exported_generators, tests, self.shown_channels)

    def _prepare_generators(self, train: TrainConfig) -> None:
        """Let the generators be averaged, and computed, as is configured."""
        if train.convolutions == "winograd":
            train_by_winograd(self.generators)
        if train.ema_decay:
            self.average = MovingAverage(self.generators, train.ema_decay, train.ema_warmup)
        if train.checkpoint_activations:
            recompute_activations(self.generators.values())
        if train.compile == "blocks":
            compile_blocks(self.generators.values(), self.accelerator.device)
        elif train.compile is True:
            compile_networks(self.generators.values(), self.accelerator.device)

    def _prepare_discriminators(self, discriminators: Discriminators, config: Config) -> None:
        """Let the discriminators be computed as is configured."""
        # Second derivatives cannot be compiled.
        if config.train.compile is True and not config.loss.penalises_gradients:
            compile_networks(discriminators.values(), self.accelerator.device)

    def _add_optimizer(self, name: str, module: nn.Module, config: OptimizerConfig) -> None:
        """Update the module's weights from now on, by an optimiser of this name."""
        self.optimizers[name] = self.accelerator.prepare_optimizer(build_optimizer(module, config))

    def _gradient_exchange(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients at the last of the accumulated batches only."""
        return nullcontext() if last else self.accelerator.no_sync(wrapped)

    def _update(self, module: nn.Module, optimizer: AcceleratedOptimizer) -> None:
        if self.clip_norm is not None:
            self.accelerator.unscale_gradients(optimizer)
            nn.utils.clip_grad_norm_(module.parameters(), self.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    def _laid_out(self, batch: Images) -> Images:
        return {
            domain: images.contiguous(memory_format=self.memory_format)
            for domain, images in batch.items()
        }


def total(losses: Losses) -> Tensor:
    """The sum of the losses."""
    return torch.stack(list(losses.values())).sum()


def means_of(losses: Sequence[Losses]) -> Losses:
    """The mean of each loss over the batches of a step."""
    return {
        name: torch.stack([each[name].detach() for each in losses]).mean() for name in losses[0]
    }


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """Adam for all of the module's parameters, updated by one fused kernel."""
    return torch.optim.Adam(
        module.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )
