"""Discriminators: one verdict per patch (PatchGAN), per pixel or per picture.

Each may have heads on features beside it, and a PatchGAN others for coarser pictures. They
are called by themselves.
"""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.config import DiscriminatorConfig
from cyclegan_style.networks.feature_heads import FeatureHeads
from cyclegan_style.networks.layers import build_norm, has_bias

MOST_SCALES = 16
LAST_SIDE = 4
"""Side of the map of which a verdict on a whole picture is made."""
SCALES = "scales."
"""What the keys of PatchGANs for coarser pictures begin with in a discriminator's state."""


class PatchDiscriminator(nn.Module):
    """PatchGAN of Isola et al. (2017); three strided layers judge patches of 70×70 pixels."""

    def __init__(self, in_channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        if config.scales > MOST_SCALES:
            raise ValueError(
                f"discriminator.scales is {config.scales}, and no picture can be halved so often"
            )
        self.model = patch_layers(in_channels, config)
        self.heads = FeatureHeads(config.feature_layers)
        self.scales = CoarserScales(
            patch_layers(in_channels, config) for _ in range(config.scales - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W images to N×1×h×w verdicts, one per patch, without a sigmoid."""
        out: Tensor = self.model(x)
        return out

    def activations(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Activations of the inner layers, and the verdicts."""
        return activations_of(self.model, x)


def activations_of(layers: Iterable[nn.Module], x: Tensor) -> tuple[list[Tensor], Tensor]:
    """What comes out of each nonlinearity of a row of layers, and out of the last layer."""
    activations = []
    for layer in layers:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            activations.append(x)
    return activations, x


def patch_layers(in_channels: int, config: DiscriminatorConfig) -> nn.Sequential:
    """The convolutions of a PatchGAN."""
    channels, layers, norm = config.channels, config.layers, config.norm
    modules: list[nn.Module] = [
        nn.Conv2d(in_channels, channels, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
    ]
    width = channels
    for depth in range(1, layers + 1):
        next_width = channels * min(2**depth, 8)
        stride = 2 if depth < layers else 1
        modules += [
            nn.Conv2d(width, next_width, 4, stride=stride, padding=1, bias=has_bias(norm)),
            build_norm(norm, next_width),
            nn.LeakyReLU(0.2),
        ]
        width = next_width
    modules.append(nn.Conv2d(width, 1, 4, stride=1, padding=1))
    return nn.Sequential(*modules)


class CoarserScales(nn.ModuleDict):
    """Judges of pictures that are halved once, twice and so on (Wang et al., 2018)."""

    def __init__(self, judges: Iterable[nn.Module]) -> None:
        super().__init__({str(number): judge for number, judge in enumerate(judges, start=1)})

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map N×C×H×W images to the N×1×h×w verdicts of each judge."""
        return [
            judge(halved)
            for judge, halved in zip(self.values(), self.pictures(images), strict=True)
        ]

    def activations(self, images: Tensor) -> list[tuple[list[Tensor], Tensor]]:
        """Activations of each judge's inner layers, and its verdicts."""
        pairs = zip(self.values(), self.pictures(images), strict=True)
        return [activations_of(judge.children(), halved) for judge, halved in pairs]

    def pictures(self, images: Tensor) -> list[Tensor]:
        """What each judge sees: means over 2×2 pixels, means over 2×2 of those and so on."""
        seen = []
        for _ in self:
            images = F.avg_pool2d(images, 2)
            seen.append(images)
        return seen


class PixelDiscriminator(nn.Module):
    """1×1 convolutions: judges the colours of each pixel alone."""

    def __init__(self, in_channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        channels, norm = config.channels, config.norm
        bias = has_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 1, bias=bias),
            build_norm(norm, 2 * channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 1, 1, bias=bias),
        )
        self.heads = FeatureHeads(config.feature_layers)
        self.scales = CoarserScales(())

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W images to N×1×H×W verdicts, without a sigmoid."""
        out: Tensor = self.net(x)
        return out

    def activations(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Activations of the inner layers, and the verdicts."""
        return activations_of(self.net, x)


class WholeDiscriminator(nn.Module):
    """Halvings down to a map of 4×4, of which one verdict is made (Radford et al., 2016)."""

    def __init__(self, in_channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        channels, norm = config.channels, config.norm
        modules: list[nn.Module] = [
            nn.Conv2d(in_channels, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        width = channels
        for depth in range(1, config.layers):
            next_width = channels * min(2**depth, 8)
            modules += [
                nn.Conv2d(width, next_width, 4, stride=2, padding=1, bias=has_bias(norm)),
                build_norm(norm, next_width),
                nn.LeakyReLU(0.2),
            ]
            width = next_width
        self.whole = nn.Sequential(*modules, nn.Conv2d(width, 1, LAST_SIDE))
        self.heads = FeatureHeads(config.feature_layers)
        self.scales = CoarserScales(())

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×S×S images, S = 4 · 2^layers, to N×1×1×1 verdicts, without a sigmoid."""
        out: Tensor = self.whole(x)
        return out

    def activations(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Activations of the inner layers, and the verdicts."""
        return activations_of(self.whole, x)


def side_of_whole(layers: int) -> int:
    """Side of the pictures that so many halvings leave a map of 4×4 of."""
    return LAST_SIDE << layers
