"""Networks that are compiled for training, part by part."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from cyclegan_style.networks.resampling import ChangeOfInput, changed
from cyclegan_style.networks.resnet import ResnetGenerator, segments
from cyclegan_style.system.hardware import compiler_options

Layer = Callable[[Tensor], Tensor]


def compile_networks(networks: Iterable[nn.Module], device: torch.device) -> None:
    """Compile each network in place, which leaves its state-dict keys as they are.

    A resnet's blocks are one program with different weights. Compiled one by one, it is compiled
    once and not as often as there are blocks and networks.
    """
    for network in networks:
        if isinstance(network, ResnetGenerator):
            row = [segment.forward for segment in segments(network.model, blocks=1)]
            compile_in_place(network.model, row, device)
        else:
            compile_in_place(network, [network.forward], device)


def compile_in_place(network: nn.Module, row: Sequence[Layer], device: torch.device) -> None:
    """Let the network pass its input through this row, compiled, where gradients are wanted.

    Pictures that are only looked at come in other sizes, for each of which all would be compiled
    anew.
    """
    options = compiler_options(device)
    compiled = [torch.compile(part, dynamic=False, options=options) for part in row]
    network.forward = partial(
        compiled_if_trained, network.forward, compiled, isinstance(network, ChangeOfInput)
    )


def compiled_if_trained(
    plain: Layer, compiled: Sequence[Layer], changes_input: bool, x: Tensor
) -> Tensor:
    """What a network makes of N×C×H×W."""
    if not torch.is_grad_enabled():
        return plain(x)
    out = x
    for part in compiled:
        out = part(out)
    return changed(x, out) if changes_input else out
