"""A set of pictures as it was examined: a look at each, and what SqueezeNet sees in it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cyclegan_style.data.images import ImageError, Pixels, read_image, resize, to_tensor
from cyclegan_style.data.listing import Split, list_images
from cyclegan_style.evaluation.checking.looks import Look, look_at
from cyclegan_style.evaluation.collect import collect_features, on_device
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.features.trained import Layers

NAMES = {"a": "A", "b": "B", "test_a": "test A", "test_b": "test B"}
"""What the sets are called."""

_SIDE = 128
_LAYER = "fire9"

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Examined:
    """The readable pictures of a set, in the order of their paths, and the others' errors."""

    name: str
    """a, b, test_a or test_b."""
    spec: str
    paths: list[Path]
    looks: list[Look]
    features: Features
    """Of length 1, one row for each picture."""
    errors: list[ImageError]

    def __len__(self) -> int:
        """Number of readable pictures."""
        return len(self.paths)

    @property
    def title(self) -> str:
        """What the set is called."""
        return NAMES[self.name]

    @property
    def found(self) -> int:
        """Number of files."""
        return len(self.paths) + len(self.errors)


class MeanActivations(nn.Module):
    """Means over the places of SqueezeNet's last layer, N×3×H×W to N×512 of length 1."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> Tensor:
        """Features of pictures in [-1, 1]."""
        activations = self.layers(SQUEEZENET.input.normalised(images), (_LAYER,))[_LAYER]
        return nn.functional.normalize(activations.mean((2, 3)))


def load_network() -> nn.Module:
    """The network that pictures are shown to, on this process's device."""
    network = MeanActivations(SQUEEZENET.load(SQUEEZENET.find())).eval()
    return on_device(network.requires_grad_(False))


def examine(name: str, spec: str, split: Split, field: str, network: nn.Module) -> Examined:
    """Read every picture of a set once."""
    found = list_images(spec, split, field)
    looks: dict[Path, Look] = {}

    def read(path: Path) -> Pixels:
        pixels = read_image(path)
        looks[path] = look_at(pixels)
        return pixels

    collected = collect_features(
        found, network, _prepared, read=read, progress=f"{field}: examining images"
    )
    paths = [found[index] for index in collected.indices]
    looks_in_order = [looks[path] for path in paths]
    return Examined(name, spec, paths, looks_in_order, collected.features, collected.errors)


def _prepared(pixels: Pixels) -> torch.Tensor:
    return to_tensor(resize(pixels, (_SIDE, _SIDE)))
