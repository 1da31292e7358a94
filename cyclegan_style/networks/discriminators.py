"""Discriminators: one verdict per patch (PatchGAN) or per pixel.

Either may have heads on features beside it, which are called by themselves.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from cyclegan_style.config import FeatureLayer
from cyclegan_style.networks.feature_heads import FeatureHeads
from cyclegan_style.networks.layers import NormName, build_norm, has_bias


class PatchDiscriminator(nn.Module):
    """PatchGAN of Isola et al. (2017); three strided layers judge patches of 70×70 pixels."""

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 64,
        layers: int = 3,
        norm: NormName = "instance",
        feature_layers: Sequence[FeatureLayer] = (),
    ) -> None:
        super().__init__()
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
        self.model = nn.Sequential(*modules)
        self.heads = FeatureHeads(feature_layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W images to N×1×h×w verdicts, one per patch, without a sigmoid."""
        out: Tensor = self.model(x)
        return out


class PixelDiscriminator(nn.Module):
    """1×1 convolutions: judges the colours of each pixel alone."""

    def __init__(
        self,
        in_channels: int,
        *,
        channels: int = 64,
        norm: NormName = "instance",
        feature_layers: Sequence[FeatureLayer] = (),
    ) -> None:
        super().__init__()
        bias = has_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 1, bias=bias),
            build_norm(norm, 2 * channels),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, 1, 1, bias=bias),
        )
        self.heads = FeatureHeads(feature_layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W images to N×1×H×W verdicts, without a sigmoid."""
        out: Tensor = self.net(x)
        return out
