"""Generators that compute activations again in the backward pass instead of keeping them.

A network is cut into segments (Chen et al., 2016). Only what passes from one to the next is kept;
the rest is computed once more, the same to the last bit, when gradients come back to a segment.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cyclegan_style.networks.encoders import encoder_activations
from cyclegan_style.networks.resampling import (
    BlurredConvolution,
    ChangeOfInput,
    FullSizeLevel,
    changed,
)
from cyclegan_style.networks.residual_unet import PreactivatedBlock, ResidualUnetLevel
from cyclegan_style.networks.resnet import ResidualBlock
from cyclegan_style.networks.unet import UnetLevel
from cyclegan_style.training.cyclegan import GeneratorsInTraining

BLOCKS_OF_SEGMENT = 3
"""A resnet's three blocks keep about as much as its layers at larger sizes, once computed again."""
LEVELS = UnetLevel, ResidualUnetLevel, FullSizeLevel
"""What has segments of its own inside."""

Result = TypeVar("Result")


def recompute_activations(training: GeneratorsInTraining) -> None:
    """Cut the generators into segments, in place, which leaves their state-dict keys as they are.

    Copies that were made before know nothing of it; those made after are cut as well.
    """
    for module in list(training.generators.modules()):
        if isinstance(module, nn.Sequential) and any(
            isinstance(layer, (*LEVELS, ResidualBlock)) for layer in module
        ):
            module.forward = partial(in_segments, module)  # type: ignore[method-assign]
        elif isinstance(module, PreactivatedBlock):
            again = partial(recomputed, module.forward, module)
            module.forward = again  # type: ignore[method-assign]
    if training.projections is not None:
        training.projections.look = look_again


def in_segments(layers: nn.Sequential, x: Tensor) -> Tensor:
    """What the layers make of N×C×H×W, segment by segment."""
    out = x
    for segment in segments(layers):
        # A bare convolution keeps nothing but its input anyway.
        forgets = isinstance(segment, nn.Sequential | BlurredConvolution)
        out = recomputed(segment, segment, out) if forgets else segment(out)
    return changed(x, out) if isinstance(layers, ChangeOfInput) else out


def segments(layers: nn.Sequential) -> list[nn.Module]:
    """Levels, a resnet's blocks by threes, and the layers between them, all in one each time."""
    found: list[nn.Module] = []
    for kind, row in groupby(layers, kind_of):
        run = list(row)
        if kind is ResidualBlock:
            starts = range(0, len(run), BLOCKS_OF_SEGMENT)
            found += [nn.Sequential(*run[start : start + BLOCKS_OF_SEGMENT]) for start in starts]
        else:
            found.append(run[0] if len(run) == 1 else nn.Sequential(*run))
    return found


def kind_of(layer: nn.Module) -> type[nn.Module] | None:
    """The class of a level or of a resnet's block, None for other layers."""
    return type(layer) if isinstance(layer, (*LEVELS, ResidualBlock)) else None


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
