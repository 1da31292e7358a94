"""Heads of discriminators on a network that was trained by others (Sauer et al., 2021)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from cyclegan_style.config import FeatureLayer

HEADS = "heads."
"""What the keys of their tensors begin with in a discriminator's state."""


class Layer(NamedTuple):
    """What a head has to know of the activations that it judges."""

    channels: int
    deviation: float
    """That of a channel over the places of a photograph, by which activations are divided."""


# Root mean square over the channels and 60 photographs of 256 × 256 pixels.
SQUEEZENET_LAYERS: Mapping[FeatureLayer, Layer] = {
    "conv1": Layer(64, 27.0),
    "fire2": Layer(128, 37.0),
    "fire3": Layer(128, 43.0),
    "fire4": Layer(256, 56.0),
    "fire5": Layer(256, 38.0),
    "fire6": Layer(384, 47.0),
    "fire7": Layer(384, 23.0),
    "fire8": Layer(512, 17.0),
    "fire9": Layer(512, 9.0),
}


def scaled(activations: Mapping[FeatureLayer, Tensor]) -> list[Tensor]:
    """Activations of each layer divided by their deviation."""
    return [found / SQUEEZENET_LAYERS[layer].deviation for layer, found in activations.items()]


def build_head(channels: int, width: int = 64) -> nn.Sequential:
    """Judges each place of a layer's activations by the places around it, without a sigmoid."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 1, 3, padding=1),
    )


class FeatureHeads(nn.ModuleDict):
    """A head for each named layer of SqueezeNet, or none at all."""

    def __init__(self, layers: Sequence[FeatureLayer]) -> None:
        unknown = [layer for layer in layers if layer not in SQUEEZENET_LAYERS]
        if unknown:
            raise ValueError(f"SqueezeNet has no layer {unknown[0]!r}")
        super().__init__({layer: build_head(SQUEEZENET_LAYERS[layer].channels) for layer in layers})
        self.layers = tuple(layers)

    def forward(self, activations: Mapping[FeatureLayer, Tensor]) -> list[Tensor]:
        """Map N×C×h×w activations by layer to N×1×h×w verdicts of each head."""
        return [
            self[layer](activations[layer] / SQUEEZENET_LAYERS[layer].deviation)
            for layer in self.layers
        ]
