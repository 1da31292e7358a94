"""Halvings and doublings of the resolution, and a generator's way around all of them."""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.networks.layers import (
    GAIN,
    DemodulatedConvolution,
    DemodulatedTransposedConvolution,
    GeneratorNormName,
    convolution,
    has_bias,
    with_gain,
)
from cyclegan_style.system.constants import constant

Enlargement = Literal["nearest", "bilinear"]
Upsampling = Literal["transposed", Enlargement, "subpixel"]
Downsampling = Literal["strided", "blurred", "unshuffled"]

KEPT_OF_INPUT = 0.96
"""Part of a picture that begins as the translation; atanh has no value at 1."""
FIRST_CHANGE = 0.05
"""What the last layer's first weights are multiplied by where a picture is only changed."""


class BlurredConvolution(nn.Conv2d):
    """A strided convolution of a blurred map, which has nothing left for the stride to alias.

    Zhang (2019) convolves, blurs and then leaves rows and columns out. Convolution and blur can be
    exchanged, so that the stride may do it, at a quarter of the work.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to half the sides, of which none may be 1."""
        return super().forward(blurred(F.pad(x, (1, 1, 1, 1), mode="reflect")))


class DemodulatedBlurredConvolution(DemodulatedConvolution, BlurredConvolution):
    """Both at once."""


class EnlargingConvolution(nn.Conv2d):
    """A 3×3 convolution of a map enlarged to twice its sides, in one step.

    Each pixel of the map reaches the same few pixels of the output by either operation, so that
    both are one transposed convolution, whose kernel is the product of theirs; the enlarged map,
    four times as large, need not exist. Its kernel is as long in all four phases of the stride as
    the enlargement makes it, and leaves no grid.
    """

    def __init__(self, in_channels: int, out_channels: int, upsampling: Enlargement) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, padding_mode="replicate")
        self.upsampling = upsampling

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to twice the sides."""
        kernel = enlarging_kernels(self.weight, self.upsampling)
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        beyond = kernel.shape[2] // 2 + 1  # what would come out on each side of the output
        return F.conv_transpose2d(padded, kernel, self.bias, 2, padding=beyond)

    def enlarged(self, x: Tensor) -> Tensor:
        """The map that the 3×3 kernel sees, but for its border."""
        return F.interpolate(x, scale_factor=2, mode=self.upsampling)


def enlarging_kernels(weight: Tensor, upsampling: Enlargement) -> Tensor:
    """Kernels of the transposed convolution, C×K×n×n, of those of a convolution, K×C×3×3."""
    spread = (0.25, 0.75, 0.75, 0.25) if upsampling == "bilinear" else (1.0, 1.0)
    rows = tuple((0.0,) * shift + spread + (0.0,) * (2 - shift) for shift in (2, 1, 0))
    matrix = constant(rows, weight).T
    with torch.autocast(weight.device.type, enabled=False):
        return (matrix @ weight.transpose(0, 1)) @ matrix.T


class SubpixelDoubling(nn.Sequential):
    """A convolution to four channels for each, which become its four pixels (Shi et al., 2016)."""

    def __init__(self, in_channels: int, out_channels: int, norm: GeneratorNormName | None) -> None:
        layer = convolution(in_channels, 4 * out_channels, 3, norm)
        super().__init__(nn.ReflectionPad2d(1), layer, nn.PixelShuffle(2))

    @torch.no_grad()
    def begin_without_grid(self) -> None:
        """Give the four pixels the same first weights (Aitken et al., 2017)."""
        weight = next(self.parameters())
        weight.copy_(weight[::4].repeat_interleave(4, 0))


def blurred(padded: Tensor) -> Tensor:
    """[1, 2, 1] / 4 along both axes, which takes a row and a column at each side.

    It is [1, 1] / 2 twice: no weights, which a model would have to hold.
    """
    return F.avg_pool2d(F.avg_pool2d(padded, 2, stride=1), 2, stride=1)


def halving(
    in_channels: int,
    out_channels: int,
    kernel: int,
    downsampling: Downsampling,
    norm: GeneratorNormName | None,
    *,
    gain: float = GAIN,
) -> nn.Conv2d:
    """Convolution to half the resolution."""
    if downsampling == "strided":
        return convolution(in_channels, out_channels, kernel, norm, stride=2, padding=1, gain=gain)
    kind = DemodulatedBlurredConvolution if norm == "demodulated" else BlurredConvolution
    layer = kind(in_channels, out_channels, kernel, stride=2, padding=1, bias=has_bias(norm))
    return with_gain(layer, gain)


def doubling(
    in_channels: int,
    out_channels: int,
    kernel: int,
    upsampling: Upsampling,
    norm: GeneratorNormName | None,
    *,
    gain: float = GAIN,
) -> list[nn.Module]:
    """Layers to twice the resolution; the kernel is the transposed convolution's.

    Its stride lets some outputs have more or other weights than their neighbours have, a grid with
    the stride's period. A convolution of an enlarged map treats all alike (Odena et al., 2016).
    """
    if upsampling == "transposed":
        odd, bias = kernel % 2, has_bias(norm)
        kind = DemodulatedTransposedConvolution if norm == "demodulated" else nn.ConvTranspose2d
        layer = kind(in_channels, out_channels, kernel, 2, 1, output_padding=odd, bias=bias)
        return [with_gain(layer, gain)]
    if upsampling == "subpixel":
        return [SubpixelDoubling(in_channels, out_channels, norm)]
    if norm is None:  # few outputs; with many, one large kernel takes longer than two small ones
        return [EnlargingConvolution(in_channels, out_channels, upsampling)]
    return [
        nn.Upsample(scale_factor=2, mode=upsampling),
        nn.ReflectionPad2d(1),
        convolution(in_channels, out_channels, 3, norm, gain=gain),
    ]


class ChangeOfInput(nn.Sequential):
    """Layers that do not make a picture, but change the one that they are given."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W in [-1, 1] to the same."""
        change: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return changed(x, change)


