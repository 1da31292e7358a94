"""A U-Net of residual blocks with normalisation and activation before each convolution."""

from torch import Tensor, nn

from cyclegan_style.networks.attention import SelfAttention
from cyclegan_style.networks.layers import GAIN, GeneratorNormName, build_norm, convolution
from cyclegan_style.networks.resampling import (
    Downsampling,
    Upsampling,
    doubling,
    halving,
    unet_from,
)


class PreactivatedBlock(nn.Module):
    """x + f(x), where f is norm, activation and a 3×3 convolution (He et al., 2016)."""

    def __init__(
        self, channels: int, norm: GeneratorNormName, gain: float, *, dropout: bool = False
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            build_norm(norm, channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            convolution(channels, channels, 3, norm, gain=gain),
        )
        if dropout:
            self.body.append(nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        out: Tensor = x + self.body(x)
        return out


class ResidualUnetLevel(nn.Module):
    """A block, what lies below added to what it gives, and a block again."""

    def __init__(self, encode: nn.Module, below: nn.Sequential, decode: PreactivatedBlock) -> None:
        super().__init__()
        self.encode = encode
        self.below = below
        self.decode = decode

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        encoded = self.encode(x)
        out: Tensor = self.decode(encoded + self.below(encoded))
        return out


class ResidualUnetGenerator(nn.Module):
    """Encoder and decoder of ``levels`` halvings, the decoder's maps added to the encoder's.

    Sums have half the channels of the pairs that a U-Net's decoder sees, which pays for the blocks.
    Halvings and doublings are linear. Demodulated ones keep the mean square of a level near that of
    the picture: the maps from below come with half of it, and blocks add 1 / levels. ``attention``
    lies two halvings above the deepest map.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 64,
        levels: int = 8,
        norm: GeneratorNormName = "instance",
        dropout: bool = False,
        upsampling: Upsampling = "transposed",
        downsampling: Downsampling = "strided",
        skip: bool = False,
        attention: bool = False,
        full_size_channels: int = 0,
    ) -> None:
        super().__init__()
        widths = [channels * min(2**depth, 8) for depth in range(levels)]
        block_gain = GAIN * levels**-0.5
        # At one pixel there is nothing to normalise.
        inner: nn.Module = nn.LeakyReLU(0.2)
        for depth in reversed(range(levels - 1)):
            width, width_below = widths[depth : depth + 2]
            below = nn.Sequential(
                halving(width, width_below, 4, downsampling, norm, gain=1.0),
                inner,
                *doubling(width_below, width, 4, upsampling, norm, gain=0.5**0.5),
            )
            encode: nn.Module = PreactivatedBlock(width, norm, block_gain)
            if attention and depth == levels - 3:
                encode = nn.Sequential(encode, SelfAttention(width))
            inner = ResidualUnetLevel(
                encode,
                below,
                PreactivatedBlock(width, norm, block_gain, dropout=dropout and depth >= 4),
            )
        first = halving(in_channels, channels, 4, downsampling, norm)
        self.model = unet_from(
            [first, inner, build_norm(norm, channels), nn.ReLU()],
            channels,
            (in_channels, out_channels),
            upsampling,
            full_size_channels=full_size_channels,
            skip=skip,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Translate N×C×H×W in [-1, 1]; H and W must be divisible by 2 to the power of levels."""
        out: Tensor = self.model(x)
        return out
