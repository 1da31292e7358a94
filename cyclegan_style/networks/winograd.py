"""3×3 convolutions by Winograd's algorithm, as products of matrices (Lavin and Gray, 2016).

A square tile of the output is Aᵀ(U ∘ V)A, with U the transformed kernel and V the transformed patch
of the input, two pixels larger than the tile. Tiles of 4×4 take four times fewer multiplications
in float32, and three times fewer in 16 bits. Summed over the channels, the products of all tiles
are a product of matrices for each place in a transformed patch.

Gradients are those of these very steps, each transposed: with M = UV, dV = UᵀdM and dU = dM Vᵀ.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cyclegan_style.networks.layers import DemodulatedConvolution

FEWEST_CHANNELS = 96
"""Below it the transforms take longer than they save."""
FEWEST_PIXELS = 32 * 32
"""Of a batch in training, whose kernels are transformed at each call."""


@dataclass(frozen=True)
class Tiling:
    """How an output is cut into tiles, and their transforms."""

    points: tuple[float, ...]
    """Where polynomials are evaluated, beside infinity."""
    imaginary: bool = False
    """Whether also at i, whose complex value stands for that at -i as well."""

    @property
    def patch(self) -> int:
        """Side of the patch of the input that a tile is made of."""
        return len(self.points) + 1 + 2 * self.imaginary

    @property
    def side(self) -> int:
        """Of a tile."""
        return self.patch - 2

    @property
    def places(self) -> int:
        """Of a transformed patch, each of which is a matrix of its own."""
        return (len(self.points) + 1 + 3 * self.imaginary) ** 2

    def whole_tiles(self, side: int) -> int:
        """Tiles that cover a side."""
        return -(-side // self.side)

    def padded(self, x: Tensor, side: int) -> Tensor:
        """Zeros below and beside, so that squares of this side, a tile apart, reach the end."""
        over = side - self.side
        below, beside = (-(size - over) % self.side for size in x.shape[2:])
        return F.pad(x, (0, beside, 0, below)) if below or beside else x

    def unfolded(self, x: Tensor, side: int) -> Tensor:
        """The pixels of squares a tile apart: a row for each place in one, channels last."""
        squares = x.unfold(2, side, self.side).unfold(3, side, self.side)
        return squares.permute(4, 5, 0, 2, 3, 1).reshape(side**2, -1)

    def put_tiles(self, tiles: Tensor, output: Tensor, bias: Tensor | None) -> None:
        """Fill maps of whole tiles; the tiles have a row for each place in one."""
        count, channels, height, width = output.shape
        down, across = height // self.side, width // self.side
        tiles = tiles.view(self.side, self.side, count, down, across, channels)
        tiles = tiles.permute(2, 5, 3, 0, 4, 1)  # as the output: each place beside its tile
        output = output.unflatten(3, (across, self.side)).unflatten(2, (down, self.side))
        if bias is None:
            output.copy_(tiles)
        else:
            torch.add(tiles, bias.view(-1, 1, 1, 1, 1), out=output)

    def transformed(self, name: str, rows: Tensor) -> Tensor:
        """The transform of that name of each column, which holds a tile, a kernel or a patch."""
        return _matrices(self, rows.dtype)[name] @ rows

    def transposed(self, name: str, rows: Tensor) -> Tensor:
        """The transposed transform of that name of each column."""
        return _matrices(self, rows.dtype)[name].t() @ rows


AT_REAL_POINTS = Tiling((0.0, 1.0, -1.0, 0.5, -2.0))
"""36 products for a tile of 4×4. Errors are a third of those of the usual points 0, ±1, ±2."""
AT_ROOTS_OF_UNITY = Tiling((0.0, 1.0, -1.0), imaginary=True)
"""49 products for a tile of 4×4, by transforms that only add and subtract and are exact in 16 bits
(Barabasz and Gregg, 2019). Errors are twice those of a direct convolution there, where those of 36
products are eight times as large."""


def tiling_of(dtype: torch.dtype) -> Tiling:
    """The fewest products whose errors this number format bears."""
    return AT_ROOTS_OF_UNITY if dtype.itemsize == 2 else AT_REAL_POINTS


class TrainedWinograd(nn.Conv2d):
    """A 3×3 convolution without padding, forward and backward by Winograd's algorithm.

    Of small maps it is computed directly.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        device = input.device.type
        if torch.is_autocast_enabled(device):
            input = input.to(torch.get_autocast_dtype(device))
        tiling = tiling_of(input.dtype)
        count, _, height, width = input.shape
        tiles = count * tiling.whole_tiles(height - 2) * tiling.whole_tiles(width - 2)
        output: Tensor = (
            super()._conv_forward(input, weight, bias)
            if tiles * tiling.side**2 < FEWEST_PIXELS
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
    """N×C×H×W and kernels K×C×3×3 to N×K×(H−2)×(W−2), channels last, in the input's format."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tiling = tiling_of(x.dtype)
        patches, kernels = _values_of_patches(tiling, x), _values_of_kernels(tiling, weight, x)
        # Transformed kernels are as large as all else that is kept: they are computed again.
        ctx.save_for_backward(patches, weight)
        ctx.shape = x.shape
        count, _, height, width = x.shape
        height, width = height - 2, width - 2
        covered = [tiling.whole_tiles(side) * tiling.side for side in (height, width)]
        output = torch.empty(
            (count, len(weight), *covered),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        products = patches @ kernels.transpose(1, 2)
        own_bias = None if bias is None else bias.to(x.dtype)
        tiling.put_tiles(tiling.transformed("tile", products.flatten(1)), output, own_bias)
        return output[:, :, :height, :width].contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        patches, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        tiling = tiling_of(patches.dtype)
        tiles = tiling.unfolded(tiling.padded(gradient, tiling.side), tiling.side)
        of_products = tiling.transposed("tile", tiles).view(tiling.places, -1, len(weight))
        return (
            _gradient_of_x(tiling, of_products, weight, ctx.shape) if of_x else None,
            _gradient_of_weight(tiling, of_products, patches, weight) if of_weight else None,
            gradient.sum((0, 2, 3), dtype=weight.dtype) if of_bias else None,
        )


def _gradient_of_x(
    tiling: Tiling, of_products: Tensor, weight: Tensor, shape: torch.Size
) -> Tensor:
    """The sum of what the patches that overlap at a place give it."""
    of_patches = of_products @ _values_of_kernels(tiling, weight, of_products)
    count, channels, height, width = shape
    side, patch = tiling.side, tiling.patch
    down, across = tiling.whole_tiles(height - 2), tiling.whole_tiles(width - 2)
    patches = tiling.transposed("patch", of_patches.flatten(1))
    patches = patches.view(patch, patch, count, down, across, channels).permute(2, 3, 0, 4, 1, 5)
    total = patches.new_zeros(count, down + 1, side, across + 1, side, channels)
    over = patch - side
    total[:, :down, :, :across] = patches[:, :, :side, :, :side]
    total[:, :down, :, 1:, :over] += patches[:, :, :side, :, side:]
    total[:, 1:, :over, :across] += patches[:, :, side:, :, :side]
    total[:, 1:, :over, 1:, :over] += patches[:, :, side:, :, side:]
    return total.flatten(3, 4).flatten(1, 2)[:, :height, :width].permute(0, 3, 1, 2)


def _gradient_of_weight(
    tiling: Tiling, of_products: Tensor, patches: Tensor, weight: Tensor
) -> Tensor:
    """In the number format and the order of the weight, since it is added to others of it."""
    of_kernels = of_products.transpose(1, 2) @ patches
    kernels = tiling.transposed("kernel", of_kernels.flatten(1))
    return torch.empty_like(weight).copy_(kernels.view(3, 3, *weight.shape[:2]).permute(2, 3, 0, 1))


def _values_of_patches(tiling: Tiling, x: Tensor) -> Tensor:
    """V: for each place a matrix of a row for every tile and a column for every channel."""
    patches = tiling.unfolded(tiling.padded(x, tiling.patch), tiling.patch)
    return tiling.transformed("patch", patches).view(tiling.places, -1, x.shape[1])


def _values_of_kernels(tiling: Tiling, weight: Tensor, like: Tensor) -> Tensor:
    """U: for each place a matrix of K×C, in the number format of a map."""
    rows = torch.empty((3, 3, *weight.shape[:2]), dtype=like.dtype, device=weight.device)
    kernels = rows.copy_(weight.permute(2, 3, 0, 1)).view(9, -1)
    return tiling.transformed("kernel", kernels).view(tiling.places, *weight.shape[:2])


@cache
def _matrices(tiling: Tiling, dtype: torch.dtype) -> dict[str, Tensor]:
    """Transforms of columns and rows at once, by one product of matrices."""
    names = ("tile", "kernel", "patch")
    return {
        name: torch.kron(matrix, matrix).to(dtype)
        for name, matrix in zip(names, transforms(tiling), strict=True)
    }


def transforms(tiling: Tiling) -> tuple[Tensor, Tensor, Tensor]:
    """Aᵀ for tiles, G for kernels and Bᵀ for patches, in float64.

    A product of polynomials follows from its values at enough points: with V the matrix from
    coefficients to values, it is V⁻¹(Va ∘ Vb). Transposed, that is a convolution. Complex values
    are multiplied as (a + bi)(c + di) = ac − bd + ((a + b)(c + d) − ac − bd)i.
    """

    def values(coefficients: int) -> Tensor:
        rows = [[point**power for power in range(coefficients)] for point in tiling.points]
        if tiling.imaginary:
            parts = ((1.0, 0.0, -1.0, 0.0), (0.0, 1.0, 0.0, -1.0))  # of the powers of i
            rows += [[part[power % 4] for power in range(coefficients)] for part in parts]
        infinity = [0.0] * (coefficients - 1) + [1.0]
        return torch.tensor([*rows, infinity], dtype=torch.float64, device="cpu")

    def among_values(of_complex: list[list[float]]) -> Tensor:
        parts = [torch.tensor(of_complex)] if tiling.imaginary else []
        of_points = torch.eye(len(tiling.points))
        among: Tensor = torch.block_diag(of_points, *parts, torch.eye(1))
        return among.double().cpu()

    factors_of_products = among_values([[1, 0], [0, 1], [1, 1]])
    values_of_products = among_values([[1, -1, 0], [-1, -1, 1]])
    patch = torch.linalg.solve(values(tiling.patch), values_of_products).T
    # The kernel takes the factor of each row, so that float32 holds the rows of patches exactly.
    last = (patch.abs() > 1e-9).cumsum(1).argmax(1, keepdim=True)
    scale = patch.gather(1, last)
    tile, kernel = (factors_of_products @ values(size) for size in (tiling.side, 3))
    return tile.T, kernel * scale, patch / scale
