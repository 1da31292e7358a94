"""The generators as one module, which is what one optimiser updates.

Its ``forward`` computes the losses of the generators' turn, a direction at a time if so asked, so
that all passes go through one (distributed) module. One-sided training has generator_ab alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cyclegan_style.config import Config, LossConfig
from cyclegan_style.config.directions import DIRECTIONS, Direction, paired
from cyclegan_style.networks import build_generator
from cyclegan_style.networks.feature_heads import scaled
from cyclegan_style.training.contrastive import Projections, build_projections, contrastive
from cyclegan_style.training.detail import distance_of_detail
from cyclegan_style.training.discriminators import Discriminators
from cyclegan_style.training.frozen_features import Networks
from cyclegan_style.training.losses import (
    cycle,
    distance_to_truth,
    feature_matching,
    identity,
    mean,
)
from cyclegan_style.training.passes import Images, apply_to_each, frozen


class GeneratorTurn(NamedTuple):
    """What the generators' turn yields; images are detached."""

    losses: dict[str, Tensor]
    """Weighted: adversarial_ab, cycle_a, identity_b and their counterparts, and those of options
    that are on, such as feature_matching_ab."""
    fakes: dict[str, Tensor]
    """By the domain that they imitate: ``fakes["b"]`` is generator_ab(a)."""
    reconstructions: dict[str, Tensor]
    """``reconstructions["a"]`` is generator_ba(generator_ab(a)), where the cycle has a weight."""


class Translations(NamedTuple):
    """What a generator made of the images of a batch, as far as they count."""

    fake: Tensor | None = None
    unchanged: Tensor | None = None
    """Of its own target, for the identity."""
    of_pair: Tensor | None = None


