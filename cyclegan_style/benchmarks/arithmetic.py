"""How fast this machine multiplies, and how long a step's arithmetic would take at that speed."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from cyclegan_style.benchmarks.timing import seconds_of

CHANNELS = 256
"""Of the convolutions in which a residual generator spends most of its time."""
ROUND_SECONDS = 0.05
"""A round of calls takes as long at least, beside which a GPU's launches are short."""
ROUNDS = 3


def operations_of(function: Callable[[], object]) -> int:
    """Floating-point operations of a call's convolutions and products of matrices."""
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def operations_per_second(function: Callable[[], object]) -> float:
    """Those of the fastest of a few rounds of calls."""
    operations = operations_of(function)  # which is also the first call, that finds kernels
    calls = max(1, round(ROUND_SECONDS / seconds_of(function)))
    seconds = (seconds_of(lambda: [function() for _ in range(calls)]) for _ in range(ROUNDS))
    return operations * calls / min(seconds)


def convolution_speed(
    images: int, side: int, device: torch.device, dtype: torch.dtype, forward_only: bool = False
) -> float:
    """Operations per second of a 3×3 convolution of 256 channels, forward and backward."""
    # Not a layer, through which the counter cannot follow gradients of its inputs.
    inputs, weight = (
        torch.rand(shape, device=device, dtype=dtype)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
        for shape in ((images, CHANNELS, side, side), (CHANNELS, CHANNELS, 3, 3))
    )
    gradient = torch.rand_like(inputs)

    def there_and_back() -> None:
        outputs = F.conv2d(inputs, weight, padding=1)
        if not forward_only:
            torch.autograd.grad(outputs, [inputs, weight], gradient)

    with torch.set_grad_enabled(not forward_only):
        return operations_per_second(there_and_back)


def matrix_speed(side: int, device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a product of two square matrices, about the device's peak."""
    first, second = (torch.rand(side, side).to(device, dtype) for _ in range(2))
    return operations_per_second(lambda: first @ second)
