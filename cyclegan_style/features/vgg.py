"""VGG-19 (Simonyan and Zisserman 2015), with which Gatys et al. transferred styles."""

from torch import Tensor

from cyclegan_style.features.trained import Input, Layers, TrainedNetwork, layers_of_torchvision
from cyclegan_style.features.weights import Published

_CONVOLUTIONS = (2, 2, 4, 4, 4)
"""Between poolings."""


def _places() -> dict[str, int]:
    """Each convolution is followed by its activation, each block of them by a pooling."""
    places: dict[str, int] = {}
    index = 0
    for block, count in enumerate(_CONVOLUTIONS, 1):
        for number in range(1, count + 1):
            places[f"relu{block}_{number}"] = index + 1
            index += 2
        index += 1
    return places


PLACES = _places()
"""Layers, and where in torchvision's ``features`` their activations come out."""


def build_vgg19(state: dict[str, Tensor]) -> Layers:
    """The convolutional part with these weights."""
    # Only here: it takes a second and 160 MB.
    from torchvision.models import vgg19

    return layers_of_torchvision(lambda: vgg19(weights=None), state, PLACES)


VGG19 = TrainedNetwork(
    "VGG-19",
    tuple(PLACES),
    Input(smallest=32),
    Published(
        "VGG-19 weights",
        ("vgg19-dcbb9e9d.pth",),
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "dcbb9e9d",
        "BSD-3-Clause (torchvision)",
    ),
    build_vgg19,
)