def changed(x: Tensor, change: Tensor) -> Tensor:
    """tanh(atanh(0.96 x) + change), between -1 and 1; in float32 at least, as atanh is steep."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    kept = KEPT_OF_INPUT * x.to(dtype).clamp(-1, 1)
    return torch.tanh(torch.atanh(kept) + change.to(dtype))


class FullSizeLevel(nn.Module):
    """What a U-Net makes of a picture, and beside it what a convolution makes of single pixels.

    Maps that come from half the resolution hardly tell a pixel from its neighbour: alone, they can
    neither take away nor add what is so fine.
    """

    def __init__(self, below: nn.Sequential, in_channels: int, channels: int) -> None:
        super().__init__()
        self.below = below
        self.look = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(in_channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to maps of the same sides."""
        return torch.cat([self.below(x), self.look(x)], dim=1)

    def begin_at_scale(self) -> None:
        """Draw first weights that keep the size of what they are given, as no norm follows."""
        for layers in (self.below, self.look):
            nn.init.kaiming_normal_(cast(nn.Conv2d, layers[-1]).weight)


def unet_from(
    at_half_size: list[nn.Module],
    channels: int,
    pictures: tuple[int, int],
    upsampling: Upsampling,
    *,
    full_size_channels: int,
    skip: bool,
) -> nn.Sequential:
    """Layers that give maps of so many channels at half a picture's sides, and those from there.

    ``pictures`` are the channels of the input and of the output.
    """
    in_channels, out_channels = pictures
    if full_size_channels:
        enlarged = doubling(channels, full_size_channels, 4, upsampling, None)
        layers = [
            FullSizeLevel(nn.Sequential(*at_half_size, *enlarged), in_channels, full_size_channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(2 * full_size_channels, out_channels, 3),
        ]
    else:
        layers = [*at_half_size, *doubling(channels, out_channels, 4, upsampling, None)]
    return (ChangeOfInput if skip else nn.Sequential)(*layers, *last_layers(skip))


def last_layers(skip: bool) -> list[nn.Module]:
    """What bounds a picture, unless ``ChangeOfInput`` does."""
    return [] if skip else [nn.Tanh()]


def begin_small(network: nn.Module) -> None:
    """Shrink the last layer's weights; at full size the change would drown the picture."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    with torch.no_grad():
        layers[-1].weight.mul_(FIRST_CHANGE)
