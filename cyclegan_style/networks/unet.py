"""The U-Net generator of pix2pix (Isola et al., 2017)."""

import torch
from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.attention import SelfAttention
from cyclegan_style.networks.layers import build_norm
from cyclegan_style.networks.resampling import doubling, halving, unet_from
from cyclegan_style.networks.sizes import kernels_at_ends


class UnetLevel(nn.Module):
    """One halving of the resolution, what lies below it, and the doubling back."""

    def __init__(self, model: nn.Sequential, *, skip: bool) -> None:
        super().__init__()
        self.model = model
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the level's output, with its input beside it where there is a skip."""
        out: Tensor = self.model(x)
        return torch.cat([x, out], dim=1) if self.skip else out


class UnetGenerator(nn.Module):
    """Encoder and decoder of ``levels`` halvings with a skip at each.

    Its keys are the reference's, unless ``upsampling`` puts other layers in their place, or
    ``attention`` one between them, two halvings above the deepest map. The reference's in-place
    activations hand LeakyReLU(x) instead of x to the skip; the ReLU that follows maps both to the
    same values, so here x itself is handed on.
    """

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        channels, levels = config.channels, config.levels
        if levels < 5:
            raise ValueError(f"a U-Net has at least five levels, not {levels}")
        level = innermost_level(8 * channels, config)
        for above in reversed(range(levels - 2)):  # halvings that are above a level
            outer, inner = (channels * min(2**depth, 8) for depth in (above, above + 1))
            level = inner_level(
                outer,
                inner,
                level,
                config,
                dropout=config.dropout and above >= 3,
                attention=config.attention and above == levels - 4,
            )
        first = halving(in_channels, channels, kernels_at_ends(config)[0], config)
        outermost = unet_from(
            [first, level, nn.ReLU()], 2 * channels, (in_channels, out_channels), config
        )
        self.model = UnetLevel(outermost, skip=False)

    def forward(self, x: Tensor) -> Tensor:
        """Translate N×C×H×W in [-1, 1]; H and W must be divisible by 2 to the power of levels."""
        out: Tensor = self.model(x)
        return out


def innermost_level(channels: int, config: GeneratorConfig) -> UnetLevel:
    """The bottleneck, which at one pixel has nothing to normalise on the way down."""
    layers = [
        nn.LeakyReLU(0.2),
        halving(channels, channels, 4, config),
        nn.ReLU(),
        *doubling(channels, channels, 4, config),
        build_norm(config.norm, channels),
    ]
    return UnetLevel(nn.Sequential(*layers), skip=True)


def inner_level(
    outer_channels: int,
    inner_channels: int,
    level_below: UnetLevel,
    config: GeneratorConfig,
    *,
    dropout: bool,
    attention: bool,
) -> UnetLevel:
    """A level in the middle; its decoder also sees the skip of the level below."""
    layers: list[nn.Module] = [
        nn.LeakyReLU(0.2),
        halving(outer_channels, inner_channels, 4, config),
        build_norm(config.norm, inner_channels),
        *([SelfAttention(inner_channels)] if attention else []),
        level_below,
        nn.ReLU(),
        *doubling(2 * inner_channels, outer_channels, 4, config),
        build_norm(config.norm, outer_channels),
    ]
    if dropout:
        layers.append(nn.Dropout(0.5))
    return UnetLevel(nn.Sequential(*layers), skip=True)
