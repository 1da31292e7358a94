"""The generator that makes pictures out of noise (DCGAN; Radford et al., 2016)."""

from itertools import pairwise

from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.layers import build_norm, has_bias
from cyclegan_style.networks.resampling import doubling, last_doubling
from cyclegan_style.networks.sizes import kernels_at_ends

FIRST_SIDE = 4
"""Side of the map that a latent is projected to."""
SMALLEST_PICTURE, LARGEST_PICTURE = 8, 1024


class NoiseGenerator(nn.Module):
    """A latent projected to a map of 4×4, doublings up to the picture, tanh.

    The last doubling makes the picture of ``config.channels`` maps; maps of half the size are twice
    as many, up to eight times.
    """

    def __init__(self, side: int, out_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        doublings = doublings_to(side)
        widths = [config.channels * min(2**depth, 8) for depth in reversed(range(doublings))]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(config.latent, widths[0], FIRST_SIDE, bias=has_bias(config.norm)),
            build_norm(config.norm, widths[0]),
            nn.ReLU(),
        ]
        for width, next_width in pairwise(widths):
            layers += [
                *doubling(width, next_width, 4, config),
                build_norm(config.norm, next_width),
                nn.ReLU(),
            ]
        _, last = kernels_at_ends(config)
        layers += [last_doubling(widths[-1], out_channels, last, config), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Map N×L latents to N×C×S×S pictures in [-1, 1]."""
        out: Tensor = self.model(latents[:, :, None, None])
        return out


def doublings_to(side: int) -> int:
    """How often a side of 4 is doubled to this one; a ValueError if it cannot be."""
    if not SMALLEST_PICTURE <= side <= LARGEST_PICTURE or side & (side - 1):
        raise ValueError(
            f"{side} pixels are not 4 doubled a few times: {SMALLEST_PICTURE} to {LARGEST_PICTURE}"
        )
    return (side // FIRST_SIDE).bit_length() - 1
