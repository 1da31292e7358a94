"""The residual generator of Johnson et al. (2016) as CycleGAN uses it."""

from itertools import groupby

from torch import Tensor, nn

from cyclegan_style.networks.attention import SelfAttention
from cyclegan_style.networks.layers import GAIN, GeneratorNormName, build_norm, convolution
from cyclegan_style.networks.resampling import (
    ChangeOfInput,
    Downsampling,
    Upsampling,
    doubling,
    halving,
    last_layers,
)


class ResidualBlock(nn.Module):
    """x + f(x), where f is two 3×3 convolutions with reflection padding.

    ``gain`` is that of the second if it is demodulated. Where nothing is normalised, a row of n
    blocks multiplies the mean square by e with 1 / √n, and by 3ⁿ with the gain of other layers.
    """

    def __init__(
        self, channels: int, norm: GeneratorNormName, dropout: bool, gain: float = GAIN
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(1),
            convolution(channels, channels, 3, norm),
            build_norm(norm, channels),
            nn.ReLU(),
        ]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [
            nn.ReflectionPad2d(1),
            convolution(channels, channels, 3, norm, gain=gain),
            build_norm(norm, channels),
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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 64,
        blocks: int = 9,
        norm: GeneratorNormName = "instance",
        dropout: bool = False,
        upsampling: Upsampling = "transposed",
        downsampling: Downsampling = "strided",
        skip: bool = False,
        attention: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module]
        if downsampling == "unshuffled":
            layers = [
                nn.PixelUnshuffle(4),
                nn.ReflectionPad2d(1),
                convolution(16 * in_channels, 4 * channels, 3, norm),
                build_norm(norm, 4 * channels),
                nn.ReLU(),
            ]
        else:
            layers = [
                nn.ReflectionPad2d(3),
                convolution(in_channels, channels, 7, norm),
                build_norm(norm, channels),
                nn.ReLU(),
            ]
        halved = () if downsampling == "unshuffled" else (channels, 2 * channels)
        for width in halved:
            layers += [
                halving(width, 2 * width, 3, downsampling, norm),
                build_norm(norm, 2 * width),
                nn.ReLU(),
            ]
        row: list[nn.Module] = [
            ResidualBlock(4 * channels, norm, dropout, blocks**-0.5) for _ in range(blocks)
        ]
        if attention:
            row.insert(blocks // 2, SelfAttention(4 * channels))
        layers += row
        for width in (4 * channels, 2 * channels):
            layers += [
                *doubling(width, width // 2, 3, upsampling, norm),
                build_norm(norm, width // 2),
                nn.ReLU(),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(channels, out_channels, 7), *last_layers(skip)]
        self.model = (ChangeOfInput if skip else nn.Sequential)(*layers)

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
