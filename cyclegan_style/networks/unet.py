"""The U-Net generator of pix2pix (Isola et al., 2017)."""

import torch
from torch import Tensor, nn

from cyclegan_style.networks.layers import NormName, build_norm, has_bias


class UnetLevel(nn.Module):
    """One halving of the resolution, what lies below it, and the doubling back."""

    def __init__(self, layers: list[nn.Module], *, skip: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the level's output, with its input beside it where there is a skip."""
        out: Tensor = self.model(x)
        return torch.cat([x, out], dim=1) if self.skip else out


class UnetGenerator(nn.Module):
    """Encoder and decoder of ``levels`` halvings with a skip at each; the reference's keys.

    The reference's in-place activations hand LeakyReLU(x) instead of x to the skip; the ReLU that
    follows maps both to the same values, so here x itself is handed on.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 64,
        levels: int = 8,
        norm: NormName = "instance",
        dropout: bool = False,
    ) -> None:
        super().__init__()
        deepest = 8 * channels
        level = innermost_level(deepest, norm)
        for _ in range(levels - 5):
            level = inner_level(deepest, deepest, level, norm, dropout=dropout)
        for factor in (4, 2, 1):
            level = inner_level(
                factor * channels, 2 * factor * channels, level, norm, dropout=False
            )
        self.model = outermost_level(in_channels, out_channels, channels, level, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Translate N×C×H×W in [-1, 1]; H and W must be divisible by 2 to the power of levels."""
        out: Tensor = self.model(x)
        return out


def halving(in_channels: int, out_channels: int, norm: NormName) -> nn.Conv2d:
    """Strided 4×4 convolution to half the resolution."""
    return nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=has_bias(norm))


def doubling(in_channels: int, out_channels: int, *, bias: bool) -> nn.ConvTranspose2d:
    """Transposed 4×4 convolution to twice the resolution."""
    return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=bias)


def innermost_level(channels: int, norm: NormName) -> UnetLevel:
    """The bottleneck, which at one pixel has nothing to normalise on the way down."""
    return UnetLevel(
        [
            nn.LeakyReLU(0.2),
            halving(channels, channels, norm),
            nn.ReLU(),
            doubling(channels, channels, bias=has_bias(norm)),
            build_norm(norm, channels),
        ],
        skip=True,
    )


def inner_level(
    outer_channels: int,
    inner_channels: int,
    level_below: UnetLevel,
    norm: NormName,
    *,
    dropout: bool,
) -> UnetLevel:
    """A level in the middle; its decoder also sees the skip of the level below."""
    layers: list[nn.Module] = [
        nn.LeakyReLU(0.2),
        halving(outer_channels, inner_channels, norm),
        build_norm(norm, inner_channels),
        level_below,
        nn.ReLU(),
        doubling(2 * inner_channels, outer_channels, bias=has_bias(norm)),
        build_norm(norm, outer_channels),
    ]
    if dropout:
        layers.append(nn.Dropout(0.5))
    return UnetLevel(layers, skip=True)


def outermost_level(
    in_channels: int, out_channels: int, channels: int, level_below: UnetLevel, norm: NormName
) -> UnetLevel:
    """The level that meets the image: no norm, and tanh at the end."""
    return UnetLevel(
        [
            halving(in_channels, channels, norm),
            level_below,
            nn.ReLU(),
            doubling(2 * channels, out_channels, bias=True),
            nn.Tanh(),
        ],
        skip=False,
    )
