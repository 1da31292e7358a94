"""Layers and initial weights that generators and discriminators share."""

from typing import Literal, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["instance", "batch", "none"]
GeneratorNormName = Literal[NormName, "group", "demodulated"]
Padding = Literal["reflect", "zero", "replicate"]

Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)

CHANNELS_OF_GROUP = 16
"""Least channels that group norm takes together, where there are as many."""
MOST_WEIGHTS = 2**20
"""Of a convolution that is tried: one of 256 channels has 0.6 million with kernels of 3×3."""
GAIN = 2**0.5
"""Norm of demodulated kernels; it makes up for the half that an activation takes away."""


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm that leaves maps, and their gradients, in the order in which they come.

    The layer of torch lays maps whose channels come last out anew, and so does the convolution
    after it. Batch norm of a single picture is the same and has kernels for either order. The
    compiler chooses orders itself and is given torch's layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of each picture by itself."""
        channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        if torch.compiler.is_compiling() or not channels_last:
            return super().forward(x)
        pictures = [
            F.batch_norm(picture, None, None, training=True, eps=self.eps) for picture in x.split(1)
        ]
        return pictures[0] if len(pictures) == 1 else torch.cat(pictures)


class Border(nn.Module):
    """Puts so many pixels around a map, reflected ones unless another padding is chosen."""

    def __init__(self, width: int, padding: Padding | None) -> None:
        super().__init__()
        self.width = width
        self.padding: Padding = padding or "reflect"

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to sides longer by twice the width."""
        return extended(x, (self.width,) * 4, self.padding)


def extended(x: Tensor, widths: tuple[int, int, int, int], padding: Padding) -> Tensor:
    """A map with so many pixels more to the left, to the right, above and below."""
    # It computes nothing, but autocast on a CPU makes and keeps float32 of 16 bits.
    with torch.autocast("cpu", enabled=False):
        return F.pad(x, widths, "constant" if padding == "zero" else padding)


def padding_mode(padding: Padding) -> Literal["zeros", "reflect", "replicate"]:
    """What a convolution calls a padding of its own."""
    return "zeros" if padding == "zero" else padding


def own_padding(convolution: nn.Conv2d) -> Padding:
    """What a convolution itself puts around a map."""
    mode = convolution.padding_mode
    return "zero" if mode == "zeros" else cast(Padding, mode)


class BorderedConvolution(nn.Conv2d):
    """A convolution whose own padding, of whatever kind, keeps the number format of the map."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode == "zeros":  # which need no map of their own
            output: Tensor = super()._conv_forward(input, weight, bias)
            return output
        below, beside = cast(tuple[int, int], self.padding)
        around = extended(input, (beside, beside, below, below), own_padding(self))
        return F.conv2d(around, weight, bias, self.stride)


class DemodulatedConvolution(BorderedConvolution):
    """A convolution whose kernels have a fixed norm, whatever the size of their weights.

    Maps then keep their scale, and no norm has to look at them: what leads generators to droplets
    is a norm of each map by itself (Karras et al., 2020; this is their equation 3 at style 1).
    """

    gain = GAIN

    def kernels(self) -> Tensor:
        """The weights that it computes with."""
        return demodulated(self.weight, 0, self.gain)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor = super()._conv_forward(input, self.kernels(), bias)
        return out


class DemodulatedTransposedConvolution(nn.ConvTranspose2d):
    """The same transposed; an output sees a stride²-th of its kernel, which is larger for it."""

    gain = GAIN

    def kernels(self) -> Tensor:
        """The weights that it computes with."""
        return demodulated(self.weight, 1, self.gain * self.stride[0])

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map N×C×H×W to sides times the stride."""
        padding = cast(tuple[int, ...], self.padding)
        return F.conv_transpose2d(
            input, self.kernels(), self.bias, self.stride, padding, self.output_padding
        )


def demodulated(weight: Tensor, output_axis: int, gain: float) -> Tensor:
    """Weights scaled so that those of each output have the norm ``gain``."""
    # In 16 bits the factor's own rounding would shift whole maps.
    exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
    axes = [axis for axis in range(weight.ndim) if axis != output_axis]
    factor = gain * torch.rsqrt(exact.square().sum(axes, keepdim=True) + 1e-8)
    return (exact * factor).to(weight.dtype)


def kernels(convolution: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """The weights that a convolution computes with."""
    if isinstance(convolution, DemodulatedConvolution | DemodulatedTransposedConvolution):
        return convolution.kernels()
    return convolution.weight


def convolution(
    in_channels: int,
    out_channels: int,
    kernel: int,
    norm: GeneratorNormName | None,
    *,
    gain: float = GAIN,
) -> nn.Conv2d:
    """Convolution before a norm, or the last; the gain is that of a demodulated one."""
    kind = DemodulatedConvolution if norm == "demodulated" else nn.Conv2d
    return with_gain(kind(in_channels, out_channels, kernel, bias=has_bias(norm)), gain)


def with_gain(layer: Convolution, gain: float) -> Convolution:
    """The layer, its kernels' norm set if it is demodulated."""
    if isinstance(layer, DemodulatedConvolution | DemodulatedTransposedConvolution):
        layer.gain = gain
    return layer


def build_norm(name: GeneratorNormName, channels: int) -> nn.Module:
    """Normalisation layer; an Identity keeps the place of none, so that keys do not move."""
    if name == "instance":
        return InstanceNorm(channels)
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(group_count(channels), channels)
    return nn.Identity()


def group_count(channels: int) -> int:
    """The most groups of equal size that have 16 channels each at least, or one."""
    counts = range(channels // CHANNELS_OF_GROUP, 1, -1)
    return next((count for count in counts if channels % count == 0), 1)


def has_bias(norm: GeneratorNormName | None) -> bool:
    """Whether convolutions before the norm, or before none at all, carry a bias."""
    return norm in ("instance", "demodulated", None)


def initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02) and biases 0, section 7.2 of the CycleGAN paper."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def typical_convolution(network: nn.Module) -> nn.Conv2d | nn.ConvTranspose2d:
    """The convolution of the most weights, but for those that are too large for a quick trial."""
    layers = sorted(
        (layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)),
        key=lambda layer: layer.weight.numel(),
    )
    quick = [layer for layer in layers if layer.weight.numel() < MOST_WEIGHTS]
    return quick[-1] if quick else layers[0]
