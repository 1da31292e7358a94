"""The convolutions of torchvision's AlexNet, whose activations LPIPS compares."""

from torch import Tensor

from cyclegan_style.features.trained import Input, Layers, TrainedNetwork, layers_of_torchvision
from cyclegan_style.features.weights import Published

PLACES = {"relu1": 1, "relu2": 4, "relu3": 7, "relu4": 9, "relu5": 11}
"""Layers, and where in torchvision's ``features`` their activations come out."""
CHANNELS = (64, 192, 384, 256, 256)
"""Of the layers' activations."""


def build_alexnet(state: dict[str, Tensor]) -> Layers:
    """The convolutional part with these weights."""
    # Only here: it takes a second and 160 MB.
    from torchvision.models import alexnet

    return layers_of_torchvision(lambda: alexnet(weights=None), state, PLACES)


ALEXNET = TrainedNetwork(
    "torchvision's AlexNet",
    tuple(PLACES),
    Input(smallest=31),
    Published(
        "AlexNet weights",
        ("alexnet-owt-7be5be79.pth",),
        "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        "7be5be79",
        "BSD-3-Clause (torchvision)",
    ),
    build_alexnet,
)
