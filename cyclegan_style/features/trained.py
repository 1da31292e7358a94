"""What is known of a network that others have trained, in the same words for all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import torch
from torch import Tensor, nn

from cyclegan_style.features.weights import (
    Network,
    Published,
    WeightsError,
    built_from,
    find_weights,
)
from cyclegan_style.system.constants import constant

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Input:
    """What pictures must look like: N×3×H×W, RGB from 0 to 1 minus mean, over deviation."""

    smallest: int
    """Side in pixels below which nothing is left for the deepest layer."""
    side: int | None = None
    """Height and width, where no others will do."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION

    def normalised(self, images: Tensor) -> Tensor:
        """Pictures in [-1, 1] as the network takes them."""
        mean, deviation = (
            constant(values, images).view(3, 1, 1) for values in (self.mean, self.deviation)
        )
        return (images / 2 + 0.5 - mean) / deviation


@dataclass(frozen=True)
class TrainedNetwork(Generic[Network]):
    """A network trained by others, in one of the forms that its publishers give it."""

    name: str
    layers: tuple[str, ...]
    """Whose activations it can give, in the order of their computation."""
    input: Input
    weights: Published
    build: Callable[[dict[str, Tensor]], Network]
    """The network, at rest, with the tensors of a file of weights."""

    def find(self, file: Path | None = None, option: str = "--weights") -> Path:
        """The file of its weights: the given one, the package's, the cache's or a download."""
        return find_weights(self.weights, file, option)

    def load(self, path: Path) -> Network:
        """The network with the weights of a file."""
        return built_from(path, self.build, self.name)


class Layers(nn.Module):
    """A row of modules that gives the activations of some of its layers, by their names."""

    def __init__(self, modules: nn.Sequential, places: Mapping[str, int]) -> None:
        super().__init__()
        self.row = modules
        self.places = dict(places)
        """Where in the row each layer's activations come out."""

    def forward(self, images: Tensor, wanted: tuple[str, ...] | None = None) -> dict[str, Tensor]:
        """Activations, N×C×H×W each, of the wanted layers or all; nothing beyond is computed."""
        names = {self.places[name]: name for name in wanted or self.places}
        found: dict[str, Tensor] = {}
        activations = images
        for index in range(max(names) + 1):
            activations = self.row[index](activations)
            if index in names:
                found[names[index]] = activations
        return found


def layers_of_torchvision(
    build: Callable[[], nn.Module], state: Mapping[str, Tensor], places: Mapping[str, int]
) -> Layers:
    """The ``features`` of one of torchvision's networks, up to the last of the named places.

    The weights may be of these alone or, as torchvision publishes them, of the classifier as well.
    """
    with torch.device("meta"):
        features = build().get_submodule("features")
    row = nn.Sequential(*list(features.children())[: max(places.values()) + 1])
    prefix = "features." if any(name.startswith("features.") for name in state) else ""
    kept = {name: state[prefix + name] for name in row.state_dict() if prefix + name in state}
    for name, expected in row.state_dict().items():
        if name not in kept:
            raise WeightsError(f"{prefix}{name} is missing")
        if kept[name].shape != expected.shape:
            shapes = " and not ".join(
                "×".join(map(str, tensor.shape)) for tensor in (kept[name], expected)
            )
            raise WeightsError(f"{prefix}{name} is {shapes}")
    row.load_state_dict(kept, assign=True)
    return Layers(row.float().eval().requires_grad_(False), places)
