"""One step of a generator that makes pictures out of noise (Goodfellow et al., 2014).

A new latent for each real picture: the generator learns from what the discriminator says of its
picture, then the discriminator from both.
"""

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from cyclegan_style.applying.generate import NoisePainter, grid
from cyclegan_style.config import Config, square_side
from cyclegan_style.data.images import Pixels
from cyclegan_style.networks import build_noise_generator
from cyclegan_style.networks.unfilled import unfilled
from cyclegan_style.training.cyclegan import Generators
from cyclegan_style.training.discriminators import Discriminators, build_discriminators
from cyclegan_style.training.passes import Images, frozen
from cyclegan_style.training.step import Losses, TrainingStep, means_of

MADE = "b"
"""The domain like whose pictures the generator makes new ones, and its name."""
SAMPLES = 36
"""Pictures of a sample: the first that ``generate`` makes with seed 0."""


class Maker(nn.Module):
    """What the generator's optimiser updates: the generator, before the discriminator."""

    def __init__(self, generators: Generators) -> None:
        super().__init__()
        self.generators = generators

    def forward(
        self, latents: Tensor, real: Images, discriminators: Discriminators
    ) -> tuple[Tensor, Tensor]:
        """The loss of new pictures, and the pictures."""
        made = self.generators[MADE](latents)
        with frozen(discriminators):
            return discriminators.generator_loss(MADE, made, real[MADE]), made.detach()


class NoiseStep(TrainingStep):
    """A generator that learns to make pictures like data.b, and its discriminator."""

    discriminators: Discriminators

    def __init__(
        self, config: Config, accelerator: Accelerator, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(config, accelerator, dtype)
        self.config = config
        torch.manual_seed(config.train.seed)
        data = config.data
        side = square_side(data.crop_size)
        network = build_noise_generator(config.generator, side, data.channels_b)
        self.generators = Generators({MADE: network}, config.loss).to(**self.place)
        self.discriminators = build_discriminators(config).to(**self.place)
        self._prepare_generators(config.train)
        self._prepare_discriminators(self.discriminators, config)
        self.wrapped_maker = accelerator.prepare_model(Maker(self.generators))
        self.wrapped_discriminators = accelerator.prepare_model(self.discriminators)
        self._add_optimizer("generator_optimizer", self.generators, config.optimizer)
        self._add_optimizer("discriminator_optimizer", self.discriminators, config.optimizer)

    @property
    def trained(self) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        return {"generators": self.generators, "discriminators": self.discriminators}

    def set_progress(self, share: float, steps: int) -> None:
        """Nothing here changes while training goes on."""

    def learn(self, batches: Sequence[Images]) -> Losses:
        """Both turns."""
        made, losses = self._generator_turn(batches)
        for index, (batch, pictures) in enumerate(zip(batches, made, strict=True)):
            last = index == len(batches) - 1
            with self._gradient_exchange(self.wrapped_discriminators, last):
                of_judge: Losses = self.wrapped_discriminators(batch, {MADE: pictures})
                losses[index] |= of_judge
                self.accelerator.backward(of_judge[f"discriminator_{MADE}"] / len(batches))
        self._update(self.discriminators, self.optimizers["discriminator_optimizer"])
        return means_of(losses)

    def _generator_turn(self, batches: Sequence[Images]) -> tuple[list[Tensor], list[Losses]]:
        """New pictures and the losses of each batch."""
        made, losses = [], []
        for index, batch in enumerate(batches):
            with self._gradient_exchange(self.wrapped_maker, index == len(batches) - 1):
                latents = self._new_latents(batch[MADE])
                loss, pictures = self.wrapped_maker(latents, batch, self.discriminators)
                self.accelerator.backward(loss / len(batches))
            made.append(pictures)
            losses.append({f"adversarial_{MADE}": loss})
        self._update(self.generators, self.optimizers["generator_optimizer"])
        return made, losses

    def _new_latents(self, real: Tensor) -> Tensor:
        """As many as there are real pictures, drawn by torch's own generator."""
        size = (len(real), self.config.generator.latent)
        return torch.randn(size, device=real.device, dtype=real.dtype)

    def sample(self, tests: Mapping[str, Sequence[Tensor]]) -> Pixels:
        """The first pictures that a user would get."""
        painter = painter_of(self.exported_generators, self.config, self.accelerator.device)
        return grid(list(painter.numbered(range(SAMPLES))))


def painter_of(generators: Generators, config: Config, device: torch.device) -> NoisePainter:
    """What a user will have of a generator in training: a copy of it, at rest."""
    state = {key: value.detach().clone() for key, value in generators[MADE].state_dict().items()}
    with unfilled():
        network = build_noise_generator(
            config.generator, square_side(config.data.crop_size), config.data.channels_b
        )
    network.load_state_dict(state, assign=True)
    return NoisePainter(network.eval(), config.generator.latent, device)
