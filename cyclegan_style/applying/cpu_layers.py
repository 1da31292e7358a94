"""Layers that apply a model faster or more exactly than torch's own, for the CPU mostly.

Most of a residual generator's work is 3×3 convolutions of many channels, which take four times
fewer multiplications by Winograd's algorithm (``cyclegan_style/networks/winograd.py``), and three
times fewer in 16 bits.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.applying.tiling import Statistics
from cyclegan_style.networks.layers import kernels
from cyclegan_style.networks.winograd import FEWEST_CHANNELS, tiling_of, transforms
from cyclegan_style.system.hardware import name_of_format
from cyclegan_style.system.measured import Trial, fastest_here

CHUNK_BYTES = 2**23
"""What the transformed patches of a chunk may take, so that they stay in the caches."""
SIDE_ON_TRIAL = 66
"""Of the map, with its border, on which ways to convolve are timed: pictures of 256 pixels."""
MOST_OUTPUTS = 4
"""A processor computes 8 or 16 outputs at once; a generator's last layer has three."""

LARGEST_GROUP = 2**16
"""Pixels up to which group norm is exact enough for 16 bits: at 1,024 × 1,024 and a mean of ten
deviations it is off by 3 %."""


def quicken(network: nn.Module) -> None:
    """Replace layers of a network in float32 on the CPU by their faster equals."""
    replace_layers(network, lambda layer: exact_norm(layer) or faster_convolution(layer))


def quicken_16_bits(network: nn.Module) -> None:
    """Replace layers of a network in 16 bits by their faster equals, or on a GPU its norms."""
    replace_layers(network, norm_of_16_bits)
    if next(network.parameters()).device.type == "cpu":
        replace_layers(network, faster_convolution_of_16_bits)


