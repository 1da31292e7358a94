"""The networks whose features a painting is judged by, made fit for it."""

from collections.abc import Mapping

import torch
from torch import nn

from cyclegan_style.errors import UserError
from cyclegan_style.features.squeezenet import SQUEEZENET
from cyclegan_style.features.trained import Layers, TrainedNetwork
from cyclegan_style.features.vgg import VGG19
from cyclegan_style.stylizing.recipe import LayerWeights, Recipe

NETWORKS: Mapping[str, TrainedNetwork[Layers]] = {"squeezenet": SQUEEZENET, "vgg19": VGG19}
USUAL_CONTENT_LAYERS: Mapping[str, LayerWeights] = {
    "squeezenet": {"fire5": 1.0},
    "vgg19": {"relu4_2": 1.0},
}
USUAL_STYLE_LAYERS: Mapping[str, LayerWeights] = {
    "squeezenet": {"conv1": 1.0, "fire2": 1.0, "fire3": 1.0, "fire5": 1.0},
    "vgg19": {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0},
}
"""Deeper layers of SqueezeNet were seen to scatter coloured dots."""


def painting_network(recipe: Recipe, device: torch.device) -> Layers:
    """The recipe's network, which mirrors borders where it was trained with zeros.

    Zeros beyond the border are what paints a dark frame.
    """
    trained = NETWORKS[recipe.features]
    network = trained.load(trained.find(recipe.weights))
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.padding != (0, 0):
            module.padding_mode = "reflect"
    if recipe.pooling == "average":
        for index, module in enumerate(network.row):
            if isinstance(module, nn.MaxPool2d):
                network.row[index] = nn.AvgPool2d(
                    module.kernel_size, module.stride, ceil_mode=module.ceil_mode
                )
    # The order that a processor's or GPU's 16-bit and widest convolutions prefer.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def checked_layers(weights: LayerWeights, features: str, option: str) -> LayerWeights:
    """The same, or a UserError that lists the layers that there are."""
    known = NETWORKS[features].layers
    for name, weight in weights.items():
        if name not in known:
            raise UserError(f"{option}: {features} has no layer {name!r}, but {', '.join(known)}")
        if not 0 < weight < float("inf"):
            raise UserError(f"{option}: the weight of {name} must be above 0, not {weight}")
    if not weights:
        raise UserError(f"{option}: name at least one of {', '.join(known)}")
    return weights
