"""The residual generator of Johnson et al. (2016) as CycleGAN uses it."""

from itertools import groupby

from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.attention import SelfAttention
from cyclegan_style.networks.layers import Border, build_norm, convolution
from cyclegan_style.networks.resampling import around, doubling, halving
from cyclegan_style.networks.sizes import kernels_at_ends


class ResidualBlock(nn.Module):
    """x + f(x), where f is two 3×3 convolutions.

    The second has a gain of its own if it is demodulated. Where nothing is normalised, a row of n
    blocks multiplies the mean square by e with 1 / √n, and by 3ⁿ with the gain of other layers.
    """

    def __init__(self, channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            Border(1, config.padding),
            convolution(channels, channels, 3, config.norm),
            build_norm(config.norm, channels),
            nn.ReLU(),
        ]
        if config.dropout:
            layers.append(nn.Dropout(0.5))
        layers += [
            Border(1, config.padding),
            convolution(channels, channels, 3, config.norm, gain=config.blocks**-0.5),
            build_norm(config.norm, channels),
        ]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        out: Tensor = x + self.conv_block(x)
        return out


class ResnetGenerator(nn.Module):
    """Two halvings, residual blocks, two doublings, tanh.

    Its keys are the reference's, unless ``upsampling`` or an unshuffled input puts other layers in
    their place, or ``attention`` one between them, in the middle of the blocks.
    """

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        channels, norm, padding = config.channels, config.norm, config.padding
        first, last = kernels_at_ends(config)
        layers: list[nn.Module]
        if config.downsampling == "unshuffled":
            layers = [
                nn.PixelUnshuffle(4),
                Border(1, padding),
                convolution(16 * in_channels, 4 * channels, 3, norm),
                build_norm(norm, 4 * channels),
                nn.ReLU(),
            ]
        else:
            layers = [
                Border(first // 2, padding),
                convolution(in_channels, channels, first, norm),
                build_norm(norm, channels),
                nn.ReLU(),
            ]
        halved = () if config.downsampling == "unshuffled" else (channels, 2 * channels)
        for width in halved:
            layers += [
                halving(width, 2 * width, 3, config),
                build_norm(norm, 2 * width),
                nn.ReLU(),
            ]
        row: list[nn.Module] = [ResidualBlock(4 * channels, config) for _ in range(config.blocks)]
        if config.attention:
            row.insert(config.blocks // 2, SelfAttention(4 * channels))
        layers += row
        for width in (4 * channels, 2 * channels):
            layers += [
                *doubling(width, width // 2, 3, config),
                build_norm(norm, width // 2),
                nn.ReLU(),
            ]
        layers += [
            Border(last // 2, padding),
            nn.Conv2d(channels, out_channels, last),
        ]
        self.model = around(layers, config)

    def forward(self, x: Tensor) -> Tensor:
        """Translate N×C×H×W in [-1, 1]; H and W divisible by 4 come out unchanged."""
        out: Tensor = self.model(x)
        return out


def segments(layers: nn.Sequential, blocks: int) -> list[nn.Module]:
    """A resnet's layers before the blocks, the blocks by so many, and the layers after them."""
    found: list[nn.Module] = []
    for are_blocks, row in groupby(layers, lambda layer: isinstance(layer, ResidualBlock)):
        run = list(row)
        length = blocks if are_blocks else len(run)
        pieces = [run[start : start + length] for start in range(0, len(run), length)]
        found += [piece[0] if len(piece) == 1 else nn.Sequential(*piece) for piece in pieces]
    return found
