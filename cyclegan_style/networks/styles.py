"""Several styles in one network: a scale and shift of each after every norm (Dumoulin et al. 2017).

Everything else that a generator has learned is shared, so that styles can be blended by blending
their scales and shifts.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cyclegan_style.networks.layers import InstanceNorm


class StyleScales(nn.Module):
    """z = γₛ x + βₛ for the style s of each picture, x normalised (their equation 5)."""

    def __init__(self, styles: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(styles, channels))
        self.bias = nn.Parameter(torch.zeros(styles, channels))
        self.shares: Tensor | None = None
        """Of each style, for each picture or for all, N×S or 1×S; None: all of the first."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift each channel of N×C×H×W maps."""
        return torch.addcmul(self.blended(self.bias), x, self.blended(self.weight))

    def blended(self, values: Tensor) -> Tensor:
        """One value for each picture and channel, or each channel."""
        chosen = values[:1] if self.shares is None else self.shares.to(values) @ values
        return chosen[:, :, None, None]


def give_styles(network: nn.Module, styles: int) -> None:
    """Put scales and shifts after every instance norm."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                scales = StyleScales(styles, child.num_features)
                setattr(module, name, nn.Sequential(child, scales))


def choose_styles(network: nn.Module, shares: Tensor | None) -> None:
    """Paint in these shares of each style, N×S for each picture or 1×S for all, from now on.

    None is the first style.
    """
    for scales in all_scales(network):
        scales.shares = shares


def settle_style(network: nn.Module, shares: Tensor) -> None:
    """Leave only one style, blended of all by 1×S shares."""
    for scales in all_scales(network):
        for values in (scales.weight, scales.bias):
            values.data = (shares.to(values) @ values).detach()


def all_scales(network: nn.Module) -> Iterator[StyleScales]:
    """Those of every norm."""
    return (module for module in network.modules() if isinstance(module, StyleScales))
