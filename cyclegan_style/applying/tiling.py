"""Generators over pictures that do not fit into memory, exactly.

Cutting a picture into tiles and translating each shows seams and jumps of colour, because instance
norm would take its statistics from each tile. Here every layer runs over horizontal stripes with
the rows above and below that its convolution needs (the halo), the statistics are accumulated over
the whole feature map, and padding happens at the true borders only. What comes out is what one
pass over the whole picture gives.

The maps at half of the resolution and below are kept whole. Those at full resolution, the residual
generator's first and last but one, never exist: their rows are computed twice, once for the
statistics and once for the layer that follows, which costs about four hundredths more arithmetic,
or a tenth where maps are enlarged and then convolved. The U-Net has none.

Attention looks at a whole map at each place of it, and has no stripes.
"""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.applying.rows import (
    BlurredRows,
    ChangedRows,
    ConvolvedRows,
    DoubledRows,
    EnlargedConvolvedRows,
    EnlargedRows,
    Finish,
    FinishedRows,
    JoinedRows,
    PictureRows,
    Rows,
    ShuffledRows,
    UnshuffledRows,
)
from cyclegan_style.errors import UserError
from cyclegan_style.networks.attention import SelfAttention
from cyclegan_style.networks.layers import Border
from cyclegan_style.networks.resampling import (
    BlurredConvolution,
    ChangeOfInput,
    EnlargingConvolution,
    FullSizeLevel,
    SubpixelDoubling,
)
from cyclegan_style.networks.residual_unet import PreactivatedBlock, ResidualUnetLevel
from cyclegan_style.networks.resnet import ResidualBlock
from cyclegan_style.networks.unet import UnetLevel

STRIPE_BYTES = 64 * 2**20
"""About what one map of a stripe may take where no stripe height is given."""
MAPS_OF_STRIPE = 8
"""Copies of a stripe that are alive at once, at most: padded, convolved, normalised, and so on."""

PIXELS_AT_ONCE = 2**14
"""What statistics look at twice, so that a CPU's caches hold it."""
MORE_AT_ONCE = 2**20
"""The same on other devices, which wait at each end of it."""


