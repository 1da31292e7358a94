"""3×3 convolutions by Winograd's algorithm, as products of matrices (Lavin and Gray, 2016).

A 4×4 tile of the output is Aᵀ(U ∘ V)A, with U the transformed kernel and V the transformed 6×6
patch of the input, which takes four times fewer multiplications. Summed over the channels, the
products of all tiles are 36 products of matrices.

Gradients are those of these very steps, each transposed: with M = UV, dV = UᵀdM and dU = dM Vᵀ.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cyclegan_style.networks.layers import DemodulatedConvolution

TILE = 4
PATCH = TILE + 2
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Where polynomials are evaluated, beside infinity. Errors are a third of those of the usual
0, ±1, ±2."""
FEWEST_CHANNELS = 96
"""Below it the transforms take longer than they save."""
FEWEST_TILES = 64
"""Of a batch in training, whose kernels are transformed at each call: a map of 32 × 32."""


class TrainedWinograd(nn.Conv2d):
    """A 3×3 convolution without padding, forward and backward by Winograd's algorithm.

    Of small maps it is computed directly.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        count, _, height, width = input.shape
        tiles = count * _whole_tiles(height - 2) * _whole_tiles(width - 2)
        output: Tensor = (
            super()._conv_forward(input, weight, bias)
            if tiles < FEWEST_TILES
            else _Winograd.apply(input, weight, bias)
        )
        return output


class DemodulatedWinograd(DemodulatedConvolution, TrainedWinograd):
    """The same of kernels with a fixed norm."""


def train_by_winograd(network: nn.Module) -> None:
    """Let the convolutions that gain from it train by Winograd's algorithm.

    They change their class alone, so that parameters and keys stay what they are.
    """
    for layer in layers_that_gain(network):
        layer.__class__ = (
            DemodulatedWinograd if isinstance(layer, DemodulatedConvolution) else TrainedWinograd
        )


def layers_that_gain(network: nn.Module) -> list[nn.Conv2d]:
    """The 3×3 convolutions of many channels."""
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (0, 0))
        and min(layer.in_channels, layer.out_channels) >= FEWEST_CHANNELS
    ]


class _Winograd(torch.autograd.Function):
    """N×C×H×W and kernels K×C×3×3 to N×K×(H−2)×(W−2), channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        patches, kernels = _values_of_patches(x), _values_of_kernels(weight)
        ctx.save_for_backward(patches, kernels)
        ctx.shape = x.shape
        count, _, height, width = x.shape
        height, width = height - 2, width - 2
        output = torch.empty(
            (count, len(weight), _whole_tiles(height) * TILE, _whole_tiles(width) * TILE),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        products = patches @ kernels.transpose(1, 2)
        put_tiles(transformed("tile", products.flatten(1)), output, bias)
        return output[:, :, :height, :width].contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        patches, kernels = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        tiles = unfolded(padded(gradient, TILE), TILE)
        of_products = transposed("tile", tiles).view(PATCH**2, -1, kernels.shape[1])
        return (
            _gradient_of_x(of_products @ kernels, ctx.shape) if of_x else None,
            _gradient_of_weight(of_products, patches) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
        )


def _gradient_of_x(of_patches: Tensor, shape: torch.Size) -> Tensor:
    """The sum of what the patches that overlap at a place give it."""
    count, channels, height, width = shape
    down, across = _whole_tiles(height - 2), _whole_tiles(width - 2)
    patches = transposed("patch", of_patches.flatten(1))
    patches = patches.view(PATCH, PATCH, count, down, across, channels).permute(2, 3, 0, 4, 1, 5)
    total = patches.new_zeros(count, down + 1, TILE, across + 1, TILE, channels)
    over = PATCH - TILE
    total[:, :down, :, :across] = patches[:, :, :TILE, :, :TILE]
    total[:, :down, :, 1:, :over] += patches[:, :, :TILE, :, TILE:]
    total[:, 1:, :over, :across] += patches[:, :, TILE:, :, :TILE]
    total[:, 1:, :over, 1:, :over] += patches[:, :, TILE:, :, TILE:]
    return total.flatten(3, 4).flatten(1, 2)[:, :height, :width].permute(0, 3, 1, 2)


def _gradient_of_weight(of_products: Tensor, patches: Tensor) -> Tensor:
    of_kernels = of_products.transpose(1, 2) @ patches
    kernels = transposed("kernel", of_kernels.flatten(1))
    return kernels.view(3, 3, *of_kernels.shape[1:]).permute(2, 3, 0, 1)


def _values_of_patches(x: Tensor) -> Tensor:
    """V: 36 matrices, each of a row for every tile and a column for every channel."""
    patches = unfolded(padded(x, PATCH), PATCH)
    return transformed("patch", patches).view(PATCH**2, -1, x.shape[1])


def _values_of_kernels(weight: Tensor) -> Tensor:
    """U: 36 matrices of K×C."""
    kernels = weight.permute(2, 3, 0, 1).flatten(0, 1).flatten(1)
    return transformed("kernel", kernels).view(PATCH**2, *weight.shape[:2])


# Tiles and patches


def _whole_tiles(side: int) -> int:
    return -(-side // TILE)


def padded(x: Tensor, side: int) -> Tensor:
    """Zeros below and beside, so that squares of this side, four apart, reach the last pixel."""
    over = side - TILE
    below, beside = (-(size - over) % TILE for size in x.shape[2:])
    return F.pad(x, (0, beside, 0, below)) if below or beside else x


def unfolded(x: Tensor, side: int) -> Tensor:
    """The pixels of squares four apart: a row for each place in a square, channels last."""
    squares = x.unfold(2, side, TILE).unfold(3, side, TILE)
    return squares.permute(4, 5, 0, 2, 3, 1).reshape(side**2, -1)


def put_tiles(tiles: Tensor, output: Tensor, bias: Tensor | None) -> None:
    """Fill maps of whole tiles; the tiles have a row for each of their 16 places."""
    count, channels, height, width = output.shape
    down, across = height // TILE, width // TILE
    tiles = tiles.view(TILE, TILE, count, down, across, channels)
    tiles = tiles.permute(2, 5, 3, 0, 4, 1)  # as the output: each place beside its tile
    output = output.unflatten(3, (across, TILE)).unflatten(2, (down, TILE))
    if bias is None:
        output.copy_(tiles)
    else:
        torch.add(tiles, bias.view(-1, 1, 1, 1, 1), out=output)


# Transforms


def transformed(name: str, rows: Tensor) -> Tensor:
    """The transform of that name of each column, which holds a tile, a kernel or a patch."""
    return _matrices(rows.dtype)[name] @ rows


def transposed(name: str, rows: Tensor) -> Tensor:
    """The transposed transform of that name of each column."""
    return _matrices(rows.dtype)[name].t() @ rows


@cache
def _matrices(dtype: torch.dtype) -> dict[str, Tensor]:
    """Transforms of columns and rows at once, by one product of matrices."""
    names = ("tile", "kernel", "patch")
    return {
        name: torch.kron(matrix, matrix).to(dtype)
        for name, matrix in zip(names, transforms(), strict=True)
    }


def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Aᵀ for tiles, G for kernels and Bᵀ for patches, in float64.

    A product of polynomials follows from its values at enough points: with V the matrix from
    coefficients to values, it is V⁻¹(Va ∘ Vb). Transposed, that is a convolution.
    """

    def values(coefficients: int) -> Tensor:
        rows = [[point**power for power in range(coefficients)] for point in POINTS]
        infinity = [0.0] * (coefficients - 1) + [1.0]
        return torch.tensor([*rows, infinity], dtype=torch.float64, device="cpu")

    patch = torch.linalg.inv(values(PATCH)).T
    # The kernel takes the factor of each row, so that float32 holds the rows of patches exactly.
    factors = torch.cat([patch[:-1, -2], patch[-1:, -1]])[:, None]
    return values(TILE).T, values(3) * factors, patch / factors
