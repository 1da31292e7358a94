"""Layers and initial weights that generators and discriminators share."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["instance", "batch", "none"]


class InstanceNorm(nn.InstanceNorm2d):
    """Instance norm that leaves maps, and their gradients, in the order in which they come.

    The layer of torch lays maps whose channels come last out anew, and so does the convolution
    after it. Batch norm of a single picture is the same and has kernels for either order. The
    compiler chooses orders itself and is given torch's layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of each picture by itself."""
        channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        if torch.compiler.is_compiling() or not channels_last:
            return super().forward(x)
        pictures = [
            F.batch_norm(picture, None, None, training=True, eps=self.eps) for picture in x.split(1)
        ]
        return pictures[0] if len(pictures) == 1 else torch.cat(pictures)


def build_norm(name: NormName, channels: int) -> nn.Module:
    """Normalisation layer; ``none`` keeps its place, so that state-dict keys do not move."""
    if name == "instance":
        return InstanceNorm(channels)
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
