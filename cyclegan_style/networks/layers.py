"""Layers and initial weights that generators and discriminators share."""

from typing import Literal

from torch import nn

NormName = Literal["instance", "batch", "none"]


def build_norm(name: NormName, channels: int) -> nn.Module:
    """Normalisation layer; ``none`` keeps its place, so that state-dict keys do not move."""
    if name == "instance":
        return nn.InstanceNorm2d(channels)
    if name == "batch":
        return nn.BatchNorm2d(channels)
    return nn.Identity()


def has_bias(norm: NormName) -> bool:
    """Whether convolutions before the norm carry a bias, as in the reference."""
    return norm == "instance"


def initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02) and biases 0, section 7.2 of the CycleGAN paper."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
