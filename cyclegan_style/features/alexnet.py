"""The convolutions of torchvision's AlexNet, whose activations LPIPS compares."""

from pathlib import Path

import torch
from torch import Tensor, nn

from cyclegan_style.features.weights import Published, built_from

ALEXNET = Published(
    "AlexNet weights",
    ("alexnet-owt-7be5be79.pth",),
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "7be5be79",
    "name it with --lpips-weights",
)
CHANNELS = (64, 192, 384, 256, 256)
"""Of the activations after each of the convolutions."""
SMALLEST = 31
"""Side in pixels below which nothing is left for the deeper layers."""

_LAYERS = 12
"""The convolutions with their activations, up to the fifth."""


def load_alexnet(path: Path) -> nn.Sequential:
    """The layers with the weights of a file; those of the classifier are left out."""
    return built_from(path, build_alexnet, "torchvision's AlexNet")


def build_alexnet(state: dict[str, Tensor]) -> nn.Sequential:
    """The layers with these weights."""
    # Only here: it takes a second and 160 MB that no other score needs.
    from torchvision.models import alexnet

    with torch.device("meta"):
        features = nn.Sequential(*alexnet(weights=None).features[:_LAYERS])
    prefix = "features."
    kept = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    features.load_state_dict(kept, assign=True)
    return features.float()
