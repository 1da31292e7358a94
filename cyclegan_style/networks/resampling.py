"""Halvings and doublings of the resolution, and a generator's way around all of them."""

from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.config import GeneratorConfig
from cyclegan_style.networks.layers import (
    GAIN,
    Border,
    BorderedConvolution,
    DemodulatedConvolution,
    DemodulatedTransposedConvolution,
    Padding,
    convolution,
    extended,
    has_bias,
    own_padding,
    padding_mode,
    with_gain,
)
from cyclegan_style.networks.sizes import kernels_at_ends, last_end
from cyclegan_style.system.constants import constant

Enlargement = Literal["nearest", "bilinear"]
Upsampling = Literal["transposed", Enlargement, "subpixel"]
Downsampling = Literal["strided", "blurred", "unshuffled"]

KEPT_OF_INPUT = 0.96
"""Part of a picture that begins as the translation; atanh has no value at 1."""
FIRST_CHANGE = 0.05
"""What the last layer's first weights are multiplied by where a picture is only changed."""


class BlurredConvolution(BorderedConvolution):
    """A strided convolution of a blurred map, which has nothing left for the stride to alias.

    Zhang (2019) convolves, blurs and then leaves rows and columns out. Convolution and blur can be
    exchanged, so that the stride may do it, at a quarter of the work.
    """

    of_blur: Padding = "reflect"
    """What the blur sees beyond the border; the convolution's own padding is beside it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to half the sides, of which none may be 1."""
        return super().forward(blurred(extended(x, (1, 1, 1, 1), self.of_blur)))


class DemodulatedBlurredConvolution(DemodulatedConvolution, BlurredConvolution):
    """Both at once."""


class EnlargingConvolution(nn.Conv2d):
    """A convolution of a map enlarged to twice its sides, in one step.

    Each pixel of the map reaches the same few pixels of the output by either operation, so that
    both are one transposed convolution, whose kernel is the product of theirs; the enlarged map,
    four times as large, need not exist. Its kernel is as long in all four phases of the stride as
    the enlargement makes it, and leaves no grid. The kernel is odd.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        upsampling: Enlargement,
        padding: Padding | None = None,
    ) -> None:
        mode = padding_mode(padding or "replicate")
        width = kernel // 4 + 1  # pixels of the map that an output at its border reaches beyond it
        super().__init__(in_channels, out_channels, kernel, padding=width, padding_mode=mode)
        self.upsampling = upsampling
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to twice the sides."""
        return self.of_extended(extended(x, (self.width,) * 4, own_padding(self)))

    def of_extended(self, x: Tensor) -> Tensor:
        """What is made of the pixels of a map that has ``width`` more around it."""
        kernel = enlarging_kernels(self.weight, self.upsampling)
        cut = kernel.shape[2] // 2 + 2 * self.width - 1  # what would come out on each side
        return F.conv_transpose2d(x, kernel, self.bias, 2, padding=cut)


def enlarging_kernels(weight: Tensor, upsampling: Enlargement) -> Tensor:
    """Kernels of the transposed convolution, C×K×n×n, of those of a convolution, K×C×k×k."""
    spread = (0.25, 0.75, 0.75, 0.25) if upsampling == "bilinear" else (1.0, 1.0)
    last = weight.shape[2] - 1
    shifts = reversed(range(last + 1))
    rows = tuple((0.0,) * shift + spread + (0.0,) * (last - shift) for shift in shifts)
    matrix = constant(rows, weight).T
    with torch.autocast(weight.device.type, enabled=False):
        return (matrix @ weight.transpose(0, 1)) @ matrix.T


