"""SqueezeNet's features of what discriminators see, through which gradients pass and end nowhere.

This is no module, so that the network that others have trained is among nobody's parameters: no
optimiser updates it, no process exchanges its gradients and no checkpoint holds it.
"""

from collections.abc import Sequence

from torch import Tensor

from cyclegan_style.config import FeatureLayer
from cyclegan_style.features.squeezenet import SQUEEZENET


class FrozenFeatures:
    """Activations of the named layers."""

    def __init__(self, layers: Sequence[FeatureLayer]) -> None:
        self.layers = tuple(layers)
        self.network = SQUEEZENET.load(SQUEEZENET.find())

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """N×C×h×w activations of N×3×H×W images in [-1, 1], by layer."""
        activations: dict[str, Tensor] = self.network(
            SQUEEZENET.input.normalised(images), self.layers
        )
        return activations
