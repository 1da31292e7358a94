"""What a configuration says about a network's tensors."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from cyclegan_style.config import DiscriminatorConfig, GeneratorConfig
from cyclegan_style.networks.sizes import first_end, kernels_at_ends, last_end, pads

NetworkConfig = TypeVar("NetworkConfig", GeneratorConfig, DiscriminatorConfig)

OF_OURS = (
    "upsampling",
    "downsampling",
    "padding",
    "first_kernel",
    "last_kernel",
    "skip",
    "full_size_channels",
    "attention",
    "styles",
)
"""Fields that the reference has not, but for their defaults."""
SHAPED_BY = {
    "resnet": ("architecture", "channels", "blocks", "norm", "dropout", *OF_OURS),
    "unet": ("architecture", "channels", "levels", "norm", *OF_OURS),
    "residual_unet": ("architecture", "channels", "levels", "norm", *OF_OURS),
    "patch": ("architecture", "channels", "layers", "norm"),
    "pixel": ("architecture", "channels", "norm"),
    "whole": ("architecture", "channels", "layers", "norm"),
}
"""Fields that decide about tensors, or about what they compute, by architecture."""


def as_built(config: NetworkConfig) -> NetworkConfig:
    """The configuration with null for what is the reference's anyway, as equal networks have it."""
    if isinstance(config, DiscriminatorConfig):
        return config
    first, last = kernels_at_ends(config)
    return replace(
        config,
        first_kernel=None if first == first_end(config).usual else first,
        last_kernel=None if last == last_end(config).usual else last,
        padding=config.padding if pads(config) else None,
    )


def differing_fields(first: NetworkConfig, second: NetworkConfig) -> Iterator[tuple[str, Any, Any]]:
    """Fields in which tensors of the two, or their use, would differ, with both values."""
    first, second = as_built(first), as_built(second)
    for field in SHAPED_BY[first.architecture]:
        one, other = getattr(first, field), getattr(second, field)
        if one != other:
            yield field, one, other


def beyond_the_reference(config: GeneratorConfig) -> list[str]:
    """What a generator has that the reference's have not."""
    default, config = GeneratorConfig(), as_built(config)
    fields = [field for field in OF_OURS if getattr(config, field) != getattr(default, field)]
    if config.norm in ("group", "demodulated"):
        fields.append("norm")
    if config.architecture == "residual_unet":
        fields.append("architecture")
    return [f"generator.{field} {str(getattr(config, field)).lower()}" for field in fields]


def depth_of(config: GeneratorConfig | DiscriminatorConfig) -> int:
    """How often something is repeated that has tensors of its own."""
    match config.architecture:
        case "resnet":
            return config.blocks
        case "unet" | "residual_unet":
            return config.levels
        case "patch" | "whole":
            return config.layers
    return 0
