"""One step of training: the generators' turn, then the discriminators'.

Everything that a step changes lives here: networks, optimisers, image pools, moving average. The
training loop, the replay of recorded trajectories and the benchmark all run this same step.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from cyclegan_style.config import Config, OptimizerConfig
from cyclegan_style.directions import DOMAINS
from cyclegan_style.networks.winograd import train_by_winograd
from cyclegan_style.training.activations import recompute_activations
from cyclegan_style.training.average import MovingAverage
from cyclegan_style.training.compiling import compile_networks
from cyclegan_style.training.contrastive import Projections
from cyclegan_style.training.cyclegan import (
    Generators,
    GeneratorsInTraining,
    GeneratorTurn,
    Images,
    build_discriminators,
    build_generators,
    frozen,
    mean,
    merged,
    projections_for,
)
from cyclegan_style.training.pool import ImagePool
from cyclegan_style.training.side_by_side import SideBySide, goes_side_by_side

Losses = dict[str, Tensor]


class TrainingStep:
    """The state of a CycleGAN in training, and ``run``, which advances it by one step."""

    def __init__(
        self, config: Config, accelerator: Accelerator, dtype: torch.dtype = torch.float32
    ) -> None:
        self.accelerator = accelerator
        self.clip_norm = config.optimizer.clip_norm
        self.identity_steps = config.train.identity_steps
        self.memory_format = (
            torch.channels_last if config.train.channels_last else torch.contiguous_format
        )
        place: dict[str, Any] = {
            "device": accelerator.device,
            "dtype": dtype,
            "memory_format": self.memory_format,
        }
        torch.manual_seed(config.train.seed)
        self.generators = build_generators(config).to(**place)
        self.discriminators = build_discriminators(config).to(**place)
        projections = projections_for(config, self.generators)
        self.generators_in_training = GeneratorsInTraining(self.generators, projections).to(**place)
        if config.train.convolutions == "winograd":
            train_by_winograd(self.generators)
        decay, warmup = config.train.ema_decay, config.train.ema_warmup
        self.average = MovingAverage(self.generators, decay, warmup) if decay else None
        self.pools = build_pools(config, accelerator.process_index)
        if config.train.checkpoint_activations:
            recompute_activations(self.generators_in_training)
        if config.train.compile:
            compile_networks(self.generators.values(), accelerator.device)
            if not config.loss.penalises_gradients:  # second derivatives cannot be compiled
                compile_networks(self.discriminators.values(), accelerator.device)
        self.wrapped_generators = accelerator.prepare_model(self.generators_in_training)
        self.wrapped_discriminators = accelerator.prepare_model(self.discriminators)
        self.side_by_side = (
            SideBySide(accelerator) if goes_side_by_side(config, accelerator) else None
        )
        self.generator_optimizer = accelerator.prepare_optimizer(
            build_optimizer(self.generators_in_training, config.optimizer)
        )
        self.discriminator_optimizer = accelerator.prepare_optimizer(
            build_optimizer(self.discriminators, config.optimizer)
        )

    @property
    def projections(self) -> Projections | None:
        """Those of a contrastive loss, which are trained and saved but no part of the model."""
        return self.generators_in_training.projections

    @property
    def exported_generators(self) -> Generators:
        """The generators a user receives: the moving average if there is one."""
        return self.generators if self.average is None else self.average.module

    def set_learning_rate(self, rate: float) -> None:
        """Use this rate from the next step on."""
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def set_progress(self, share: float, steps: int) -> None:
        """Use the losses of the moment when this share, 0 to 1, and these steps are behind us."""
        self.generators.progress = share
        self.generators.give_back = steps < self.identity_steps

    def run(self, batches: Sequence[Images]) -> tuple[Losses, list[GeneratorTurn]]:
        """Train one step on batches whose gradients are averaged, the mean over all processes.

        Returns this process's losses, each the mean over the batches, and the generators' turns;
        both stay on the device, so that nothing here waits for it.
        """
        batches = [self._laid_out(batch) for batch in batches]
        turns = self._generators_turn(batches)
        discriminator_losses = self._discriminators_turn(batches, turns)
        if self.average is not None:
            self.average.update(self.generators)
        losses = [
            {**turn.losses, **of_discriminators}
            for turn, of_discriminators in zip(turns, discriminator_losses, strict=True)
        ]
        return {name: mean([loss[name].detach() for loss in losses]) for name in losses[0]}, turns

    def _generators_turn(self, batches: Sequence[Images]) -> list[GeneratorTurn]:
        turns = []
        for index, batch in enumerate(batches):
            if self.side_by_side is not None:
                self.discriminators.seed_augmentations(self.accelerator.device)
            with self._gradient_exchange(self.wrapped_generators, index == len(batches) - 1):
                turns.append(self._learn_to_translate(batch, len(batches)))
        self._update(self.generators_in_training, self.generator_optimizer)
        return turns

    def _discriminators_turn(
        self, batches: Sequence[Images], turns: Sequence[GeneratorTurn]
    ) -> list[Losses]:
        if self.generators.give_back:
            zero = torch.zeros((), device=self.accelerator.device)
            judged = self.discriminators
            return [{f"discriminator_{domain}": zero for domain in judged}] * len(batches)
        all_losses = []
        for index, (batch, turn) in enumerate(zip(batches, turns, strict=True)):
            shown = {
                domain: pool.exchange(turn.fakes[domain]) for domain, pool in self.pools.items()
            }
            with self._gradient_exchange(self.wrapped_discriminators, index == len(batches) - 1):
                all_losses.append(self._learn_to_judge(batch, shown, len(batches)))
        self._update(self.discriminators, self.discriminator_optimizer)
        return all_losses

    def _learn_to_translate(self, batch: Images, batch_count: int) -> GeneratorTurn:
        """Add the gradients of the generators' losses on a batch."""
        generators, judges = self.generators, self.discriminators
        if self.side_by_side is None or generators.give_back:
            turn: GeneratorTurn = self.wrapped_generators(batch, judges)
            self.accelerator.backward(total(turn.losses) / batch_count)
            return turn
        with frozen(judges):
            turns = self.side_by_side.add_gradients(
                [partial(generators.turn_of, way, batch, judges) for way in generators.directions],
                lambda turn: total(turn.losses) / batch_count,
                list(generators.parameters()),
            )
        return merged(turns)

    def _learn_to_judge(self, batch: Images, shown: Images, batch_count: int) -> Losses:
        """Add the gradients of the discriminators' losses on real images and translations."""
        judges = self.discriminators
        if self.side_by_side is None:
            losses: Losses = self.wrapped_discriminators(batch, shown)
            self.accelerator.backward(total(losses) / batch_count)
            return losses
        each = self.side_by_side.add_gradients(
            [partial(judges.loss, domain, batch[domain], shown[domain]) for domain in judges],
            lambda loss: loss / batch_count,
            list(judges.parameters()),
        )
        return {f"discriminator_{domain}": loss for domain, loss in zip(judges, each, strict=True)}

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


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """Adam for all of the module's parameters, updated by one fused kernel."""
    return torch.optim.Adam(
        module.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def build_pools(config: Config, process_index: int) -> dict[str, ImagePool]:
    """A pool of past translations to each domain, every process with draws of its own."""
    seeds = np.random.SeedSequence([config.train.seed, process_index]).generate_state(len(DOMAINS))
    return {
        domain: ImagePool(config.train.pool_size, int(seed))
        for domain, seed in zip(DOMAINS, seeds, strict=True)
        if domain in config.made_domains
    }
