"""What a configuration says about a network's tensors."""

from collections.abc import Iterator
from typing import Any, TypeVar

from cyclegan_style.config import DiscriminatorConfig, GeneratorConfig

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


def differing_fields(first: NetworkConfig, second: NetworkConfig) -> Iterator[tuple[str, Any, Any]]:
    """Fields in which tensors of the two, or their use, would differ, with both values."""
    for field in SHAPED_BY[first.architecture]:
        one, other = getattr(first, field), getattr(second, field)
        if one != other:
            yield field, one, other


def beyond_the_reference(config: GeneratorConfig) -> list[str]:
    """What a generator has that the reference's have not."""
    default = GeneratorConfig()
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
