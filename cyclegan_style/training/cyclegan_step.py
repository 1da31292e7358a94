"""One step of CycleGAN: the generators' turn, then the discriminators'.

Everything that a step changes lives here: networks, optimisers, image pools, moving average. The
training loop, the replay of recorded trajectories and the benchmark all run this same step.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from cyclegan_style.config import Config
from cyclegan_style.config.directions import DOMAINS, Direction
from cyclegan_style.training.activations import look_again
from cyclegan_style.training.contrastive import Projections
from cyclegan_style.training.cyclegan import (
    GeneratorsInTraining,
    GeneratorTurn,
    build_generators,
    merged,
    projections_for,
)
from cyclegan_style.training.detail import DomainDetail, detail_of
from cyclegan_style.training.discriminators import Discriminators, build_discriminators
from cyclegan_style.training.passes import Images, frozen
from cyclegan_style.training.pool import ImagePool
from cyclegan_style.training.side_by_side import SideBySide, goes_side_by_side
from cyclegan_style.training.step import Losses, TrainingStep, means_of, total


class CycleGanStep(TrainingStep):
    """A CycleGAN in training."""

    discriminators: Discriminators

    def __init__(
        self, config: Config, accelerator: Accelerator, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(config, accelerator, dtype)
        self.identity_steps = config.train.identity_steps
        self.turns: list[GeneratorTurn] = []
        """The generators' at the last step, one for each batch."""
        torch.manual_seed(config.train.seed)
        self.generators = build_generators(config).to(**self.place)
        self.discriminators = build_discriminators(config).to(**self.place)
        projections = projections_for(config, self.generators)
        in_training = GeneratorsInTraining(self.generators, projections).to(**self.place)
        self.generators_in_training = in_training
        self.pools = build_pools(config, accelerator.process_index)
        self.detail = DomainDetail().to(**self.place) if config.loss.detail else None
        self._prepare_generators(config.train)
        if config.train.checkpoint_activations and projections is not None:
            projections.look = look_again
        self._prepare_discriminators(self.discriminators, config)
        self.wrapped_generators = accelerator.prepare_model(self.generators_in_training)
        self.wrapped_discriminators = accelerator.prepare_model(self.discriminators)
        self.side_by_side = SideBySide(accelerator) if goes_side_by_side(config) else None
        self._add_optimizer("generator_optimizer", in_training, config.optimizer)
        self._add_optimizer("discriminator_optimizer", self.discriminators, config.optimizer)

    @property
    def trained(self) -> dict[str, nn.Module]:
        """Generators, discriminators and what losses of options learn beside them."""
        beside = {"projections": self.projections, "detail": self.detail}
        networks = {"generators": self.generators, "discriminators": self.discriminators}
        return networks | {name: each for name, each in beside.items() if each is not None}

    @property
    def projections(self) -> Projections | None:
        """Those of a contrastive loss, which are trained and saved but no part of the model."""
        return self.generators_in_training.projections

    def set_progress(self, share: float, steps: int) -> None:
        """Use the losses of the moment when this share, 0 to 1, and these steps are behind us."""
        self.generators.progress = share
        self.generators.give_back = steps < self.identity_steps

    def learn(self, batches: Sequence[Images]) -> Losses:
        """Both turns."""
        self.turns = self._generators_turn(batches)
        of_discriminators = self._discriminators_turn(batches, self.turns)
        return means_of(
            [
                {**turn.losses, **losses}
                for turn, losses in zip(self.turns, of_discriminators, strict=True)
            ]
        )

    def _generators_turn(self, batches: Sequence[Images]) -> list[GeneratorTurn]:
        turns = []
        for index, batch in enumerate(batches):
            self._measure_detail(batch)
            self.generators.seed_noise(self.accelerator.device)
            if self.side_by_side is not None:
                self.discriminators.seed_augmentations(self.accelerator.device)
            turns.append(self._learn_to_translate(batch, len(batches), index == len(batches) - 1))
        self._update(self.generators_in_training, self.optimizers["generator_optimizer"])
        return turns

    def _measure_detail(self, batch: Images) -> None:
        """Let the generators know how much detail the domains have, on every process the same."""
        if self.detail is not None:
            found = torch.stack([detail_of(batch[domain]).mean() for domain in DOMAINS])
            self.detail.add(self.accelerator.reduce(found, "mean"))
            self.generators.wanted_detail = self.detail.wanted()

    def _discriminators_turn(
        self, batches: Sequence[Images], turns: Sequence[GeneratorTurn]
    ) -> list[Losses]:
        if self.generators.give_back or not self.generators.adversarial_weight:
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
        self._update(self.discriminators, self.optimizers["discriminator_optimizer"])
        return all_losses

    def _learn_to_translate(self, batch: Images, batch_count: int, last: bool) -> GeneratorTurn:
        """Add the gradients of the generators' losses on a batch."""
        generators, judges = self.generators, self.discriminators
        if self.side_by_side is None:
            return self._learn_way_by_way(batch, batch_count, last)
        with frozen(judges):
            turns = self.side_by_side.add_gradients(
                [partial(generators.turn_of, way, batch, judges) for way in generators.directions],
                lambda turn: total(turn.losses) / batch_count,
                list(generators.parameters()),
            )
        return merged(turns)

    def _learn_way_by_way(self, batch: Images, batch_count: int, last: bool) -> GeneratorTurn:
        """The same, one way after the other, whose activations are freed in between."""
        turns, ways = [], self._ways()
        for way in ways:
            with self._gradient_exchange(self.wrapped_generators, last and way is ways[-1]):
                turns.append(self._learn_way(way, batch, batch_count))
        return merged(turns)

    def _learn_way(
        self, way: tuple[Direction, ...], batch: Images, batch_count: int
    ) -> GeneratorTurn:
        turn: GeneratorTurn = self.wrapped_generators(batch, self.discriminators, way)
        loss = total(turn.losses)
        if loss.requires_grad:  # a way whose weights are all 0 teaches nothing
            self.accelerator.backward(loss / batch_count)
        return turn._replace(losses={name: each.detach() for name, each in turn.losses.items()})

    def _ways(self) -> list[tuple[Direction, ...]]:
        """The directions, each by itself, or together where processes need them so.

        Those wait for a gradient of every weight in the last backward pass. A translation that does
        not go back has none for the other generator, and contrasts have them for the projections of
        the target alone.
        """
        generators = self.generators
        touch_all = self.projections is None and all(generators.cycle_weight.values())
        if self.accelerator.num_processes > 1 and not touch_all:
            return [generators.directions]
        return [(direction,) for direction in generators.directions]

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


def build_pools(config: Config, process_index: int) -> dict[str, ImagePool]:
    """A pool of past translations to each domain, every process with draws of its own."""
    seeds = np.random.SeedSequence([config.train.seed, process_index]).generate_state(len(DOMAINS))
    return {
        domain: ImagePool(config.train.pool_size, int(seed))
        for domain, seed in zip(DOMAINS, seeds, strict=True)
        if domain in config.made_domains
    }
