"""SqueezeNet 1.1 (Iandola et al. 2016), small enough to come with the package."""

from torch import Tensor

from cyclegan_style.features.trained import Input, Layers, TrainedNetwork, layers_of_torchvision
from cyclegan_style.features.weights import Published

PLACES = {
    "conv1": 1,
    "fire2": 3,
    "fire3": 4,
    "fire4": 6,
    "fire5": 7,
    "fire6": 9,
    "fire7": 10,
    "fire8": 11,
    "fire9": 12,
}
"""The names of the paper, and where in torchvision's ``features`` their activations come out."""


def build_squeezenet(state: dict[str, Tensor]) -> Layers:
    """The convolutional part with these weights."""
    # Only here: it takes a second and 160 MB.
    from torchvision.models import squeezenet1_1

    return layers_of_torchvision(lambda: squeezenet1_1(weights=None), state, PLACES)


SQUEEZENET = TrainedNetwork(
    "SqueezeNet 1.1",
    tuple(PLACES),
    Input(smallest=32),
    Published(
        "SqueezeNet weights",
        ("squeezenet1_1-features.safetensors",),
        "",  # it comes with the package
        "a9f9e814938ceb07bf75b8a13dcd69c882b281bff51bf17cf6473f8860e9d376",
        "BSD-2-Clause (the weights), MIT (their conversion); see squeezenet1_1-features.md",
        "install the package again",
    ),
    build_squeezenet,
)
