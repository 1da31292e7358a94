"""A U-Net of residual blocks with normalisation and activation before each convolution."""

from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.attention import SelfAttention
from cyclegan_style.networks.layers import GAIN, Border, build_norm, convolution
from cyclegan_style.networks.resampling import doubling, halving, unet_from
from cyclegan_style.networks.sizes import kernels_at_ends


class PreactivatedBlock(nn.Module):
    """x + f(x), where f is norm, activation and a 3×3 convolution (He et al., 2016)."""

    def __init__(self, channels: int, config: GeneratorConfig, *, dropout: bool = False) -> None:
        super().__init__()
        gain = GAIN * config.levels**-0.5
        self.body = nn.Sequential(
            build_norm(config.norm, channels),
            nn.ReLU(),
            Border(1, config.padding),
            convolution(channels, channels, 3, config.norm, gain=gain),
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

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        channels, levels = config.channels, config.levels
        widths = [channels * min(2**depth, 8) for depth in range(levels)]
        # At one pixel there is nothing to normalise.
        inner: nn.Module = nn.LeakyReLU(0.2)
        for depth in reversed(range(levels - 1)):
            width, width_below = widths[depth : depth + 2]
            below = nn.Sequential(
                halving(width, width_below, 4, config, gain=1.0),
                inner,
                *doubling(width_below, width, 4, config, gain=0.5**0.5),
            )
            encode: nn.Module = PreactivatedBlock(width, config)
            if config.attention and depth == levels - 3:
                encode = nn.Sequential(encode, SelfAttention(width))
            inner = ResidualUnetLevel(
                encode,
                below,
                PreactivatedBlock(width, config, dropout=config.dropout and depth >= 4),
            )
        first = halving(in_channels, channels, kernels_at_ends(config)[0], config)
        self.model = unet_from(
            [first, inner, build_norm(config.norm, channels), nn.ReLU()],
            channels,
            (in_channels, out_channels),
            config,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Translate N×C×H×W in [-1, 1]; H and W must be divisible by 2 to the power of levels."""
        out: Tensor = self.model(x)
        return out
