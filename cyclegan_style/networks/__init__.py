"""Networks, and their construction from the configuration."""

from collections.abc import Collection
from typing import get_args

from torch import nn
from torch.nn.utils import parametrizations

from cyclegan_style.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_style.networks.attention import SelfAttention
from cyclegan_style.networks.discriminators import (
    PatchDiscriminator,
    PixelDiscriminator,
    WholeDiscriminator,
)
from cyclegan_style.networks.layers import GeneratorNormName, Padding, initialise
from cyclegan_style.networks.noise import NoiseGenerator
from cyclegan_style.networks.resampling import (
    Downsampling,
    FullSizeLevel,
    SubpixelDoubling,
    Upsampling,
    begin_small,
)
from cyclegan_style.networks.residual_unet import ResidualUnetGenerator
from cyclegan_style.networks.resnet import ResnetGenerator
from cyclegan_style.networks.sizes import problems_of_kernels
from cyclegan_style.networks.styles import give_styles
from cyclegan_style.networks.unet import UnetGenerator

__all__ = [
    "bound_spectrally",
    "build_discriminator",
    "build_generator",
    "build_noise_generator",
    "mixes_samples",
]

GENERATORS = {
    "resnet": ResnetGenerator,
    "unet": UnetGenerator,
    "residual_unet": ResidualUnetGenerator,
}
DISCRIMINATORS = {
    "patch": PatchDiscriminator,
    "pixel": PixelDiscriminator,
    "whole": WholeDiscriminator,
}


def build_generator(
    config: GeneratorConfig, in_channels: int = 3, out_channels: int = 3
) -> nn.Module:
    """Generator with fresh weights from torch's random generator."""
    refuse_unknown_layers(config)
    if config.skip and in_channels != out_channels:
        raise ValueError(
            f"generator.skip adds the {in_channels} channels of the input to the {out_channels} of"
            " the output"
        )
    network = GENERATORS[config.architecture](in_channels, out_channels, config)
    initialise(network)
    for module in network.modules():
        if isinstance(module, SelfAttention):
            module.begin_as_identity()
        if isinstance(module, SubpixelDoubling):
            module.begin_without_grid()
        if isinstance(module, FullSizeLevel):
            module.begin_at_scale()
    if config.skip:
        begin_small(network)
    if config.styles > 1:
        give_styles(network, config.styles)
    return network


def build_noise_generator(config: GeneratorConfig, side: int, out_channels: int = 3) -> nn.Module:
    """Generator of square pictures out of noise, with fresh weights."""
    refuse_unknown_layers(config, ("dcgan",))
    network = NoiseGenerator(side, out_channels, config)
    initialise(network)
    return network


def refuse_unknown_layers(
    config: GeneratorConfig, architectures: Collection[str] = tuple(GENERATORS)
) -> None:
    """Raise a ValueError where a model's file asks for layers that there are not."""
    if config.architecture not in architectures:
        raise ValueError(f"generator.architecture is {config.architecture!r}")
    if config.norm not in get_args(GeneratorNormName):
        raise ValueError(f"generator.norm is {config.norm!r}")
    if config.upsampling not in get_args(Upsampling):
        raise ValueError(f"generator.upsampling is {config.upsampling!r}")
    if config.downsampling not in get_args(Downsampling):
        raise ValueError(f"generator.downsampling is {config.downsampling!r}")
    if config.padding not in (None, *get_args(Padding)):
        raise ValueError(f"generator.padding is {config.padding!r}")
    if problems := problems_of_kernels(config):
        raise ValueError("; ".join(problems))
    if config.architecture != "resnet" and (
        config.downsampling == "unshuffled" or config.upsampling == "subpixel"
    ):
        raise ValueError("unshuffled and subpixel layers are for the resnet")
    if config.styles < 1 or (config.styles > 1 and config.norm != "instance"):
        raise ValueError(f"{config.styles} styles need an instance norm")
    if config.architecture == "resnet" and config.full_size_channels:
        raise ValueError("full_size_channels are for U-Nets")


def build_discriminator(config: DiscriminatorConfig, in_channels: int = 3) -> nn.Module:
    """Discriminator with fresh weights from torch's random generator."""
    if config.architecture not in DISCRIMINATORS:
        raise ValueError(f"discriminator.architecture is {config.architecture!r}")
    network = DISCRIMINATORS[config.architecture](in_channels, config)
    initialise(network)
    if config.spectral_norm:
        bound_spectrally(network)
    return network


def bound_spectrally(network: nn.Module) -> None:
    """Divide every convolution's weights by their largest singular value from now on."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            parametrizations.spectral_norm(module)


def mixes_samples(network: nn.Module) -> bool:
    """Whether an image's output depends on the other images of its batch."""
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
