"""What a generator's own encoder makes of a picture, for losses that compare place by place."""

from torch import Tensor, nn

from cyclegan_style.networks.resampling import FullSizeLevel
from cyclegan_style.networks.residual_unet import ResidualUnetGenerator, ResidualUnetLevel
from cyclegan_style.networks.resnet import ResidualBlock, ResnetGenerator
from cyclegan_style.networks.unet import UnetGenerator, UnetLevel

CONVOLUTIONS_OF_RESNET = (1, 4, 7)
"""Places of the layer to full width and of both halvings."""
CONVOLUTIONS_OF_UNSHUFFLED = (2,)
"""The place of the only layer before the blocks of a resnet that is given pixels as channels."""
HALVINGS_OF_UNETS = 4
"""Below them there are few places left."""


def encoder_activations(network: nn.Module, images: Tensor) -> list[Tensor]:
    """N×C×h×w activations of layers on the way down; nothing beyond the last is computed.

    They are about those of Park et al. (2020): of a resnet the first three convolutions, the first
    residual block and the middle one; of U-Nets the first four halvings.
    """
    if isinstance(network, ResnetGenerator):
        return _of_resnet(network.model, images)
    if isinstance(network, UnetGenerator):
        return _of_unet(network.model, images)
    if isinstance(network, ResidualUnetGenerator):
        return _of_residual_unet(network.model, images)
    raise TypeError(f"{type(network).__name__} has no known encoder")


def _of_resnet(layers: nn.Sequential, x: Tensor) -> list[Tensor]:
    blocks = [place for place, layer in enumerate(layers) if isinstance(layer, ResidualBlock)]
    middle = len(blocks) // 2
    unshuffled = isinstance(layers[0], nn.PixelUnshuffle)
    first = CONVOLUTIONS_OF_UNSHUFFLED if unshuffled else CONVOLUTIONS_OF_RESNET
    wanted = {*first, *blocks[:1], *blocks[middle : middle + 1]}
    found = []
    for place in range(max(wanted) + 1):
        x = layers[place](x)
        if place in wanted:
            found.append(x)
    return found


def _of_unet(level: UnetLevel | None, x: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    while level is not None:
        below = None
        for layer in before_full_size(level.model):
            if isinstance(layer, UnetLevel):
                below = layer
                break
            if isinstance(layer, nn.ReLU):  # the way up begins
                break
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                found.append(x)
                if len(found) == HALVINGS_OF_UNETS:
                    return found
        level = below
    return found


def before_full_size(layers: nn.Sequential) -> nn.Sequential:
    """The layers that begin with the first halving."""
    return layers[0].below if isinstance(layers[0], FullSizeLevel) else layers


def _of_residual_unet(layers: nn.Sequential, x: Tensor) -> list[Tensor]:
    layers = before_full_size(layers)
    found = [layers[0](x)]
    while len(found) < HALVINGS_OF_UNETS and isinstance(level := layers[1], ResidualUnetLevel):
        layers = level.below
        found.append(layers[0](level.encode(found[-1])))
    return found