class Generators(Networks):
    """``generators["ab"]`` maps domain A to B, ``generators["ba"]``, if it is there, back."""

    def __init__(self, networks: Mapping[str, nn.Module], loss: LossConfig) -> None:
        super().__init__(networks, loss.cycle_features)
        self.directions = tuple(each for each in DIRECTIONS if each.name in networks)
        self.adversarial_weight = loss.adversarial_weight
        self.paired_weight = loss.paired
        self.matching_weight = loss.feature_matching
        self.detail_weight = loss.detail
        self.wanted_detail: dict[str, Tensor] = {}
        """What translations should gain over their inputs, by direction."""
        self.contrastive_weight = loss.contrastive
        self.contrastive_identity_weight = loss.contrastive_identity
        self.cycle_weight = {"a": loss.cycle_a, "b": loss.cycle_b}
        self.cycle_decay = loss.cycle_decay
        self.cycle_noise = loss.cycle_noise
        self.chance: dict[str, torch.Generator] = {}
        """What the noise on each direction's translations is drawn by."""
        self.progress = 0.0
        """Share of training that is behind us."""
        self.give_back = False
        """Whether nothing counts but that they give back their input."""
        self.identity_weight = {"a": loss.identity_a, "b": loss.identity_b}

    def forward(
        self,
        real: Images,
        discriminators: Discriminators,
        projections: Projections | None = None,
        directions: Sequence[Direction] | None = None,
    ) -> GeneratorTurn:
        """Losses of some directions, or of all; only a contrastive loss needs projections."""
        with frozen(discriminators):
            return merged(
                self.turn_of(direction, real, discriminators, projections)
                for direction in directions or self.directions
            )

    def turn_of(
        self,
        direction: Direction,
        real: Images,
        discriminators: Discriminators,
        projections: Projections | None = None,
    ) -> GeneratorTurn:
        """What one direction contributes; discriminators are meant to be frozen."""
        if self.give_back:
            return GeneratorTurn(self._of_giving_back(direction, real, projections), {}, {})
        turn = GeneratorTurn({}, {}, {})
        fake, unchanged, of_pair = self._translate(direction, real)
        if fake is None:
            turn.losses.update(self._of_none(direction, real))
        else:
            self._judge_and_return(direction, real, fake, unchanged, discriminators, turn)
            if projections is not None:
                turn.losses.update(self._contrasts(direction, real, fake, unchanged, projections))
        if of_pair is not None:
            distance = distance_to_truth(of_pair, real[paired(direction.target)])
            turn.losses[f"paired_{direction.name}"] = self.paired_weight * distance
        return turn

    def _of_giving_back(
        self, direction: Direction, real: Images, projections: Projections | None
    ) -> dict[str, Tensor]:
        """‖G(x) − x‖ for the target, the mean of all generators', under the usual names.

        A generator without a way back has the sum of both domains under the name of its target.
        """
        name, source, target, reverse = direction
        zero, losses = real[source].new_zeros(()), self._of_none(direction, real)
        if self.matching_weight:
            losses[f"feature_matching_{name}"] = zero
        if self.detail_weight:
            losses[f"detail_{name}"] = zero
        given_back = self._given_back(real[target])
        if reverse not in self:
            given_back = given_back + self._given_back(real[source])
        losses[f"identity_{target}"] = given_back
        if projections is not None:  # processes wait for a gradient of each
            losses[f"contrastive_{name}"] = 0 * mean([p.sum() for p in projections.parameters()])
        if self.contrastive_identity_weight:
            losses[f"contrastive_identity_{target}"] = zero
        if self.paired_weight:
            losses[f"paired_{name}"] = zero
        return losses

    def _of_none(self, direction: Direction, real: Images) -> dict[str, Tensor]:
        """Losses of unpaired images of which none counts."""
        name, source, target, reverse = direction
        names = [f"adversarial_{name}"]
        if reverse in self:
            names.append(f"cycle_{source}")
        return dict.fromkeys([*names, f"identity_{target}"], real[source].new_zeros(()))

    def _given_back(self, original: Tensor) -> Tensor:
        """‖G(x) − x‖, the mean over the generators."""
        return mean([identity(generator(original), original) for generator in self.values()])

    def _judge_and_return(
        self,
        direction: Direction,
        real: Images,
        fake: Tensor,
        unchanged: Tensor | None,
        discriminators: Discriminators,
        turn: GeneratorTurn,
    ) -> None:
        """Note the translation and all losses of it that need no projections."""
        name, source, target, reverse = direction
        turn.fakes[target] = fake.detach()
        of_cycle = fake.new_zeros(())
        if self.cycle_weight[source]:
            reconstruction = self[reverse](self._with_noise(fake, direction))
            turn.reconstructions[source] = reconstruction.detach()
            of_cycle = self._cycle_weight_now(source) * self._distance(reconstruction, real[source])
        turn.losses.update(self._judged(direction, real, fake, discriminators))
        if self.detail_weight:
            distance = distance_of_detail(fake, real[source], self.wanted_detail[name])
            turn.losses[f"detail_{name}"] = self.detail_weight * distance
        if reverse in self:
            turn.losses[f"cycle_{source}"] = of_cycle
        weight = self.identity_weight[target]
        turn.losses[f"identity_{target}"] = (
            weight * identity(unchanged, real[target])
            if weight and unchanged is not None
            else fake.new_zeros(())
        )

    def seed_noise(self, device: torch.device) -> None:
        """Give each direction its own draws, so that it does not matter which is computed first."""
        if self.cycle_noise:
            for direction in self.directions:
                seed = int(torch.randint(2**62, ()))
                self.chance[direction.name] = torch.Generator(device).manual_seed(seed)

    def _with_noise(self, fake: Tensor, direction: Direction) -> Tensor:
        """A translation as the way back gets to see it."""
        if not self.cycle_noise:
            return fake
        noise = torch.empty_like(fake).normal_(generator=self.chance.get(direction.name))
        return fake + self.cycle_noise * noise

    def _contrasts(
        self,
        direction: Direction,
        real: Images,
        fake: Tensor,
        unchanged: Tensor | None,
        projections: Projections,
    ) -> dict[str, Tensor]:
        """Contrasts of a translation with its input: DCLGAN's, or without a way back CUT's."""
        name, source, target, reverse = direction
        ours = source, self[name]
        theirs = (target, self[reverse]) if reverse in self else ours
        contrast = contrastive(projections, (*ours, real[source]), (*theirs, fake))
        losses = {f"contrastive_{name}": self.contrastive_weight * contrast}
        weight = self.contrastive_identity_weight
        if weight and unchanged is not None:
            contrast = contrastive(projections, (*ours, real[target]), (*ours, unchanged))
            losses[f"contrastive_identity_{target}"] = weight * contrast
        return losses

    def _cycle_weight_now(self, domain: str) -> float:
        return self.cycle_weight[domain] * (1 - (1 - self.cycle_decay) * self.progress)

    def _distance(self, reconstruction: Tensor, original: Tensor) -> Tensor:
        """Of pixels, or the mean of those of pixels and of each layer of frozen features."""
        if self.features is None:
            return cycle(reconstruction, original)
        found, wanted = (
            [images, *scaled(self.features(images))] for images in (reconstruction, original)
        )
        return mean([cycle(*pair) for pair in zip(found, wanted, strict=True)])

    def _judged(
        self,
        direction: Direction,
        real: Images,
        fake: Tensor,
        discriminators: Discriminators,
    ) -> dict[str, Tensor]:
        """Losses of a translation before the discriminator of its domain."""
        name, target = direction.name, direction.target
        if not self.adversarial_weight:
            return {f"adversarial_{name}": fake.new_zeros(())}
        if not self.matching_weight:
            loss = discriminators.generator_loss(target, fake, real[target])
            return {f"adversarial_{name}": self.adversarial_weight * loss}
        on_real, expected = discriminators.examine(target, real[target])
        verdicts, found = discriminators.examine(target, fake)
        matching = feature_matching(expected, found)
        return {
            f"adversarial_{name}": self.adversarial_weight
            * discriminators.persuaded(verdicts, on_real),
            f"feature_matching_{name}": self.matching_weight * matching,
        }

    def _translate(self, direction: Direction, real: Images) -> Translations:
        """Translate by one generator all that counts."""
        _, source, target, _ = direction
        inputs = {}
        identity_counts = self.identity_weight[target] or self.contrastive_identity_weight
        weights = (
            self.adversarial_weight,
            self.cycle_weight[source],
            self.contrastive_weight,
            self.detail_weight,
        )
        if identity_counts or any(weights):
            inputs["fake"] = real[source]
        if identity_counts:
            inputs["unchanged"] = real[target]
        if self.paired_weight:
            inputs["of_pair"] = real[paired(source)]
        outputs = apply_to_each(self[direction.name], list(inputs.values()))
        return Translations(**dict(zip(inputs, outputs, strict=True)))


