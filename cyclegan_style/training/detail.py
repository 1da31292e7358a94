"""Translations as rich in fine detail as the pictures of their domain.

A discriminator of patches sees a pattern sooner than its strength. In a short training generators
then keep the detail of their input, too strong for one domain and too weak for the other, though
how much detail each domain has is known from few pictures.
"""

import torch
from torch import Tensor, nn

from cyclegan_style.config.directions import DIRECTIONS, DOMAINS
from cyclegan_style.evaluation.paired import gradient_energy

FAINTEST = 1e-4
"""Energy of a pixel that counts as none: of a difference of little more than a level of 255."""


class DomainDetail(nn.Module):
    """How much fine detail the pictures of each domain have, the mean of all seen so far."""

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(len(DOMAINS)))

    def add(self, found: Tensor) -> None:
        """Count the detail of a batch of each domain, in their order."""
        self.sums += found

    def wanted(self) -> dict[str, Tensor]:
        """The logarithm of the target's detail over the source's, by direction."""
        logarithms = dict(zip(DOMAINS, self.sums.log(), strict=True))
        return {
            name: logarithms[target] - logarithms[source] for name, source, target, _ in DIRECTIONS
        }


def detail_of(images: Tensor) -> Tensor:
    """Energy of the gradients of each image, of N×C×H×W in [-1, 1], per pixel."""
    energies = gradient_energy(images) / images[0, 0].numel()
    return energies.to(torch.promote_types(images.dtype, torch.float32)) + FAINTEST


def distance_of_detail(translations: Tensor, originals: Tensor, wanted: Tensor) -> Tensor:
    """(log e(G(x)) − log e(x) − wanted)², where e is the detail of each picture."""
    gained = detail_of(translations).log() - detail_of(originals).log()
    return (gained - wanted).square().mean()
