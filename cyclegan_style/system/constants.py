"""Numbers that a computation needs on its device, put there once."""

from functools import cache

import torch
from torch import Tensor

Numbers = tuple[float, ...] | tuple[tuple[float, ...], ...]


def constant(numbers: Numbers, like: Tensor) -> Tensor:
    """A tensor of these numbers where and how another one is; it is shared, and not to be changed.

    A new tensor of Python's numbers is copied to a GPU, for which the host waits until all that the
    GPU was given before is done.
    """
    if torch.compiler.is_compiling():  # which keeps constants itself
        return like.new_tensor(numbers)
    return _kept(numbers, like.dtype, like.device)


@cache
def _kept(numbers: Numbers, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # or it could take no part in training later on
        return torch.tensor(numbers, dtype=dtype, device=device)