class GeneratorsInTraining(nn.Module):
    """What the generators' optimiser updates: they, and a contrastive loss's projections."""

    def __init__(self, generators: Generators, projections: Projections | None) -> None:
        super().__init__()
        self.generators = generators
        self.projections = projections

    def forward(
        self,
        real: Images,
        discriminators: Discriminators,
        directions: Sequence[Direction] | None = None,
    ) -> GeneratorTurn:
        """Losses of the generators' turn, of some directions or of all."""
        turn: GeneratorTurn = self.generators(real, discriminators, self.projections, directions)
        return turn


def build_generators(config: Config) -> Generators:
    """The generators that are trained, with fresh weights."""
    channels = config.data.channels
    networks: dict[str, nn.Module] = {
        name: build_generator(config.generator, channels[source], channels[target])
        for name, source, target, _ in config.directions
    }
    return Generators(networks, config.loss)


def projections_for(config: Config, generators: Generators) -> Projections | None:
    """Fresh projections for the generators' encoders, if there is a contrastive loss."""
    if not config.loss.contrastive:
        return None
    encoders = {
        source: (generators[name], config.data.channels[source])
        for name, source, _, _ in generators.directions
    }
    return build_projections(encoders, config.data.crop)


def merged(turns: Iterable[GeneratorTurn]) -> GeneratorTurn:
    """The turn of several directions."""
    whole = GeneratorTurn({}, {}, {})
    for turn in turns:
        for part, contribution in zip(whole, turn, strict=True):
            part.update(contribution)
    return whole
