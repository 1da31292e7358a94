"""The discriminators as one module, which is what one optimiser updates.

Its ``forward`` computes the losses of the discriminators' turn. One-sided training has
discriminator_b alone.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cyclegan_style.config import Config, DiscriminatorConfig, LossConfig
from cyclegan_style.networks import build_discriminator
from cyclegan_style.networks.discriminators import (
    PatchDiscriminator,
    PixelDiscriminator,
    WholeDiscriminator,
)
from cyclegan_style.system.constants import constant
from cyclegan_style.training.augment import augment
from cyclegan_style.training.frozen_features import Networks
from cyclegan_style.training.losses import (
    discriminator_adversarial,
    generator_adversarial,
    gradient_penalty,
    mean,
)
from cyclegan_style.training.passes import Images, apply_to_each


class Discriminators(Networks):
    """``discriminators["b"]`` judges domain B: real paintings against generator_ab's.

    Each judges images and, where it has PatchGANs for coarser pictures or heads, the same images
    halved and SqueezeNet's features of them. The adversarial loss is the weighted mean of theirs.
    Gradient penalties are on the PatchGANs' verdicts alone, the mean over scales.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], loss: LossConfig, config: DiscriminatorConfig
    ) -> None:
        super().__init__(networks, config.feature_layers)
        self.objective = loss.adversarial
        self.penalises_gradients = loss.penalises_gradients
        self.penalty = loss.gradient_penalty
        self.penalty_weight = loss.penalty_weight
        self.augmentations = config.augment
        self.weights = [1.0] * config.scales + [config.feature_weight] * len(config.feature_layers)
        self.chance: dict[str, torch.Generator] = {}
        """What the augmentations before each discriminator are drawn by instead of torch's own."""

    def seed_augmentations(self, device: torch.device) -> None:
        """Give each its own draws, so that it does not matter which of them is asked first."""
        if self.augmentations:
            for domain in self:
                seed = int(torch.randint(2**62, ()))
                self.chance[domain] = torch.Generator(device).manual_seed(seed)

    def together(self, losses: Sequence[Tensor]) -> Tensor:
        """One loss of those by each verdict, in the order of ``judge``."""
        if set(self.weights) == {1.0}:
            return mean(losses)
        weights = constant(tuple(self.weights), losses[0])
        return (weights * torch.stack(list(losses))).sum() / weights.sum()

    def judge(self, domain: str, images: Tensor) -> list[Tensor]:
        """Verdicts on images that claim to be of the domain, seen through the augmentations.

        The first are the PatchGAN's, then come those of coarser scales and of the heads.
        """
        seen = self._augmented(domain, images)
        return [self[domain](seen), *self._beside_the_first(domain, seen)]

    def generator_loss(self, domain: str, fake: Tensor, real: Tensor) -> Tensor:
        """The loss of a generator that made ``fake``."""
        verdicts = self.judge(domain, fake)
        on_real: Sequence[Tensor | None] = [None] * len(verdicts)
        if self.objective == "relativistic":
            on_real = self.judge(domain, real)
        return self.persuaded(verdicts, on_real)

    def persuaded(self, verdicts: Sequence[Tensor], on_real: Sequence[Tensor | None]) -> Tensor:
        """The same loss, of what is said of its images and, where that counts, of real ones."""
        pairs = zip(verdicts, on_real, strict=True)
        return self.together([generator_adversarial(self.objective, *pair) for pair in pairs])

    def examine(self, domain: str, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What ``judge`` returns, and the activations of all PatchGANs that led to it."""
        seen, judge = self._augmented(domain, images), self._judge(domain)
        looks = [judge.activations(seen), *judge.scales.activations(seen)]
        verdicts = [verdict for _, verdict in looks]
        activations = [each for found, _ in looks for each in found]
        return [*verdicts, *self._of_heads(domain, seen)], activations

    def forward(self, real: Images, fakes: Images) -> dict[str, Tensor]:
        """Losses of the discriminators on real images and (pooled) translations."""
        return {
            f"discriminator_{domain}": self.loss(domain, real[domain], fakes[domain])
            for domain in self
        }

    def loss(self, domain: str, real: Tensor, fake: Tensor) -> Tensor:
        """The loss of one discriminator on real images and translations."""
        real = self._augmented(domain, real)
        fake = self._augmented(domain, fake.detach())
        real_verdict, fake_verdict = apply_to_each(self[domain], [real, fake])
        verdicts = [(real_verdict, fake_verdict)]
        beside = [self._beside_the_first(domain, images) for images in (real, fake)]
        verdicts += zip(*beside, strict=True)
        losses = [discriminator_adversarial(self.objective, *pair) for pair in verdicts]
        loss = self.together(losses)
        if self.penalises_gradients:
            # Squared gradients leave the range of 16 bits, so the penalty is kept out of autocast.
            with torch.autocast(real.device.type, enabled=False):
                penalty = self._gradient_penalty(domain, real, fake)
            loss = loss + self.penalty_weight * penalty
        # Halved, which slows the discriminators relative to the generators (Zhu et al., sec. 7.2).
        return 0.5 * loss

    def _augmented(self, domain: str, images: Tensor) -> Tensor:
        return augment(images, self.augmentations, self.chance.get(domain))

    def _gradient_penalty(self, domain: str, real: Tensor, fake: Tensor) -> Tensor:
        """The mean over the scales; each has the gradient by the pictures that it sees."""
        scales = self._judge(domain).scales
        seen = [(real, fake), *zip(scales.pictures(real), scales.pictures(fake), strict=True)]
        return mean(
            [
                gradient_penalty(self.objective, self.penalty, judge, *images)
                for judge, images in zip((self[domain], *scales.values()), seen, strict=True)
            ]
        )

    def _beside_the_first(self, domain: str, images: Tensor) -> list[Tensor]:
        """Verdicts on halved images, and on the features of images."""
        return [*self._judge(domain).scales(images), *self._of_heads(domain, images)]

    def _of_heads(self, domain: str, images: Tensor) -> list[Tensor]:
        """Verdicts on the features of images."""
        if self.features is None:
            return []
        verdicts: list[Tensor] = self._judge(domain).heads(self.features(images))
        return verdicts

    def _judge(self, domain: str) -> PatchDiscriminator | PixelDiscriminator | WholeDiscriminator:
        judge = self[domain]
        assert isinstance(judge, PatchDiscriminator | PixelDiscriminator | WholeDiscriminator)
        return judge


def build_discriminators(config: Config) -> Discriminators:
    """The discriminators that are trained, with fresh weights."""
    networks = {
        domain: build_discriminator(config.discriminator, config.data.channels[domain])
        for domain in config.made_domains
    }
    return Discriminators(networks, config.loss, config.discriminator)