class SubpixelDoubling(nn.Sequential):
    """A convolution to four channels for each, which become its four pixels (Shi et al., 2016)."""

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig) -> None:
        layer = convolution(in_channels, 4 * out_channels, 3, config.norm)
        super().__init__(Border(1, config.padding), layer, nn.PixelShuffle(2))

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
    config: GeneratorConfig,
    *,
    gain: float = GAIN,
) -> nn.Conv2d:
    """Convolution to half the resolution."""
    demodulated, blurs = config.norm == "demodulated", config.downsampling == "blurred"
    kind: type[nn.Conv2d]
    if blurs:
        kind = DemodulatedBlurredConvolution if demodulated else BlurredConvolution
    else:
        kind = DemodulatedConvolution if demodulated else BorderedConvolution
    layer = kind(
        in_channels,
        out_channels,
        kernel,
        stride=2,
        padding=(kernel - 1) // 2,
        bias=has_bias(config.norm),
        padding_mode=padding_mode(config.padding or "zero"),
    )
    if isinstance(layer, BlurredConvolution):
        layer.of_blur = config.padding or "reflect"
    return with_gain(layer, gain)


def doubling(
    in_channels: int,
    out_channels: int,
    kernel: int,
    config: GeneratorConfig,
    *,
    gain: float = GAIN,
) -> list[nn.Module]:
    """Layers to twice the resolution; the kernel is the transposed convolution's.

    Its stride lets some outputs have more or other weights than their neighbours have, a grid with
    the stride's period. A convolution of an enlarged map treats all alike (Odena et al., 2016).
    """
    norm, upsampling = config.norm, config.upsampling
    if upsampling == "transposed":
        odd, bias = kernel % 2, has_bias(norm)
        kind = DemodulatedTransposedConvolution if norm == "demodulated" else nn.ConvTranspose2d
        layer = kind(in_channels, out_channels, kernel, 2, 1, output_padding=odd, bias=bias)
        return [with_gain(layer, gain)]
    if upsampling == "subpixel":
        return [SubpixelDoubling(in_channels, out_channels, config)]
    return [
        nn.Upsample(scale_factor=2, mode=upsampling),
        Border(1, config.padding),
        convolution(in_channels, out_channels, 3, norm, gain=gain),
    ]


def last_doubling(
    in_channels: int, out_channels: int, kernel: int, config: GeneratorConfig
) -> nn.Module:
    """The layer to a picture of twice the sides, which no norm follows.

    Outputs are few; with many, one large kernel takes longer than two small ones.
    """
    if config.upsampling == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, (kernel - 1) // 2)
    # No generator with such a layer has subpixel doublings.
    upsampling = cast(Enlargement, config.upsampling)
    return EnlargingConvolution(in_channels, out_channels, kernel, upsampling, config.padding)


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

    def __init__(self, below: nn.Sequential, in_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.below = below
        self.look = nn.Sequential(
            Border(1, config.padding), nn.Conv2d(in_channels, config.full_size_channels, 3)
        )

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
    config: GeneratorConfig,
) -> nn.Sequential:
    """Layers that give maps of so many channels at half a picture's sides, and those from there.

    ``pictures`` are the channels of the input and of the output.
    """
    in_channels, out_channels = pictures
    beside = config.full_size_channels
    _, last = kernels_at_ends(config)
    if not beside:
        return around([*at_half_size, last_doubling(channels, out_channels, last, config)], config)
    usual = last_end(replace(config, full_size_channels=0)).usual
    doubled = last_doubling(channels, beside, usual, config)
    layers = [
        FullSizeLevel(nn.Sequential(*at_half_size, doubled), in_channels, config),
        nn.ReLU(),
        Border(last // 2, config.padding),
        nn.Conv2d(2 * beside, out_channels, last),
    ]
    return around(layers, config)


def around(layers: list[nn.Module], config: GeneratorConfig) -> nn.Sequential:
    """All layers of a generator, which make a picture or change the one that they are given."""
    return ChangeOfInput(*layers) if config.skip else nn.Sequential(*layers, nn.Tanh())


def begin_small(network: nn.Module) -> None:
    """Shrink the last layer's weights; at full size the change would drown the picture."""
    with torch.no_grad():
        last_layer(network).weight.mul_(FIRST_CHANGE)


def change_by(network: nn.Module, strength: float) -> None:
    """Let a network with a skip change its input so many times as much: by its last layer."""
    last = last_layer(network)
    with torch.no_grad():
        last.weight.mul_(strength)
        if last.bias is not None:
            last.bias.mul_(strength)


def last_layer(network: nn.Module) -> nn.Conv2d | nn.ConvTranspose2d:
    """What a generator's output comes out of."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    return layers[-1]
