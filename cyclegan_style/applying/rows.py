"""Feature maps by rows: any rows of a map can be had without the rest of it.

Each kind takes the rows of its source that it needs, with those above and below that a kernel
reaches (the halo), and treats the picture's true borders as its layer does.
"""

from collections.abc import Callable
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.networks.layers import Border, Padding, extended, kernels, own_padding
from cyclegan_style.networks.resampling import (
    BlurredConvolution,
    EnlargingConvolution,
    blurred,
    changed,
)

Finish = Callable[[Tensor], Tensor]


class Rows(Protocol):
    """A feature map, 1×C×height×width, of which any rows can be had."""

    height: int

    def read(self, start: int, stop: int) -> Tensor:
        """Rows from ``start`` up to, not including, ``stop``."""
        ...


class PictureRows:
    """Rows of the picture, moved to where and how the network computes."""

    def __init__(self, picture: Tensor, like: Tensor) -> None:
        self.picture = picture
        self.height = picture.shape[2]
        self.like = like

    def read(self, start: int, stop: int) -> Tensor:
        """Copy the rows to the network's device and number format."""
        rows = self.picture[:, :, start:stop].to(self.like.device, self.like.dtype)
        return rows.contiguous(memory_format=torch.channels_last)


class ConvolvedRows:
    """Rows of a convolution's output; it pads by itself, or a layer before it does."""

    def __init__(self, source: Rows, convolution: nn.Conv2d, border: Border | None = None) -> None:
        self.source = source
        self.convolution = convolution
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.pads_itself = border is None
        if border:
            self.width, self.padding = border.width, border.padding
        else:
            self.width, self.padding = int(convolution.padding[0]), own_padding(convolution)
        self.height = (source.height + 2 * self.width - self.kernel) // self.stride + 1

    def read(self, start: int, stop: int) -> Tensor:
        """Convolve the rows with their halo; padding is added where the picture ends."""
        first = start * self.stride - self.width
        last = (stop - 1) * self.stride - self.width + self.kernel
        rows = self.source.read(max(first, 0), min(last, self.source.height))
        above, below = max(-first, 0), max(last - self.source.height, 0)
        padded = extended(rows, (self.width, self.width, above, below), self.padding)
        if not self.pads_itself:
            return cast(Tensor, self.convolution(padded))
        return F.conv2d(padded, kernels(self.convolution), self.convolution.bias, self.stride)


def with_more_around(source: Rows, start: int, stop: int, width: int, padding: Padding) -> Tensor:
    """Rows with so many pixels more on all four sides, of the padding where the map ends."""
    rows = source.read(max(start - width, 0), min(stop + width, source.height))
    above, below = max(width - start, 0), max(stop + width - source.height, 0)
    return extended(rows, (width, width, above, below), padding)


class BlurredRows:
    """Rows of a map that is blurred before a strided convolution."""

    def __init__(self, source: Rows, convolution: BlurredConvolution) -> None:
        self.source = source
        self.padding = convolution.of_blur
        self.height = source.height

    def read(self, start: int, stop: int) -> Tensor:
        """Blur the rows with what lies around them."""
        return blurred(with_more_around(self.source, start, stop, 1, self.padding))


class EnlargedConvolvedRows:
    """Rows of a convolution of an enlarged map."""

    def __init__(self, source: Rows, convolution: EnlargingConvolution) -> None:
        self.source = source
        self.convolution = convolution
        self.height = 2 * source.height

    def read(self, start: int, stop: int) -> Tensor:
        """Each row of the source gives two, which see rows of the source above and below it."""
        low, high = start // 2, (stop + 1) // 2
        width, padding = self.convolution.width, own_padding(self.convolution)
        rows = with_more_around(self.source, low, high, width, padding)
        return self.convolution.of_extended(rows)[:, :, start - 2 * low : stop - 2 * low]


class EnlargedRows:
    """Rows of a map that is enlarged to twice its sides."""

    def __init__(self, source: Rows, enlarge: Finish) -> None:
        self.source = source
        self.enlarge = enlarge
        self.height = 2 * source.height

    def read(self, start: int, stop: int) -> Tensor:
        """Enlarge the source rows with one above and one below, for what lies between rows."""
        low = max(start // 2 - 1, 0)
        high = min((stop + 1) // 2 + 1, self.source.height)
        rows: Tensor = self.enlarge(self.source.read(low, high))
        return rows[:, :, start - 2 * low : stop - 2 * low]


class ShuffledRows:
    """Rows of a map whose channels become pixels."""

    def __init__(self, source: Rows) -> None:
        self.source = source
        self.height = 2 * source.height

    def read(self, start: int, stop: int) -> Tensor:
        """Shuffle the source rows that these are made of."""
        low = start // 2
        rows = F.pixel_shuffle(self.source.read(low, (stop + 1) // 2), 2)
        return rows[:, :, start - 2 * low : stop - 2 * low]


class UnshuffledRows:
    """Rows of a map whose pixels become channels."""

    def __init__(self, source: Rows, unshuffle: nn.PixelUnshuffle) -> None:
        self.source = source
        self.unshuffle = unshuffle
        self.factor = unshuffle.downscale_factor
        self.height = source.height // self.factor

    def read(self, start: int, stop: int) -> Tensor:
        """Unshuffle all rows of these places."""
        rows: Tensor = self.unshuffle(self.source.read(start * self.factor, stop * self.factor))
        return rows


class DoubledRows:
    """Rows of a transposed convolution with stride 2 that doubles both sides."""

    def __init__(self, source: Rows, convolution: nn.ConvTranspose2d) -> None:
        self.source = source
        self.convolution = convolution
        self.height = 2 * source.height

    def read(self, start: int, stop: int) -> Tensor:
        """Output row y gathers from the rows i with y = 2i − padding + k, k below the kernel."""
        kernel, padding = self.convolution.kernel_size[0], int(self.convolution.padding[0])
        low = max((start + padding + 2 - kernel) // 2, 0)
        high = min((stop + padding - 1) // 2 + 1, self.source.height)
        doubled = F.conv_transpose2d(
            self.source.read(low, high),
            kernels(self.convolution),
            self.convolution.bias,
            2,
            padding=(0, padding),
            output_padding=(0, self.convolution.output_padding[1]),
        )
        skipped = start - 2 * low + padding
        return doubled[:, :, skipped : skipped + stop - start]


class JoinedRows:
    """Rows of two maps, the channels of the second after those of the first."""

    def __init__(self, first: Rows, second: Rows) -> None:
        self.first = first
        self.second = second
        self.height = first.height

    def read(self, start: int, stop: int) -> Tensor:
        """Concatenate the rows of both."""
        return torch.cat([self.first.read(start, stop), self.second.read(start, stop)], 1)


class ChangedRows:
    """Rows of the picture, changed by rows of a map."""

    def __init__(self, picture: Rows, change: Rows) -> None:
        self.picture = picture
        self.change = change
        self.height = change.height

    def read(self, start: int, stop: int) -> Tensor:
        """Change the picture's rows."""
        return changed(self.picture.read(start, stop), self.change.read(start, stop))


class FinishedRows:
    """Rows after something that changes each element by itself."""

    def __init__(self, source: Rows, finish: Finish) -> None:
        self.source = source
        self.height = source.height
        self.finish = finish

    def read(self, start: int, stop: int) -> Tensor:
        """Return the source's rows, finished."""
        return self.finish(self.source.read(start, stop))
