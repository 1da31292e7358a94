"""Generators that compute activations again in the backward pass instead of keeping them.

A network is cut into segments (Chen et al., 2016). Only what passes from one to the next is kept;
the rest is computed once more, the same to the last bit, when gradients come back to a segment.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cyclegan_style.networks.encoders import encoder_activations
from cyclegan_style.networks.resampling import ChangeOfInput, changed
from cyclegan_style.networks.resnet import ResnetGenerator, segments

BLOCKS_OF_SEGMENT = 3
"""A resnet's three blocks need about as much memory as its layers at larger sizes."""

Result = TypeVar("Result")


def recompute_activations(generators: Iterable[nn.Module]) -> None:
    """Cut the generators into segments, in place, which leaves their state-dict keys as they are.

    A U-Net is one segment: its first level needs as much memory as all below, and most of what lies
    between them would have to be kept. Copies of generators are cut if they are made after this.
    """
    for network in generators:
        if isinstance(network, ResnetGenerator):
            layers = network.model
            layers.forward = partial(in_segments, layers)  # type: ignore[method-assign]
        else:
            network.forward = partial(recomputed, network.forward, network)


def in_segments(layers: nn.Sequential, x: Tensor) -> Tensor:
    """What a resnet's layers make of N×C×H×W, segment by segment."""
    out = x
    for segment in segments(layers, BLOCKS_OF_SEGMENT):
        out = recomputed(segment, segment, out)
    return changed(x, out) if isinstance(layers, ChangeOfInput) else out


def look_again(encoder: nn.Module, images: Tensor) -> list[Tensor]:
    """A generator's encoder as one segment."""
    return recomputed(encoder_activations, encoder, encoder, images)


def recomputed(function: Callable[..., Result], network: nn.Module, *inputs: object) -> Result:
    """What the function returns; of what it computes by the network it keeps its inputs alone."""
    if not torch.is_grad_enabled():
        return function(*inputs)
    result: Result = checkpoint(
        function,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), statistics_kept(network)),
    )
    return result


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Let a second pass over the same pictures leave the statistics of batch norm as they are."""
    statistics = [
        (norm, name, buffer)
        for norm in network.modules()
        if isinstance(norm, nn.BatchNorm2d)
        for name, buffer in norm.named_buffers(recurse=False)
    ]
    try:
        for norm, name, buffer in statistics:
            setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, name, buffer in statistics:
            setattr(norm, name, buffer)