class StoredRows:
    """Rows of a map that is in memory."""

    def __init__(self, values: Tensor, statistics: "Statistics | None") -> None:
        self.values = values
        self.height = values.shape[2]
        self.statistics = statistics

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows themselves, not a copy."""
        return self.values[:, :, start:stop]


class Statistics:
    """Mean and variance per channel of all rows seen, in float64.

    Parts are merged by their sums of squared deviations (Chan, Golub and LeVeque, 1979); a plain
    sum of squares would cancel where the mean is large.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0
        self.dtype = torch.float32

    def add(self, rows: Tensor) -> None:
        """Merge the elements of these rows."""
        pixels = PIXELS_AT_ONCE if rows.device.type == "cpu" else MORE_AT_ONCE
        for part in rows.split(max(1, pixels // rows.shape[3]), dim=2):
            self._merge(part)

    def _merge(self, rows: Tensor) -> None:
        count = rows.numel() // rows.shape[1]
        self.dtype = torch.promote_types(rows.dtype, torch.float32)
        rows = rows.to(self.dtype)
        # Any value near the mean will do; of at most n rows, none is further from it than √n
        # deviations, so that the squares of the differences do not cancel either.
        near = rows[:, :, :1].mean((0, 2, 3))
        differences = rows - near.view(-1, 1, 1)
        offset = _channel_sums(differences) / count
        squares = _channel_sums(differences.square_()) - offset**2 * count
        mean = near.cpu().double() + offset
        total = self.count + count
        shift = mean - self.mean
        self.squares = self.squares + squares + shift**2 * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    def normaliser(self, epsilon: float, device: torch.device) -> Finish:
        """What subtracts the mean and divides by the deviation."""
        # In float32 beside 16-bit maps, too: rounding these parameters would shift colours.
        mean = cast(Tensor, self.mean).to(device, self.dtype)
        variance = (cast(Tensor, self.squares) / self.count).to(device, self.dtype)
        return lambda rows: F.batch_norm(rows, mean, variance, eps=epsilon)

    def group_normaliser(self, norm: nn.GroupNorm) -> Finish:
        """The same by the statistics of groups of channels, with the layer's weights and biases."""
        means = cast(Tensor, self.mean).view(norm.num_groups, -1)
        mean = means.mean(1, keepdim=True).expand_as(means)
        squares = cast(Tensor, self.squares).view_as(means) / self.count + (means - mean) ** 2
        variance = squares.mean(1, keepdim=True).expand_as(means)
        mean, variance, weight, bias = (
            values.flatten().to(norm.weight.device, self.dtype)
            for values in (mean, variance, norm.weight.detach(), norm.bias.detach())
        )
        return lambda rows: F.batch_norm(rows, mean, variance, weight, bias, eps=norm.eps)


def _channel_sums(values: Tensor) -> Tensor:
    """Sums of N×C×H×W per channel: of each row as it is, fast; of the rows in float64.

    On the CPU, since not every device has float64.
    """
    return values.permute(0, 2, 3, 1).sum(2).cpu().double().sum((0, 1))


class StripedGenerator:
    """A generator in stripes of ``stripe_height`` rows of the picture."""

    def __init__(self, network: nn.Module, stripe_height: int) -> None:
        if any(isinstance(layer, SelfAttention) for layer in network.modules()):
            raise UserError("a model with generator.attention sees whole pictures, no stripes")
        self.network = network
        self.stripe_height = stripe_height
        self.device = next(network.parameters()).device

    def __call__(self, picture: Tensor) -> Tensor:
        """Translate a 1×C×H×W picture, of a size that the network maps to itself.

        To float32, or float64 if the network computes in it.
        """
        source = PictureRows(picture, next(self.network.parameters()))
        dtype = torch.promote_types(source.like.dtype, torch.float32)
        rows = self.through(self.network.children(), source, shrink=1)
        output: Tensor | None = None
        for start, stop in self.stripes(rows.height, 1):
            stripe = rows.read(start, stop).to(picture.device, dtype)
            if output is None:
                output = stripe.new_empty((*stripe.shape[:2], rows.height, stripe.shape[3]))
            output[:, :, start:stop] = stripe
        return cast(Tensor, output)

    def through(self, layers: Iterable[nn.Module], rows: Rows, shrink: int) -> Rows:
        """Rows after these layers; ``shrink`` is the side of the picture over the side of a map."""
        border: Border | None = None
        for layer in layers:
            match layer:
                case Border():
                    border = layer
                case EnlargingConvolution():
                    shrink //= 2
                    rows = EnlargedConvolvedRows(rows, layer)
                case nn.Conv2d():
                    if isinstance(layer, BlurredConvolution):
                        rows = BlurredRows(rows, layer)
                    rows = ConvolvedRows(rows, layer, border)
                    shrink, border = shrink * layer.stride[0], None
                    rows = self.stored(rows, shrink) if shrink > 1 else rows
                case nn.ConvTranspose2d():
                    shrink //= 2
                    rows = DoubledRows(rows, layer)
                    rows = self.stored(rows, shrink) if shrink > 1 else rows
                case nn.Upsample():
                    shrink //= 2
                    rows = EnlargedRows(rows, layer)
                case SubpixelDoubling():
                    shrink //= 2
                    convolved = ConvolvedRows(
                        rows, cast(nn.Conv2d, layer[1]), cast(Border, layer[0])
                    )
                    rows = ShuffledRows(convolved)
                    rows = self.stored(rows, shrink) if shrink > 1 else rows
                case nn.PixelUnshuffle():
                    shrink *= layer.downscale_factor
                    rows = UnshuffledRows(rows, layer)
                case nn.InstanceNorm2d():
                    normalise = self.statistics(rows, shrink).normaliser(layer.eps, self.device)
                    rows = FinishedRows(rows, normalise)
                case nn.GroupNorm():
                    normalise = self.statistics(rows, shrink).group_normaliser(layer)
                    rows = FinishedRows(rows, normalise)
                case ChangeOfInput():
                    rows = ChangedRows(rows, self.through(layer.children(), rows, shrink))
                case nn.Sequential():
                    rows = self.through(layer, rows, shrink)
                case UnetLevel():
                    below = self.through([layer.model], rows, shrink)
                    rows = JoinedRows(rows, below) if layer.skip else below
                case FullSizeLevel():
                    below = self.through(layer.below, rows, shrink)
                    rows = JoinedRows(below, self.through(layer.look, rows, shrink))
                case ResidualBlock():
                    rows = self.residual(rows, layer.conv_block, shrink)
                case PreactivatedBlock():
                    rows = self.residual(rows, layer.body, shrink)
                case ResidualUnetLevel():
                    encoded = self.through([layer.encode], rows, shrink)
                    total = self.residual(encoded, layer.below, shrink)
                    rows = self.through([layer.decode], total, shrink)
                case nn.Dropout():
                    pass
                case _:  # activations, and batch norm with what it learned
                    rows = FinishedRows(rows, layer)
        return rows

    def residual(self, rows: Rows, block: nn.Sequential, shrink: int) -> StoredRows:
        """Add a block's output to its input, in place once the input is a map of its own."""
        total = rows if isinstance(rows, StoredRows) else self.stored(rows, shrink)
        addend = self.through(block, total, shrink)
        for start, stop in self.stripes(total.height, shrink):
            total.values[:, :, start:stop] += addend.read(start, stop)
        return StoredRows(total.values, None)

    def stored(self, rows: Rows, shrink: int) -> StoredRows:
        """Compute all rows and keep them."""
        values: Tensor | None = None
        statistics = Statistics()
        for start, stop in self.stripes(rows.height, shrink):
            stripe = rows.read(start, stop)
            if values is None:
                shape = (*stripe.shape[:2], rows.height, stripe.shape[3])
                # Rows of channels-last maps are contiguous.
                values = torch.empty(
                    shape,
                    dtype=stripe.dtype,
                    device=stripe.device,
                    memory_format=torch.channels_last,
                )
            values[:, :, start:stop] = stripe
            statistics.add(stripe)
        return StoredRows(cast(Tensor, values), statistics)

    def statistics(self, rows: Rows, shrink: int) -> Statistics:
        """Statistics of all rows, by a sweep of their own unless it was made while storing."""
        if isinstance(rows, StoredRows) and rows.statistics is not None:
            return rows.statistics
        statistics = Statistics()
        for start, stop in self.stripes(rows.height, shrink):
            statistics.add(rows.read(start, stop))
        return statistics

    def stripes(self, height: int, shrink: int) -> Iterator[tuple[int, int]]:
        """First row of each stripe, and the row after its last, of a map so much smaller."""
        step = max(1, self.stripe_height // shrink)
        return ((start, min(start + step, height)) for start in range(0, height, step))


def default_stripe_height(width: int, channels: int, dtype: torch.dtype) -> int:
    """Rows of the picture whose first feature map takes about ``STRIPE_BYTES``.

    A multiple of 16, so that a quarter of them are whole tiles of a Winograd convolution.
    """
    rows = STRIPE_BYTES // (width * channels * dtype.itemsize)
    return max(16, rows // 16 * 16)


def peak_bytes(
    height: int,
    width: int,
    channels: int,
    dtype: torch.dtype,
    stripe_height: int | None = None,
    kernel: int = 7,
) -> int:
    """Most memory that a picture in stripes needs, beside the weights.

    The kernel is the largest at full resolution.

    In the residual generator two moments are equal: the map at half the resolution beside the one
    at a quarter, and three maps at a quarter inside a residual block. In the U-Net it is two maps
    at half the resolution beside two at a quarter. All are 48 values per pixel for 64 channels,
    where one map at full resolution has 64.
    """
    stripe = stripe_height or default_stripe_height(width, channels, dtype)
    halo = kernel + 1
    maps = 3 * (height * width // 16) * 4 * channels * dtype.itemsize
    stripes = MAPS_OF_STRIPE * min(stripe + halo, height) * width * channels * dtype.itemsize
    pictures = 2 * 3 * height * width * torch.float32.itemsize
    return maps + stripes + pictures
