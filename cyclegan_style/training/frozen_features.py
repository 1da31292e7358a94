"""SqueezeNet's features of pictures, through which gradients pass and end nowhere.

They are no module, so that the network that others have trained is among nobody's parameters: no
optimiser updates it, no process exchanges its gradients, no checkpoint holds it and no average.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from cyclegan_style.config import FeatureLayer
from cyclegan_style.features.squeezenet import SQUEEZENET


class FrozenFeatures:
    """Activations of the named layers."""

    def __init__(self, layers: Sequence[FeatureLayer]) -> None:
        self.layers = tuple(layers)
        self.network = SQUEEZENET.load(SQUEEZENET.find())

    def __call__(self, images: Tensor) -> dict[FeatureLayer, Tensor]:
        """N×C×h×w activations of N×3×H×W images in [-1, 1], by layer."""
        activations: dict[FeatureLayer, Tensor] = self.network(
            SQUEEZENET.input.normalised(images), self.layers
        )
        return activations

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        """Copies of networks that look at these features look at the same."""
        return self


class Networks(nn.ModuleDict):
    """Networks by name, and the frozen features by which they are trained, if they are."""

    def __init__(
        self, networks: Mapping[str, nn.Module], layers: Sequence[FeatureLayer] = ()
    ) -> None:
        super().__init__(networks)
        self.features = FrozenFeatures(layers) if layers else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Take the frozen features along to another device or type, though they are no part."""
        if self.features is not None:
            self.features.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self