def replace_layers(network: nn.Module, other: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put other layers into the places of those that have any."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if replacement := other(child):
                setattr(module, name, replacement)


def exact_norm(layer: nn.Module) -> nn.Module | None:
    """The norm's equal for maps whose channels come last."""
    if isinstance(layer, nn.InstanceNorm2d):
        return ExactInstanceNorm(layer.num_features)
    return ExactGroupNorm(layer) if isinstance(layer, nn.GroupNorm) else None


def norm_of_16_bits(layer: nn.Module) -> nn.Module | None:
    """The norm's equal in 16 bits, or on a GPU."""
    if isinstance(layer, nn.InstanceNorm2d):
        return GroupedInstanceNorm(layer.num_features)
    on_cpu = isinstance(layer, nn.GroupNorm) and layer.weight.device.type == "cpu"
    return exact_norm(layer) if on_cpu else None


def faster_convolution(layer: nn.Module) -> nn.Module | None:
    """The convolution's equal, if there is one that may be faster."""
    if not isinstance(layer, nn.Conv2d) or layer.padding != (0, 0) or layer.stride != (1, 1):
        return None
    if layer.out_channels <= MOST_OUTPUTS:
        return FewOutputsConvolution(layer)
    wide = min(layer.in_channels, layer.out_channels) >= FEWEST_CHANNELS
    return WinogradConvolution(layer) if layer.kernel_size == (3, 3) and wide else None


def faster_convolution_of_16_bits(layer: nn.Module) -> nn.Module | None:
    """The same in 16 bits, where processors differ in what they are fast at."""
    faster = faster_convolution(layer)
    if not isinstance(faster, WinogradConvolution):
        return faster
    return faster if winograd_is_faster(faster) else None


def winograd_is_faster(layer: "WinogradConvolution") -> bool:
    """Whether it is on this machine, of a map of the usual size."""

    def trials() -> dict[str, Trial]:
        x = torch.rand(1, layer.in_channels, SIDE_ON_TRIAL, SIDE_ON_TRIAL)
        x = x.to(layer.weight.dtype, memory_format=torch.channels_last)
        direct = partial(F.conv2d, x, layer.weight, layer.bias)
        by_winograd = partial(layer, x)
        return {"direct": Trial(direct, direct), "winograd": Trial(by_winograd, by_winograd)}

    channels = f"{layer.in_channels} to {layer.out_channels} channels"
    what = ("convolutions in translation", name_of_format(layer.weight.dtype), channels)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        return fastest_here(what, ["direct", "winograd"], trials).best == "winograd"


class ExactInstanceNorm(nn.InstanceNorm2d):
    """Instance norm of maps whose channels come last.

    The layer of torch copies such maps first, and takes longer than the convolution beside it.
    Group norm of one channel each does not, but adds up so many numbers in float32 that the result
    is off by 1e-3 at a megapixel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of each picture by itself."""
        pictures = []
        for picture in x.split(1):
            statistics = Statistics()
            statistics.add(picture)
            pictures.append(statistics.normaliser(self.eps, x.device)(picture))
        return pictures[0] if len(pictures) == 1 else torch.cat(pictures)


class ExactGroupNorm(nn.GroupNorm):
    """Group norm whose sums of large maps are as exact as those of instance norm."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps, device="meta")
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each group of channels of each picture by itself."""
        if x[:1].numel() // self.num_groups <= LARGEST_GROUP:
            return super().forward(x)
        pictures = []
        for picture in x.split(1):
            statistics = Statistics()
            statistics.add(picture)
            pictures.append(statistics.group_normaliser(self)(picture))
        return pictures[0] if len(pictures) == 1 else torch.cat(pictures)


class GroupedInstanceNorm(ExactInstanceNorm):
    """Instance norm in 16 bits: of small maps as group norm of one channel each.

    That has a kernel for channels last, two to three times as fast as the exact norm on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of each picture by itself."""
        if x.device.type == "cpu" and x.shape[2] * x.shape[3] > LARGEST_GROUP:
            return super().forward(x)
        return F.group_norm(x, self.num_features, eps=self.eps)


class FasterConvolution(nn.Conv2d):
    """Takes the weights of a convolution without padding and computes the same otherwise."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(
            convolution.in_channels, convolution.out_channels, (1, 1), bias=False, device="meta"
        )
        self.kernel_size = convolution.kernel_size
        self.weight = nn.Parameter(kernels(convolution).detach(), requires_grad=False)
        self.bias = convolution.bias

    def keep(self, name: str, derived: Tensor) -> None:
        """Hold what follows from the weights, which stay all that there is to save."""
        self.register_buffer(name, derived, persistent=False)


class WinogradConvolution(FasterConvolution):
    """A 3×3 convolution, channels last."""

    kernels: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution)
        self.tiling = tiling_of(self.weight.dtype)
        _, kernel, _ = transforms(self.tiling)
        weights = self.weight.detach().double().permute(2, 3, 1, 0).flatten(0, 1).flatten(1)
        kernels = (torch.kron(kernel, kernel) @ weights).to(self.weight.dtype)
        self.keep("kernels", kernels.view(-1, self.in_channels, self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×K×(H−2)×(W−2)."""
        tiling = self.tiling
        count, _, height, width = x.shape
        height, width = height - 2, width - 2
        x = tiling.padded(x, tiling.patch)
        output = torch.empty(
            (count, self.out_channels, x.shape[2] - 2, x.shape[3] - 2),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        across = output.shape[3] // tiling.side
        of_a_tile = count * tiling.places * self.in_channels * x.element_size()
        tiles = max(1, CHUNK_BYTES // of_a_tile)
        rows, columns = tiling.side * max(1, tiles // across), tiling.side * min(tiles, across)
        for top in range(0, output.shape[2], rows):
            for left in range(0, output.shape[3], columns):
                chunk = output[:, :, top : top + rows, left : left + columns]
                below, beside = top + chunk.shape[2] + 2, left + chunk.shape[3] + 2
                self._compute(x[:, :, top:below, left:beside], chunk)
        return output[:, :, :height, :width]

    def _compute(self, x: Tensor, output: Tensor) -> None:
        """Fill the output for these rows of whole tiles."""
        tiling = self.tiling
        patches = tiling.transformed("patch", tiling.unfolded(x, tiling.patch))
        products = patches.view(tiling.places, -1, self.in_channels) @ self.kernels
        tiles = tiling.transformed("tile", products.view(tiling.places, -1))
        tiling.put_tiles(tiles, output, self.bias)


class FewOutputsConvolution(FasterConvolution):
    """A convolution to a picture's channels.

    Each row of the kernel gives outputs of its own; their maps are then shifted and added.
    """

    rows: Tensor

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__(convolution)
        rows = self.weight.detach().transpose(1, 2).flatten(0, 1).unsqueeze(2)
        self.keep("rows", rows.contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to N×K and sides shorter by the kernel's less one."""
        kernel_height = self.kernel_size[0]
        parts = F.conv2d(x, self.rows).unflatten(1, (self.out_channels, kernel_height))
        # So that 16 bits round each part once, and not every sum of them.
        parts = parts.to(torch.promote_types(x.dtype, torch.float32))
        height = x.shape[2] - kernel_height + 1
        output: Tensor = parts[:, :, 0, :height]
        if self.bias is not None:
            output = output + self.bias.view(-1, 1, 1)
        for row in range(1, kernel_height):
            output = output + parts[:, :, row, row : row + height]
        return output.to(x.dtype)
