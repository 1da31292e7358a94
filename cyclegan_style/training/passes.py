"""Passes through networks: of several batches at once, and without gradients of the weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from cyclegan_style.networks import mixes_samples

Images = Mapping[str, Tensor]
"""By domain, ``"a"`` and ``"b"``; values are in [-1, 1]. Those of known pairs are ``"paired_a"``
and ``"paired_b"``."""


def apply_to_each(network: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    """What the network makes of each batch, in one pass where that gives the same values."""
    alike = len({batch.shape[1:] for batch in batches}) == 1
    if len(batches) == 1 or not alike or mixes_samples(network):
        return [network(batch) for batch in batches]
    joint: Tensor = network(torch.cat(list(batches)))
    ends = accumulate((len(batch) for batch in batches), initial=0)
    return [joint[begin:end] for begin, end in pairwise(ends)]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let no gradient reach the module's parameters, and restore what did before."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
