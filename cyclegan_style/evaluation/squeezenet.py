"""What SqueezeNet sees in pictures: features of sets of them, and a distance between two.

With a the activations of a layer l, channels × places, and s its scale, the features of a picture
are, one after the other for every layer,

    mean(a) / s    and    √(mean(a²) − mean(a)²) / s,    over the places of each channel.

They are a definition of their own: their Fréchet distance is not FID. The distance between two
pictures is eq. 1 of LPIPS (Zhang et al. 2018) without its trained weights of the channels,

    1/L Σₗ mean over places Σ over channels (â₁ − â₂)²,    with â = a / ‖a‖ over the channels.
"""

import torch
from torch import Tensor, nn

from cyclegan_style.evaluation.lpips import PerceptualDistance
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.features.trained import Layers
from cyclegan_style.system.processes import main_process_first

SCALES = {"fire3": 41.0, "fire5": 38.0}
"""The layers that are pooled, and how far their activations deviate within a photograph.

Deeper layers add dimensions that hold little but chance, which separates sets less.
"""
COMPARED = ("conv1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9")
"""The layers of the distance between two pictures, which are those of LPIPS."""


class PooledStatistics(nn.Module):
    """Means and deviations of each channel of some layers, N×3×H×W to N×768."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        """Features of pictures that are normalised as for ImageNet."""
        activations = self.layers(images, tuple(SCALES))
        pooled = []
        for name, scale in SCALES.items():
            variance, mean = torch.var_mean(activations[name], (2, 3), correction=0)
            pooled += [mean / scale, variance.sqrt() / scale]
        return torch.cat(pooled, 1)


def load_squeezenet_distance() -> PerceptualDistance:
    """The distance by the weights that come with the package, at rest."""
    network = SQUEEZENET.load(main_process_first(SQUEEZENET.find))
    weight = torch.full((1, 1, 1, 1), 1 / len(COMPARED))
    distance = PerceptualDistance(
        network, dict.fromkeys(COMPARED, weight), SQUEEZENET.input.smallest
    )
    return distance.eval().requires_grad_(False)
