"""Networks that are compiled for training, part by part."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from cyclegan_style.networks.resampling import ChangeOfInput, changed
from cyclegan_style.networks.resnet import ResidualBlock, ResnetGenerator, segments
from cyclegan_style.system.hardware import compiler_options

Layer = Callable[[Tensor], Tensor]


def compile_networks(networks: Iterable[nn.Module], device: torch.device) -> None:
    """Compile each network in place, which leaves its state-dict keys as they are.

    A resnet's blocks are one program with different weights. Compiled one by one, it is compiled
    once and not as often as there are blocks and networks.
    """
    for network in networks:
        if isinstance(network, ResnetGenerator):
            row = segments(network.model, blocks=1)
            compile_in_place(network.model, [compiled(part.forward, device) for part in row])
        else:
            compile_in_place(network, [compiled(network.forward, device)])


def compile_blocks(networks: Iterable[nn.Module], device: torch.device) -> None:
    """Compile the residual blocks of each network in place, and nothing else."""
    for network in networks:
        if isinstance(network, ResnetGenerator):
            row = [
                compiled(part.forward, device) if isinstance(part, ResidualBlock) else part
                for part in segments(network.model, blocks=1)
            ]
            compile_in_place(network.model, row)


def compiled(layer: Layer, device: torch.device) -> Layer:
    """What computes the same, once it was given something and compiled for that."""
    return torch.compile(layer, dynamic=False, options=compiler_options(device))


def compile_in_place(network: nn.Module, row: Sequence[Layer]) -> None:
    """Let the network pass its input through this row, compiled, where gradients are wanted.

    Pictures that are only looked at come in other sizes, for each of which all would be compiled
    anew.
    """
    changes_input = isinstance(network, ChangeOfInput)
    network.forward = partial(compiled_if_trained, network.forward, row, changes_input)


def compiled_if_trained(
    plain: Layer, row: Sequence[Layer], changes_input: bool, x: Tensor
) -> Tensor:
    """What a network makes of N×C×H×W."""
    if not torch.is_grad_enabled():
        return plain(x)
    out = x
    for part in row:
        out = part(out)
    return changed(x, out) if changes_input else out
